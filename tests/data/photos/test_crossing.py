"""Pictures on both sides of a cut: which are looked for, and that each is told once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data.cache import Dataset
from alexnet.data.photos import crossing, likeness, noting
from alexnet.data.sources import open_dataset
from alexnet.data.squares import look


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Twelve pictures of two classes; the first of each class is there three times."""
    draw = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "own" / label).mkdir(parents=True)
        for i in range(6):
            if i < 1 or i > 2:
                drawn = Image.fromarray(
                    draw.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
                )
            drawn.save(tmp_path / "own" / label / f"{i}.png")
    return open_dataset(str(tmp_path / "own"), root=tmp_path / "root", size=32, say=lambda _: None)


def test_a_picture_is_told_once_with_one_of_those_that_it_is(dataset: Dataset) -> None:
    splits = {"train": ("train", np.array([0, 1, 3, 4, 7, 8])), "test": ("train", np.array([2, 6]))}
    found = crossing.in_two_splits(dataset, splits)
    assert found == [
        {
            "same": "bytes",
            "names": ["a/0.png", "a/2.png"],
            "parts": [*splits],
            "classes": ["a"] * 2,
        },
        {
            "same": "bytes",
            "names": ["b/1.png", "b/0.png"],
            "parts": [*splits],
            "classes": ["b"] * 2,
        },
    ]


def test_other_parts_other_data_and_very_many_are_not_looked_at(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = {"train": ("train", np.array([0])), "test": ("train", np.array([1]))}
    assert len(crossing.in_two_splits(dataset, cut) or ()) == 1
    assert crossing.in_two_splits(dataset, {**cut, "test": ("test", np.array([1]))}) is None
    assert crossing.in_two_splits(replace(dataset, folder=None), cut) is None
    monkeypatch.setattr(crossing, "MOST", 11)
    assert crossing.in_two_splits(dataset, cut) is None


def test_what_is_computed_from_a_stored_square_is_what_the_intake_noted(dataset: Dataset) -> None:
    """Else copies would be found in two parts of a data set, and not in two splits of one part."""
    bits = crossing._bits(dataset, ("train", np.arange(12)))
    files = [Path(dataset.name) / name for name in dataset.names("train") or ()]
    noted = [noting.likeness(look(file.read_bytes(), file.name, 32).image) for file in files]
    assert bits.tolist() == noted


def test_twins_are_those_that_are_confirmed_pair_by_pair(dataset: Dataset) -> None:
    images = dataset.parts["train"].images
    bits = crossing._bits(dataset, ("train", np.arange(12)))
    for some, others in ((slice(0, 2), slice(2, 12)), (slice(1, 8), slice(8, 12))):
        two, read = (bits[some], bits[others]), (images[some], images[others])
        one, other = (pictures.__getitem__ for pictures in read)
        every = likeness.confirmed(likeness.alike(*two), one, other)
        assert every
        twins = likeness.twins(*two, one, other)
        assert {(i, j) for j, i in twins.items()} <= {*every}
        assert {*twins} == {j for _, j in every}
