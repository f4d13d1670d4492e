"""Frozen layers run once: what leaves them is kept on the disk and read like pictures.

For every picture of a split, and its mirror image where the recipe flips, or of its augmented copies
(``copies``), in the precision of the run: bfloat16 values as their bits, so that training from them is training through them. A folder
``features/DATA-SPLIT-KEY`` is whole or not there; the key covers all that the values depend on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from alexnet import evaluation
from alexnet.data.cache import publish, scratch, sweep
from alexnet.data.loader import Batch, Resident, Source, in_order, moved
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import locked
from alexnet.data.stream import read_rows, tell_of
from alexnet.errors import DataError
from alexnet.exchange.filling import tensors_of
from alexnet.exchange.pretrained import digest
from alexnet.models import kernels, packing, table, wiring
from alexnet.models.build import AlexNet, keep_dropping
from alexnet.run.computing import evaluating
from alexnet.run.device import Device
from alexnet.run.files import sync_file, write_text
from alexnet.run.log import Console, minutes
from alexnet.run.views import log_mean, seen, sides
from alexnet.training.copies import Copies

VIEWS = {"centre": 1, "flip": 2, "scales": 6}  # what stored features can give, each begins the next
FORMAT, BATCH = 1, 128
VALUES, MANIFEST = "values.npy", "manifest.json"


@dataclass(frozen=True)
class Features(Source):
    """A split's outputs of the first rows, in place of its pictures.

    ``images`` holds their bytes, uint8 ``(N, views, bytes)``, in the order of the split, and is
    memory-mapped; a batch's ``pictures`` are ``(N, views, *shape)`` of ``dtype``.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def read(self, positions: NDArray[np.int64], device: torch.device) -> Batch:
        """Fetch the features at ``positions`` of the split."""
        at = self.chosen[positions]
        stored = read_rows(self.images, positions, large=self.large)
        values = torch.from_numpy(stored).view(self.dtype)
        values = moved(values.view(*values.shape[:2], *_stored(self.shape)), device)
        maps = values.permute(0, 1, 4, 2, 3) if len(self.shape) == 3 else values
        return Batch(torch.from_numpy(at), maps, moved(torch.from_numpy(self.labels[at]), device))

    def tell_of(self, positions: NDArray[np.int64]) -> None:
        """Say that the features at ``positions`` of the split will be read."""
        tell_of(self.images, positions, large=self.large)


