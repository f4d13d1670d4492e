"""Saved states: written beside, flushed, renamed; the pointer moves last. Nothing is unpickled.

::

    RUN/
      checkpoints/step-00000123/
        weights.safetensors    the network, averaged weights too; input/*: its preprocessing's
        optimizer.safetensors  what the update rule remembers
        state.json             step, schedule and stopping state, best so far and its step
        model.json             network, classes, preprocessing: enough to predict
        manifest.json          sha256 of each of these; a checkpoint without one is not finished
      checkpoints/damaged-*    what a resumed run found damaged and passed over
      LAST, BEST               names of checkpoints

Neither safetensors nor torch notices a flipped bit, so the manifest does. A damaged newest
checkpoint is named, and the one before it is used.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from alexnet.errors import CheckpointError
from alexnet.renaming import replace, sync_folder
from alexnet.run.files import sync_file, write_text
from alexnet.run.log import RECIPE, resume_command

FORMAT = 1
INPUT = "input/"  # what names begin with that are not of the network
LAST, BEST = "LAST", "BEST"
WEIGHTS, OPTIMIZER, STATE, MODEL, MANIFEST = (
    "weights.safetensors",
    "optimizer.safetensors",
    "state.json",
    "model.json",
    "manifest.json",
)
FILES = (WEIGHTS, OPTIMIZER, STATE, MODEL)


@dataclass(frozen=True)
class Checkpoint:
    """One saved state, verified."""

    path: Path
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    model: dict[str, Any]
    input: dict[str, Tensor] = field(default_factory=dict)  # of the preprocessing: a mean picture


def save(run: Path, checkpoint: Checkpoint, *, keep: int = 2, is_best: bool = False) -> Path:
    """Save a state as ``run/checkpoints/<checkpoint.path.name>`` and point LAST (and BEST) at it.

    Keeps the newest ``keep`` and the best. Raises ``CheckpointError`` when the disk is full or
    cannot be written; what was saved before is then still there, and nothing half-written stays.
    """
    final = run / "checkpoints" / checkpoint.path.name
    beside = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        with _removed_on_failure(beside):
            _write(beside, checkpoint)
            _put(beside, final)
            sync_folder(final.parent)
        write_text(run / LAST, final.name)
        if is_best:
            write_text(run / BEST, final.name)
        _forget_old(run, keep)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(_cannot_save(final, error)) from None
    return final


def _put(beside: Path, final: Path) -> None:
    """Rename a folder into its place; what a resumed run had saved there is whole until then."""
    old = final.with_name(f".{final.name}.old")
    if final.exists():
        replace(final, old)
    replace(beside, final)
    shutil.rmtree(old, ignore_errors=True)


def _cannot_save(path: Path, error: Exception) -> str:
    full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
    what = "no space left on the disk" if full else str(error)
    return (
        f"could not save {path}: {what}. Earlier checkpoints are untouched; free some space "
        f"(a checkpoint needs about three times the weights), then `{resume_command(path.parents[1])}`"
    )


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    folder.mkdir(parents=True)
    beside = {INPUT + name: tensor for name, tensor in checkpoint.input.items()}
    save_file(_plain(checkpoint.weights | beside), folder / WEIGHTS)
    save_file(_plain(checkpoint.optimizer), folder / OPTIMIZER)
    (folder / STATE).write_text(json.dumps(checkpoint.state, indent=1), encoding="utf-8")
    (folder / MODEL).write_text(
        json.dumps(checkpoint.model, indent=1, ensure_ascii=False), encoding="utf-8"
    )
    for name in FILES:
        sync_file(folder / name)
    manifest = {"format": FORMAT, "sha256": {name: _sha256(folder / name) for name in FILES}}
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1))


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def load(path: Path, *, to_use: bool = False) -> Checkpoint:
    """Read and verify one checkpoint folder; weights stay in their file until they are touched.

    ``to_use``: what a prediction needs, and no more: neither the optimiser's memory, which may be
    twice as large as the weights, nor the state. Raises ``CheckpointError`` naming the file at fault.
    """
    verify(path, (WEIGHTS, MODEL) if to_use else FILES)
    try:
        tensors = load_file(path / WEIGHTS)
        return Checkpoint(
            path,
            {name: t for name, t in tensors.items() if not name.startswith(INPUT)},
            {} if to_use else load_file(path / OPTIMIZER),
            {} if to_use else json.loads((path / STATE).read_text(encoding="utf-8")),
            json.loads((path / MODEL).read_text(encoding="utf-8")),
            {n.removeprefix(INPUT): t for n, t in tensors.items() if n.startswith(INPUT)},
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None


def verify(path: Path, files: Sequence[str] = FILES) -> None:
    """Check that a checkpoint is finished and that these files have the bits that were written."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version, sums = manifest["format"], dict(manifest["sha256"])
    except FileNotFoundError:
        raise CheckpointError(f"{path} is an incomplete checkpoint: it has no {MANIFEST}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MANIFEST} is damaged: {error}") from None
    if version != FORMAT:
        raise CheckpointError(
            f"{path / MANIFEST} has format {version!r}; this package reads format {FORMAT}"
        )
    for name in files:
        try:
            found = _sha256(path / name)
        except FileNotFoundError:
            raise CheckpointError(f"{path} is incomplete: {name} is missing") from None
        except OSError as error:  # of a disk that is dying, or another user's file
            raise CheckpointError(
                f"{path / name} cannot be read: {error.strerror or error}"
            ) from None
        if found != sums.get(name):
            raise CheckpointError(f"{path / name} is damaged: its sha256 is not the one recorded")


