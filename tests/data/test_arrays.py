"""Arrays of one's own become a data set that every verb knows by its path."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import arrays
from alexnet.data.cache import MANIFEST
from alexnet.data.sources import named_split, open_dataset
from alexnet.data.splits import select
from alexnet.errors import DataError, UsageError

NAMES = ["고양이", "dog"]


def pair(count: int = 8, side: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    pictures = chance.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return pictures, np.arange(count) % 2


def test_what_is_kept_is_what_was_handed_over(tmp_path):
    parts = {"train": pair(), "test": pair(4, seed=1)}
    name = arrays.keep(tmp_path / "mine", parts, NAMES)
    assert name == str((tmp_path / "mine").resolve())
    found = open_dataset(name, verify=True)
    assert (found.name, found.classes) == (name, tuple(NAMES))
    for part, (pictures, labels) in parts.items():
        assert np.array_equal(found.parts[part].images, pictures)
        assert found.parts[part].labels.tolist() == labels.tolist()
    assert named_split(name) == (name, "")
    assert named_split(f"{name}/train[:50%]") == (name, "train[:50%]")


def test_a_split_of_them_is_scikit_learns(tmp_path):
    from sklearn.model_selection import train_test_split

    found = open_dataset(arrays.keep(tmp_path / "a", {"train": pair(50)}, NAMES))
    theirs = train_test_split(np.arange(50), test_size=0.2, random_state=42)
    for cut, indices in zip(("train[:80%]", "train[80%:]"), theirs, strict=True):
        assert np.array_equal(select(found, cut, method="sklearn", seed=42), indices)


@pytest.mark.parametrize("kind", ["uint8", "int32", "int64"])
def test_labels_of_any_whole_type_in_one_column_or_none(tmp_path, kind):
    pictures, labels = pair()
    for shape in ((-1,), (-1, 1)):
        place = arrays.keep(tmp_path / "a", {"train": (pictures, labels.astype(kind).reshape(shape))}, NAMES)  # fmt: skip
    assert open_dataset(place).parts["train"].labels.dtype == np.int64


def test_the_same_again_changes_nothing_and_others_are_refused(tmp_path):
    place = Path(arrays.keep(tmp_path / "a", {"train": pair()}, NAMES))
    before = {p: p.stat().st_mtime_ns for p in place.iterdir()}
    arrays.keep(place, {"train": pair()}, NAMES)
    assert before == {p: p.stat().st_mtime_ns for p in place.iterdir()}
    for parts, names in (({"train": pair(seed=1)}, NAMES), ({"train": pair()}, ["a", "b"])):
        with pytest.raises(UsageError, match="holds something else already"):
            arrays.keep(place, parts, names)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds something else already"):
        arrays.keep(tmp_path / "b", {"train": pair()}, NAMES)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["thesis.txt"]


P, L = pair()


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((P / 255, L), "float64 of shape (8, 6, 6, 3); expected uint8 (N, S, S, 3), RGB"),
        ((P[..., 0], L), "three channels of a grey picture: np.repeat"),
        ((P[:, :4], L), "of shape (8, 4, 6, 3)"),
        ((P[:0], L[:0]), "N > 0"),
        ((P, L[:7]), "int64 of shape (7,); expected 8 integers"),
        ((P, L.astype(float)), "float64 of shape (8,)"),
        ((P, np.eye(2, dtype=int)[L]), "of one-hot labels take x.argmax(1)"),
        ((P, L + 1), "label 2 of picture 1 of train; with 2 classes expected 0 to 1"),
        ((P, L - 1), "label -1 of picture 0 of train"),
        ((P, L * 0), "train has no picture of 'dog'"),
    ],
)
def test_arrays_of_another_kind_are_refused_by_name(tmp_path, train, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        arrays.keep(tmp_path / "a", {"train": train}, NAMES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", ["cat", ["cat"], ["cat", "cat"], ["cat", ""], [0, 1]])
def test_class_names_are_names(tmp_path, names):
    with pytest.raises(UsageError, match="classes = "):
        arrays.keep(tmp_path / "a", {"train": pair()}, names)


def test_parts_have_one_side_and_so_has_what_asks_for_them(tmp_path):
    with pytest.raises(UsageError, match="several sides: train 6, test 8"):
        arrays.keep(tmp_path / "a", {"train": pair(), "test": pair(side=8)}, NAMES)
    place = arrays.keep(tmp_path / "a", {"train": pair()}, NAMES)
    assert open_dataset(place, size=6).parts["train"].images.shape[1] == 6
    with pytest.raises(UsageError, match="are 6 pixels a side, not 32"):
        open_dataset(place, size=32)


def test_a_bit_that_fell_over_is_found(tmp_path):
    place = Path(arrays.keep(tmp_path / "a", {"train": pair()}, NAMES))
    path = place / "train-images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged: train-images\.npy"):
        open_dataset(str(place), verify=True)
    (place / MANIFEST).write_text("{")
    with pytest.raises(DataError, match=r"is damaged: manifest\.json"):
        open_dataset(str(place))


def test_a_checkpoint_is_no_data_set_though_it_has_a_manifest(tmp_path):
    (tmp_path / MANIFEST).write_text("{}")
    (tmp_path / "model.json").write_text("{}")
    assert not arrays.is_kept(tmp_path)


def test_a_folder_that_has_moved_is_known_by_its_new_path(tmp_path):
    place = Path(arrays.keep(tmp_path / "a", {"train": pair()}, NAMES))
    moved = place.rename(tmp_path / "b")
    assert open_dataset(str(moved)).name == str(moved.resolve())
