"""What a report is made of: a finished run, its model, its data, and pictures of them in memory."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alexnet.data.cache import Dataset
from alexnet.data.loader import source_of
from alexnet.data.sources import open_dataset
from alexnet.errors import AlexNetError
from alexnet.recipe import Recipe
from alexnet.reporting.samples import Sample, pick, samples
from alexnet.run import classifier
from alexnet.run.classifier import Classifier
from alexnet.run.device import Device, choose
from alexnet.run.files import read_json
from alexnet.run.log import INTAKE, SPLITS
from alexnet.run.named import Named
from alexnet.training import record
from alexnet.training.record import Result

STRIP = (2, 12, 64)  # rows and columns of the pictures on the cover, pixels a side


@dataclass(frozen=True, eq=False)
class Material:
    """A finished run with all that a report shows of it; ``missing`` says why there is no data.

    ``where``: the name of the device that the model computes on.
    """

    result: Result
    model: Classifier
    dataset: Dataset | None
    missing: str
    where: str

    @property
    def device(self) -> Device:
        """Choose the device, in the run's own precision: each time, since torch is told of one at a time."""
        return choose(self.where, like=[self.model.provenance.precision])

    @property
    def recipe(self) -> Recipe:
        """Return the recipe that was run."""
        return self.result.recipe

    @property
    def record(self) -> dict[str, Any]:
        """Return what the run recorded."""
        return self.result.record

    @property
    def fingerprint(self) -> str:
        """Return that of the data that the run was trained on."""
        return str(read_json(self.result.folder / SPLITS)["fingerprint"])

    @property
    def split_sizes(self) -> dict[str, int]:
        """Return how many pictures the run took for training, validation and test."""
        chosen = read_json(self.result.folder / SPLITS)["indices"]
        return {role: len(indices) for role, indices in chosen.items()}

    @property
    def intake(self) -> dict[str, Any]:
        """Return what the run noted of its photographs; empty where it has noted nothing."""
        path = self.result.folder / INTAKE
        return read_json(path) if path.is_file() else {}

    def looked_at(self, role: str, count: int, *, said: bool) -> list[Sample]:
        """Draw ``count`` pictures of the ``train`` or the ``test`` split by the run's seed.

        ``said``: with what the model takes them for. Fewer where the split has fewer.
        """
        part = self.part(role)
        few = pick(part, min(count, len(part.source)), self.recipe.train.seed)
        return samples(few, self.model if said else None, self.device)

    def part(self, role: str) -> Named:
        """Return the pictures of the run's ``train`` or ``test`` split; a report shows no names of files."""
        assert self.dataset is not None
        plan = self.recipe.data
        split = plan.train if role == "train" else plan.test
        source = source_of(self.dataset, split, method=plan.split, seed=plan.split_seed)
        return Named(f"{Path(plan.name).name}/{split}", source, self.dataset.classes)


def gather(
    folder: Path, where: str, root: str | Path | None, say: Callable[[str], None]
) -> Material:
    """Read a finished run and open its data, which may be missing.

    Raises ``CheckpointError`` for a folder that holds no finished run.
    """
    result = record.read_result(folder)
    model = classifier.load(folder, say=say)
    missing, dataset = "", None
    try:
        dataset = _opened(result, root, say)
    except AlexNetError as error:
        missing = str(error)
        say(f"{folder}: the report has no pictures: {missing}")
    return Material(result, model, dataset, missing, where)


def _opened(result: Result, root: str | Path | None, say: Callable[[str], None]) -> Dataset:
    plan = result.recipe.data
    found = open_dataset(plan.name, root=root, size=plan.size, fit=plan.fit, say=say)
    record.refuse_other_data(result.folder, found)
    return found


def drawn(plot: Callable[[Path], object]) -> bytes:
    """Return the PNG that ``plot`` writes to the path it is given."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "drawn.png"
        plot(path)
        return path.read_bytes()


def strip(pictures: list[NDArray[np.uint8]]) -> bytes:
    """Lay pictures side by side, in rows, without a gap: the PNG of them."""
    rows, columns, side = STRIP
    columns = max(1, min(columns, len(pictures) // rows))
    tiles = [_tile(picture, side) for picture in pictures[: rows * columns]]
    lines = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    stream = io.BytesIO()
    whole = [line for line in lines if line.shape == lines[0].shape]
    Image.fromarray(np.vstack(whole)).save(stream, "PNG")
    return stream.getvalue()


def _tile(picture: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    how = Image.Resampling.NEAREST if len(picture) <= side else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((side, side), how))
