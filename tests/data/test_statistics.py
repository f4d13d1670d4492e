"""Statistics of a split against NumPy in float64, and their exactness."""

import numpy as np
import pytest

from alexnet.data import statistics
from alexnet.data.statistics import measure
from alexnet.errors import DataError


@pytest.fixture(scope="module")
def images():
    chance = np.random.default_rng(0)
    base = chance.integers(0, 200, (50, 12, 12, 1))
    return np.clip(base + chance.integers(0, 56, (50, 12, 12, 3)), 0, 255).astype(np.uint8)


CHOSEN = np.array([40, 3, 17, 8, 25, 2, 31])


def test_against_numpy(images):
    found = measure(images, CHOSEN)
    some = images[CHOSEN].astype(np.float64)
    np.testing.assert_allclose(found.mean_picture, some.mean(0), rtol=1e-6)
    np.testing.assert_allclose(found.mean, some.mean((0, 1, 2)), rtol=1e-14)
    expected = np.cov(some.reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(found.covariance, expected, rtol=1e-9)
    assert found.count == 7
    assert found.mean_picture.dtype == np.float32


def test_a_file_larger_than_memory_is_told_of_and_let_go(images, tmp_path, monkeypatch):
    np.save(tmp_path / "images.npy", images)
    mapped = np.asarray(np.load(tmp_path / "images.npy", mmap_mode="r"))
    asked, read_rows = [], statistics.read_rows
    monkeypatch.setattr(statistics, "PIXELS", 2 * 12 * 12)
    monkeypatch.setattr(statistics, "tell_of", lambda rows, at: asked.extend(at))
    monkeypatch.setattr(statistics, "read_rows", lambda rows, at: read_rows(rows, at, large=0))
    found = measure(mapped, CHOSEN)
    assert asked == sorted(CHOSEN)
    assert np.array_equal(found.mean_picture, measure(images, CHOSEN).mean_picture)


@pytest.mark.parametrize("pixels", [1, 12 * 12 * 3, 1 << 22])
def test_neither_order_nor_portions_change_a_bit(images, monkeypatch, pixels):
    whole = measure(images, CHOSEN)
    monkeypatch.setattr(statistics, "PIXELS", pixels)
    again = measure(images, CHOSEN[::-1].copy())
    for name in ("mean_picture", "mean", "covariance"):
        assert np.array_equal(getattr(whole, name), getattr(again, name)), name


def test_a_split_is_read_a_little_at_a_time(monkeypatch):
    """A picture at a time here: no more than that is ever asked of the array."""
    monkeypatch.setattr(statistics, "PIXELS", 64)

    asked = []

    class Mapped:
        shape, nbytes = (30, 8, 8, 3), 30 * 192

        def __getitem__(self, at):
            asked.append(len(at))
            return np.full((len(at), 8, 8, 3), 7, np.uint8)

    assert measure(Mapped(), np.arange(30)).mean.tolist() == [7.0] * 3  # type: ignore[arg-type]
    assert asked == [1] * 30


def test_the_largest_sums_are_exact():
    white = np.full((3, 2048, 2048, 3), 255, np.uint8)
    found = measure(white, np.arange(3))
    assert found.mean.tolist() == [255.0] * 3
    assert not found.covariance.any()


def test_principal_components(images):
    found = measure(images, CHOSEN)
    values, vectors = found.principal()
    assert (np.diff(values) <= 0).all()
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.T, found.covariance, atol=1e-8)
    assert (vectors[np.abs(vectors).argmax(0), np.arange(3)] > 0).all()


def test_no_pictures_have_no_mean(images):
    with pytest.raises(DataError, match="no pictures"):
        measure(images, np.array([], np.int64))
