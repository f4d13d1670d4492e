from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import shapes
from alexnet.errors import UsageError

ABOVE = {  # figure -> a point on its inside and one on its outside, in its own axes
    "circle": ((0.6, 0.5), (0.7, 0.7)),
    "square": ((0.65, 0.65), (0.75, 0.0)),
    "triangle": ((0.0, 0.9), (0.5, 0.6)),
    "star": ((0.0, 0.95), (0.0, -0.6)),
    "cross": ((0.85, 0.2), (0.4, 0.4)),
    "ring": ((0.68, 0.0), (0.0, 0.0)),
    "heart": ((0.0, -0.8), (0.0, 0.9)),
    "crescent": ((-0.7, 0.0), (0.3, 0.0)),
    "stripes": ((0.5, 0.62), (0.5, 0.3)),
    "arrow": ((0.0, 0.8), (0.5, -0.5)),
}


def test_the_same_bytes_on_every_machine() -> None:
    pictures = shapes.draw(40, size=32, seed=5)
    assert hashlib.sha256(pictures.images.tobytes()).hexdigest() == GOLDEN_IMAGES
    assert pictures.labels[:12].tolist() == GOLDEN_LABELS


GOLDEN_IMAGES = "b1a0c058f82c1b73f0801ac3e86b034362ed42b730239c7bef7bd90857725095"
GOLDEN_LABELS = [1, 9, 7, 8, 4, 9, 3, 8, 4, 6, 1, 1]


@pytest.mark.parametrize("size", [16, 33, 64])
def test_shape_type_and_balance(size: int) -> None:
    pictures = shapes.draw(50, size=size)
    assert pictures.images.shape == (50, size, size, 3)
    assert pictures.images.dtype == np.uint8
    assert pictures.labels.dtype == np.int64
    assert np.bincount(pictures.labels).tolist() == [5] * 10


def test_chunks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shapes.draw(30, size=17)
    for pictures in (1, 9, 17):
        monkeypatch.setattr(shapes, "_CHUNK_BYTES", pictures * 17 * 17 * 24)
        np.testing.assert_array_equal(shapes.draw(30, size=17).images, whole.images)


def test_a_seed_gives_the_same_figures_at_any_size() -> None:
    coarse, fine = shapes.draw(20, size=32), shapes.draw(20, size=64)
    np.testing.assert_array_equal(coarse.labels, fine.labels)
    halved = fine.images.reshape(20, 32, 2, 32, 2, 3).mean(axis=(2, 4))
    assert np.abs(halved - coarse.images).mean() < 12
    assert np.abs(halved - np.roll(coarse.images, 1, axis=0)).mean() > 40


def test_train_and_test_share_no_picture() -> None:
    contents = shapes.fetch(Path(), None, 16, print)
    digests = {
        part: {image.tobytes() for image in pictures.images}
        for part, pictures in contents.parts.items()
    }
    assert {part: len(found) for part, found in digests.items()} == shapes.COUNTS
    assert not digests["train"] & digests["test"]


@pytest.mark.parametrize("name", shapes.FIGURES)
def test_each_figure_covers_what_it_should(name: str) -> None:
    inside, outside = ABOVE[name]
    x, y = (np.array([[[a, b]]]) for a, b in zip(inside, outside, strict=True))
    assert (shapes.FIGURES[name](x, y) < 0).tolist() == [[[True, False]]]


def test_no_two_kinds_look_alike() -> None:
    axis = np.linspace(-1.2, 1.2, 48)
    x, y = np.meshgrid(axis, -axis)
    masks = np.stack([figure(x[None], y[None])[0] < 0 for figure in shapes.FIGURES.values()])
    for mask in masks:
        overlap = (masks & mask).sum(axis=(1, 2)) / (masks | mask).sum(axis=(1, 2))
        assert np.sort(overlap)[-2] < 0.85
    assert (masks.mean(axis=(1, 2)) > 0.1).all()


def test_colour_tells_nothing() -> None:
    """Nearest class mean of the average colour must be about as good as guessing."""
    train, test = shapes.draw(1_000, size=16, seed=0), shapes.draw(500, size=16, seed=1)
    means = [train.images[train.labels == k].mean(axis=(0, 1, 2)) for k in range(10)]
    colour = test.images.mean(axis=(1, 2))
    nearest = np.linalg.norm(colour[:, None] - np.array(means), axis=2).argmin(axis=1)
    assert (nearest == test.labels).mean() < 0.2


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match="15 pixels"):
        shapes.fetch(Path(), None, 15, print)
    with pytest.raises(UsageError, match="'somewhere'"):
        shapes.fetch(Path(), "somewhere", 32, print)
