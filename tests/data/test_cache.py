from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from PIL import Image

from alexnet.data import cache
from alexnet.data.cache import MANIFEST, REPORT, Contents, Pictures, read_cache, write_cache
from alexnet.data.sources import open_dataset
from alexnet.errors import DataError

FILES = ("train-images.npy", "train-labels.npy", "test-images.npy", "test-labels.npy")


def contents(seed: int = 0, source: str = "a test") -> Contents:
    random = np.random.RandomState(seed)

    def part(count: int) -> Pictures:
        images = random.randint(0, 256, (count, 6, 5, 3)).astype(np.uint8)
        return Pictures(images, random.randint(0, 2, count).astype(np.int64))

    return Contents({"train": part(9), "test": part(4)}, ("yes", "nö"), {"oui": "yes"}, source)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_cache(tmp_path / "v1", "made", contents())
    return tmp_path / "v1"


def test_what_is_written_is_what_is_read(folder: Path) -> None:
    dataset = read_cache(folder, verify=True)
    given = contents()
    for name, part in given.parts.items():
        np.testing.assert_array_equal(dataset.parts[name].images, part.images)
        np.testing.assert_array_equal(dataset.parts[name].labels, part.labels)
    assert (dataset.name, dataset.classes, dataset.source) == ("made", ("yes", "nö"), "a test")
    assert dataset.aliases == {"oui": "yes"}


def test_the_arrays_are_maps_that_nobody_can_write(folder: Path) -> None:
    part = read_cache(folder).parts["train"]
    assert isinstance(part.images.base, np.memmap)
    assert (part.images.dtype, part.labels.dtype) == (np.uint8, np.int64)
    for array in (part.images, part.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_the_fingerprint_names_the_contents_not_the_source(tmp_path: Path) -> None:
    def fingerprint(given: Contents) -> str:
        return write_cache(tmp_path / "v1", "made", given).fingerprint

    original = fingerprint(contents())
    assert fingerprint(contents(source="elsewhere")) == original
    assert fingerprint(replace(contents(), classes=("yes", "no"))) != original
    changed = contents()
    changed.parts["test"].images[3, 5, 4, 2] ^= 1
    assert fingerprint(changed) != original


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0, 100, 0.5, -1])
def test_verifying_finds_a_flipped_bit_anywhere(folder: Path, name: str, where: float) -> None:
    data = bytearray((folder / name).read_bytes())
    data[int(where * len(data)) if where == 0.5 else int(where)] ^= 4
    (folder / name).write_bytes(data)
    with pytest.raises(DataError, match=name):
        read_cache(folder, verify=True)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[:200] + b"<html>"),
    ],
    ids=["missing", "empty", "one byte short", "cut"],
)
def test_opening_alone_finds_coarse_damage(
    folder: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(folder / name)
    with pytest.raises(DataError, match=name):
        read_cache(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 2),
        ("parts", ["train"]),
        ("parts", ["train", "../x"]),
        ("parts", 5),
        ("files", []),
        ("classes", ["yes", "yes"]),
        ("fingerprint", "0" * 64),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(folder: Path, key: str, value: object) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(manifest | {key: value}), encoding="utf-8")
    with pytest.raises(DataError, match=MANIFEST):
        read_cache(folder)


def test_a_wrong_shape_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["files"]["test-images.npy"]["shape"][0] += 1
    (folder / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DataError, match="test-images"):
        read_cache(folder)


def test_pictures_and_labels_must_go_together(tmp_path: Path) -> None:
    given = contents()
    short = Pictures(given.parts["test"].images, given.parts["test"].labels[:-1])
    with pytest.raises(DataError, match="do not go together"):
        write_cache(tmp_path / "v1", "made", replace(given, parts={"test": short}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["_save", "_write_manifest", "_flush", "read_cache"])
def test_a_write_that_fails_leaves_the_old_cache_and_no_rubbish(
    folder: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read_cache(folder).fingerprint

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cache, step, full)
        with pytest.raises(OSError, match="No space"):
            write_cache(folder, "made", contents(seed=1))
    assert [path.name for path in folder.parent.iterdir()] == ["v1"]
    assert read_cache(folder, verify=True).fingerprint == before


def test_every_file_is_flushed_and_the_manifest_is_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[str] = []
    real = cache._flush

    def spy(file: IO[bytes]) -> None:
        flushed.append(Path(file.name).name)
        real(file)

    monkeypatch.setattr(cache, "_flush", spy)
    write_cache(tmp_path / "v1", "made", contents())
    assert flushed == [*FILES, MANIFEST]


def test_a_rotten_write_is_noticed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksums are of what was meant, taken from memory, not of what the disk made of it."""
    real = cache._write_manifest

    def rot(work: Path, *rest: object) -> None:
        (work / "test-labels.npy").write_bytes(bytes((work / "test-labels.npy").stat().st_size))
        real(work, *rest)

    monkeypatch.setattr(cache, "_write_manifest", rot)
    with pytest.raises(DataError, match="test-labels"):
        write_cache(tmp_path / "v1", "made", contents())
    assert not list(tmp_path.iterdir())


def test_only_verifying_reads_the_pictures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(cache, "_sha256_of_file", never)
    read_cache(folder)
    with pytest.raises(AssertionError, match="was read"):
        read_cache(folder, verify=True)


def flipped(path: Path) -> Iterator[None]:
    """Flip a bit of each byte of a file in turn, another one each time."""
    whole = path.read_bytes()
    for at in range(len(whole)):
        data = bytearray(whole)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        yield
    path.write_bytes(whole)


def test_a_flipped_bit_of_the_manifest_is_a_data_error_or_nothing(folder: Path) -> None:
    good, opened = read_cache(folder), 0
    for _ in flipped(folder / MANIFEST):
        try:
            found = read_cache(folder)
        except DataError:
            continue
        opened += 1
        assert (found.fingerprint, found.classes) == (good.fingerprint, good.classes)
    assert opened < len((folder / MANIFEST).read_bytes()) / 2


def test_a_flipped_bit_of_what_an_intake_noted_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for label in ("cat", "dog"):
        (tmp_path / "own" / label).mkdir()
        Image.new("RGB", (20, 20), {"cat": "red", "dog": "blue"}[label]).save(
            tmp_path / "own" / label / "0.png"
        )
    found = open_dataset(str(tmp_path / "own"), root=tmp_path / "root", size=16, quiet=True)
    assert found.folder
    for name, read in ((REPORT, found.report), ("train-names.json", lambda: found.names("train"))):
        for _ in flipped(found.folder / name):
            with pytest.raises(DataError, match=f"{name}.*--verify"):
                read()
        assert read()