def is_model(folder: Path) -> bool:
    """Say whether a folder is a run's or a checkpoint, whole or not."""
    return any((folder / name).exists() for name in ("checkpoints", RECIPE, *FILES))


def newest(run: Path, say: Callable[[str], None], *, to_use: bool = False) -> Checkpoint:
    """Return the newest checkpoint that is whole, telling ``say`` of each that is not.

    ``to_use``: see ``load``. Raises ``CheckpointError`` where none is left.
    """
    faults = []
    for path in reversed(every(run)):
        try:
            return load(path, to_use=to_use)
        except CheckpointError as error:
            faults.append(str(error))
            say(f"warning: {error}; trying the checkpoint before it")
    raise CheckpointError(
        "; ".join(faults) or f"{run} holds no checkpoint yet; start the run again"
    )


def best(run: Path, *, to_use: bool = False) -> Checkpoint:
    """Return the checkpoint that BEST names. Raises ``CheckpointError`` where it is not whole."""
    if not (name := _best(run)):
        raise CheckpointError(f"{run} has no best checkpoint: it never validated; use its last")
    return load(run / "checkpoints" / name, to_use=to_use)


def scored(run: Path, say: Callable[[str], None], *, to_use: bool = False) -> Checkpoint:
    """Return the checkpoint that a run's recorded score is of: its last, or its best.

    Best where its recipe keeps that one. Raises ``CheckpointError`` where none is whole.
    """
    last = newest(run, say, to_use=to_use)
    return best(run, to_use=to_use) if last.model.get("keep") == "best" else last


def every(run: Path) -> list[Path]:
    """Return the checkpoint folders of a run, oldest first."""
    folder = run / "checkpoints"
    return sorted(folder.glob("step-*")) if folder.is_dir() else []


def sweep(run: Path) -> None:
    """Remove what a killed process left half-written; what it was about to replace goes back."""
    for old in (run / "checkpoints").glob(".step-*.old"):
        final = old.with_name(old.name.removeprefix(".").removesuffix(".old"))
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            replace(old, final)
    for stale in (run / "checkpoints").glob(".step-*.tmp"):
        shutil.rmtree(stale, ignore_errors=True)
    for stale in run.glob(".*.tmp"):
        stale.unlink(missing_ok=True)


def set_aside_after(used: Path, say: Callable[[str], None]) -> None:
    """Rename the checkpoints after the one that a run goes on with, telling ``say``: none is whole.

    They count among the newest no more, for which whole ones would be removed.
    """
    for path in every(used.parents[1]):
        if path.name > used.name:
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            replace(path, aside)
            say(f"set aside as {aside}; remove it when it is of no use")


def load_weights(
    model: torch.nn.Module, weights: Mapping[str, Tensor], origin: str, *, assign: bool = False
) -> None:
    """Copy tensors into a model. Raises ``CheckpointError`` naming the first that does not fit.

    ``assign``: make them the model's own, without a copy: its tensors may then be on ``meta``.
    """
    own = model.state_dict()
    for name in own.keys() - weights.keys():
        raise CheckpointError(f"{origin} has no tensor {name!r}: it is of another network")
    for name, tensor in weights.items():
        if name not in own:
            raise CheckpointError(f"{origin} holds {name!r}, which this network does not have")
        if own[name].shape != tensor.shape:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(own[name].shape)}"
            raise CheckpointError(
                f"{origin}: {name!r} has shape {shapes}: it is of another network"
            )
    if assign:
        weights = {name: tensor.to(own[name].dtype) for name, tensor in weights.items()}
    model.load_state_dict(dict(weights), assign=assign)


def point_at_best(run: Path, name: str) -> None:
    """Make BEST name the best checkpoint: whoever placed it may have died before, or met a full disk."""
    if _best(run) != name:
        write_text(run / BEST, name)


def _best(run: Path) -> str:
    return (run / BEST).read_text(encoding="utf-8").strip() if (run / BEST).is_file() else ""


def _forget_old(run: Path, keep: int) -> None:
    kept = _best(run)
    for path in every(run)[:-keep]:
        if path.name != kept:
            shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