def _stored(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Maps lie on the disk as convolutions read them: rows, columns, channels."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


@dataclass(frozen=True)
class Plan:
    """How features are made: by the first ``first`` rows of ``model``."""

    model: AlexNet
    first: int
    preprocessing: Preprocessing
    device: Device
    copies: Copies | None = None  # in place of the picture and its mirror image

    def seen(self, batch: Batch, views: int) -> Iterator[Tensor]:
        """Yield what the first row sees of a batch, each float32 ``(N, 3, size, size)``."""
        if self.copies is not None:
            yield from self.copies.of(batch)
            return
        name = next(name for name, count in VIEWS.items() if count == views)
        yield from seen(batch.pictures, self.preprocessing, name)

    def give(self, views: set[str]) -> bool:
        """Say whether features can stand for these views: of one shape, whatever the pictures' side."""
        if not views <= VIEWS.keys():
            return False
        asked = sides(self.model.size) if "scales" in views else [self.model.size]
        return len({self._shapes_at(side) for side in asked}) == 1

    def _shapes_at(self, side: int) -> tuple[tuple[int, ...], ...]:
        steps = table.trace(self.model.network, side)
        return tuple(step.outputs for step in steps if step.row.name in self.kept)

    @property
    def rows(self) -> list[str]:
        """Return the names of the rows that run once."""
        return [row.name for row in self.model.network.rows[: self.first]]

    @property
    def kept(self) -> list[str]:
        """Return the names of those rows whose outputs the rows behind them read."""
        return wiring.entering(self.model.network.rows, self.first)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of a picture's features: of one map, or of several as ``packing`` has it."""
        return packing.packed_shape([self.model.shapes[name] for name in self.kept])

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the values, that of the run's precision."""
        return self.device.dtype

    def facts(
        self, fingerprint: str, part: str, chosen: NDArray[np.int64], views: int
    ) -> dict[str, Any]:
        """Return all that the values depend on, as JSON has it.

        ``views``: one of the counts of ``VIEWS``, or how many copies.
        """
        facts = {
            "format": FORMAT,
            "weights": digest(tensors_of(self.model, self.rows)),
            "rows": [repr(row) for row in self.model.network.rows[: self.first]],
            "kept": self.kept,
            "preprocessing": self.preprocessing.to_json(),
            "mean_picture": digest(self.preprocessing.tensors()),
            "data": fingerprint,
            "part": part,
            "chosen": hashlib.sha256(np.ascontiguousarray(chosen).data).hexdigest(),
            "views": views,
            "precision": self.device.precision,
            "device": self.device.torch.type,
            "by kernels": kernels.in_use(self.model),
            **({} if self.copies is None else self.copies.facts()),
        }
        return dict(json.loads(json.dumps(facts)))


def once(
    plan: Plan,
    source: Source,
    name: str,
    facts: dict[str, Any],
    roots: Sequence[Path],
    console: Console,
) -> Features:
    """Return the features of a split, from the disk where they are, else computed and kept.

    ``name`` is for people, e.g. ``imagenette-train``; ``facts`` are ``plan.facts`` of the split; ``roots``:
    ``data.sources.roots``. Raises ``DataError`` where they cannot be kept.
    """
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folders = [root / "features" / f"{name}-{key}" for root in roots]
    home, folder = folders[-1].parent, folders[-1]
    try:
        # No lock: a root may be for reading only.
        there = (each for each in folders if _whole(each, facts, lambda _: None))
        if (found := next(there, None)) is None:
            home.mkdir(parents=True, exist_ok=True)
            with locked(home, console.say):
                sweep(home)
                if not _whole(folder, facts, console.say):
                    _compute(plan, source, folder, facts, console)
        values = np.load((found or folder) / VALUES, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"the features of {name} cannot be kept in {home}: {error.strerror or error}; make room "
            "there (its folders can be deleted), or set ALEXNET_DATA"
        ) from error
    return Features(np.asarray(values), source.labels, source.chosen, plan.shape, plan.dtype)


def _whole(folder: Path, facts: dict[str, Any], say: Callable[[str], None]) -> bool:
    """Say whether the folder holds these features with the bits that were written."""
    if not folder.is_dir():
        return False
    try:
        noted = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        with (folder / VALUES).open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if noted["facts"] == facts and noted["sha256"] == actual:
            return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    say(f"{folder} is damaged; computing these features again")
    return False


def _compute(
    plan: Plan, source: Source, folder: Path, facts: dict[str, Any], console: Console
) -> None:
    names = plan.rows
    console.say(f"{names[0]} to {names[-1]} run once: {len(source):,} pictures, {folder.name}")
    began = time.perf_counter()
    with scratch(folder.parent) as work:
        sha256 = _write(plan, source, facts["views"], work / VALUES, console)
        write_text(work / MANIFEST, json.dumps({"facts": facts, "sha256": sha256}, indent=1))
        publish(work, folder)
    size = (folder / VALUES).stat().st_size
    console.say(f"  {minutes(time.perf_counter() - began)}, {size / 1e6:,.0f} MB")


def _write(plan: Plan, source: Source, views: int, path: Path, console: Console) -> str:
    """Write the values front to back, so that a full disk is an error and not a crash."""
    width = int(np.prod(plan.shape)) * plan.dtype.itemsize
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(source), views, width)}
    digest_ = hashlib.sha256()
    with path.open("w+b") as file, console.bar("features", -(-len(source) // BATCH)) as bar:
        np.lib.format.write_array_header_1_0(file, header)
        file.seek(0)
        digest_.update(file.read())
        for values in _values(plan, source, views):
            digest_.update(values.data)
            file.write(values.data)
            bar.advance("")
    sync_file(path)
    return digest_.hexdigest()


@torch.inference_mode()
def _values(plan: Plan, source: Source, views: int) -> Iterator[NDArray[np.uint8]]:
    """Yield the bytes of every batch, ``(N, views, bytes)``."""
    with evaluating(plan.model):
        for part in in_order(source, BATCH, plan.device.torch):
            outputs = [_features(plan, view) for view in plan.seen(part, views)]
            stacked = torch.stack([_plain(y, plan.dtype) for y in outputs], 1)
            yield stacked.flatten(2).view(torch.uint8).numpy()


def _features(plan: Plan, pictures: Tensor) -> Tensor:
    with plan.device.autocast():
        found = plan.model.activations(pictures, plan.kept)
        return packing.pack([found[name] for name in plan.kept])


def _plain(y: Tensor, dtype: torch.dtype) -> Tensor:
    stored = y.permute(0, 2, 3, 1) if y.ndim == 4 else y
    return stored.to("cpu", dtype).contiguous()


def chosen_views(features: Tensor, which: Tensor | None) -> Tensor:
    """Return ``(N, *shape)`` of a batch's ``(N, views, *shape)``: of the view told, else the first.

    ``which``: ``(N,)``, bool (the mirror image where true) or int64.
    """
    if which is None:
        x = features[:, 0]
    else:
        rows = torch.arange(len(features), device=features.device)
        x = features[rows, moved(which, features.device).long()]
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def hold(source: Source | Resident) -> bool:
    """Say whether a split holds features in place of pictures."""
    resident = isinstance(source, Resident) and source.images.dtype != torch.uint8
    return resident or isinstance(source, Features)


@torch.inference_mode()
def score(
    plan: Plan,
    module: AlexNet,
    source: Source | Resident,
    *,
    views: str,
    batch: int,
    top: tuple[int, ...],
    dropout: int | None = None,
    between: Callable[[], None] = lambda: None,
) -> evaluation.Scores:
    """Score the rows of ``module`` behind the frozen ones on a split's features, in ``VIEWS``."""
    found, labels = [], []
    with evaluating(module):
        for part in in_order(source, batch, plan.device.torch):
            between()
            if dropout is not None:
                keep_dropping(module, seed=dropout, step=int(part.indices[0]))
            with plan.device.autocast():
                each = part.pictures.unbind(1)[: VIEWS[views]]
                logits = [module(view, plan.first) for view in each]
            found.append(log_mean([x.float().log_softmax(1) for x in logits]))
            labels.append(part.labels)
    return evaluation.score(torch.cat(found).cpu(), torch.cat(labels).cpu(), views, top)
