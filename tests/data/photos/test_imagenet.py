"""ImageNet and Imagenette by name: the layouts of the official archives, made small."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_folder import jpeg, shared_tar

from alexnet.data.photos import imagenet, imagenette, wordnet
from alexnet.data.photos.imagenette import ARCHIVES, IDS
from alexnet.data.sources import DATASETS, open_dataset
from alexnet.data.splits import select
from alexnet.errors import DataError, DownloadError, UsageError

# Three of the thousand; ILSVRC's own numbers are in another order than the WordNet ids.
CLASSES = {"n01440764": 3, "n02979186": 1, "n03888257": 2}
TRUTH = [2, 3, 1, 1]


def picture(shade: int) -> bytes:
    return jpeg(np.full((40, 50, 3), shade, np.uint8))


def tar_of(files: dict[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def meta() -> bytes:
    """The devkit's table: leaves with their numbers, then an inner node, as MATLAB wrote it."""
    savemat = pytest.importorskip("scipy.io").savemat
    kinds = [
        ("ILSVRC2012_ID", "O"),
        ("WNID", "O"),
        ("words", "O"),
        ("gloss", "O"),
        ("num_children", "O"),
    ]
    rows = [(number, key, "words", "gloss", 0) for key, number in CLASSES.items()]
    table = np.array([*rows, (4, "n00001740", "entity", "gloss", 2)], dtype=kinds)
    out = io.BytesIO()
    savemat(out, {"synsets": table.reshape(-1, 1)}, do_compression=True)
    return out.getvalue()


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ImageNet have three classes."""
    known = {key: wordnet.names()[key] for key in CLASSES}
    monkeypatch.setattr("alexnet.data.photos.wordnet.names", lambda: known)


@pytest.fixture
def official(tmp_path: Path, three: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with the three files, and let their checksums be the published ones."""
    inner = {
        f"{key}.tar": tar_of({f"{key}_{i}.JPEG": picture(40 * c + 10 * i) for i in range(2)})
        for c, key in enumerate(reversed(CLASSES))
    }
    text = "".join(f"{number}\n" for number in TRUTH)
    files = {
        imagenet.TRAIN: tar_of(inner),
        imagenet.VAL: tar_of(
            {f"ILSVRC2012_val_{i:08}.JPEG": picture(200 + i) for i in (3, 1, 4, 2)}
        ),
        imagenet.DEVKIT: tar_of({imagenet.TRUTH: text.encode(), imagenet.META: meta()}, "w:gz"),
    }
    folder = tmp_path / "official"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    sums = {name: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(imagenet, "MD5", sums)
    return folder


def opened(folder: Path, root: Path) -> Any:
    return open_dataset("imagenet", root=root, source=str(folder), size=16, say=lambda _: None)


def test_the_official_archives_as_they_lie(official: Path, tmp_path: Path) -> None:
    found = opened(official, tmp_path / "root")
    assert found.classes == ("tench", "cassette player", "parachute")
    assert found.aliases["n02979186"] == "cassette player"
    assert tuple(found.parts) == ("train", "val")
    assert found.names("train")[:2] == (
        "train/n01440764/n01440764_0.JPEG",
        "train/n01440764/n01440764_1.JPEG",
    )
    shades = found.parts["train"].images[:, 8, 8, 0].astype(int)
    np.testing.assert_allclose(shades, [80, 90, 40, 50, 0, 10], atol=2)
    # Pictures 1 to 4 are of ILSVRC's classes 2, 3, 1, 1: parachute, tench, cassette player twice.
    assert found.parts["val"].labels.tolist() == [0, 1, 1, 2]
    np.testing.assert_allclose(
        found.parts["val"].images[:, 8, 8, 0].astype(int), [202, 203, 204, 201], atol=2
    )


def test_the_folders_of_other_programs_give_the_same(official: Path, tmp_path: Path) -> None:
    first = opened(official, tmp_path / "root")
    folder = tmp_path / "folders"
    with tarfile.open(official / imagenet.TRAIN) as outer:
        for member in outer:
            into = folder / "train" / member.name.removesuffix(".tar")
            into.mkdir(parents=True)
            with tarfile.open(fileobj=outer.extractfile(member)) as inner:
                for each in inner:
                    (into / each.name).write_bytes(inner.extractfile(each).read())  # type: ignore[union-attr]
    with tarfile.open(official / imagenet.VAL) as archive:
        for name in first.names("val"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            data = archive.extractfile(Path(name).name)
            assert data
            (folder / name).write_bytes(data.read())
    assert opened(folder, tmp_path / "other").fingerprint == first.fingerprint


def test_a_damaged_archive_is_found_before_it_is_read(official: Path, tmp_path: Path) -> None:
    data = bytearray((official / imagenet.VAL).read_bytes())
    data[700] ^= 1
    (official / imagenet.VAL).write_bytes(data)
    with pytest.raises(DataError, match=r"ILSVRC2012_img_val.tar has the MD5 \w{32}, expected"):
        opened(official, tmp_path / "root")


def test_without_the_files_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"image-net\.org") as caught:
        open_dataset("imagenet", root=tmp_path)
    for name, _ in imagenet.MD5.items():
        assert name in str(caught.value)
    assert str(tmp_path / "imagenet") in str(caught.value)
    with pytest.raises(UsageError, match="is no folder; expected a folder with ILSVRC2012"):
        open_dataset("imagenet", root=tmp_path, source=str(tmp_path / "none"))


def test_other_classes_are_not_imagenet(official: Path, tmp_path: Path) -> None:
    for part in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / "f" / part / label).mkdir(parents=True)
            (tmp_path / "f" / part / label / "a.jpg").write_bytes(picture(9))
    with pytest.raises(DataError, match="is not ILSVRC2012: 2 classes, from cat to dog"):
        opened(tmp_path / "f", tmp_path / "root")


def test_without_scipy_it_says_what_to_install(
    official: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[imagenet\]'"):
        imagenet.validation_labels(official / imagenet.DEVKIT)


# --- names -----------------------------------------------------------------------------------


def test_a_thousand_names_none_twice() -> None:
    names = wordnet.names()
    assert len(names) == len(set(names.values())) == 1000
    assert list(names) == sorted(names)
    # The first and the last of ILSVRC's classes, and those that needed telling apart.
    assert (names["n01440764"], names["n15075141"]) == ("tench", "toilet tissue")
    assert names["n02012849"] == "crane (bird)"
    assert names["n03126707"] == "crane (machine)"
    assert [names[key] for key in IDS] == [
        *("tench", "English springer", "cassette player", "chain saw", "church"),
        *("French horn", "garbage truck", "gas pump", "golf ball", "parachute"),
    ]


# --- Imagenette ------------------------------------------------------------------------------


def test_the_real_imagenette_is_listed_as_published() -> None:
    tar = shared_tar()
    if tar is None:
        pytest.skip("no imagenette2-224.tar: set ALEXNET_SHARED_DATA to a folder that has it")
    found = imagenette.find(Path(), str(tar), 256, lambda _: None).listing()
    assert found.parts == ("train", "val")
    assert len(found.entries) == 9_469 + 3_925
    assert found.classes[4] == "church"
    counts = [sum(e.label == "church" and e.part == p for e in found.entries) for p in found.parts]
    assert counts == [941, 409]


@pytest.fixture
def little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an archive like the publisher's, with two pictures a class and part."""
    files = {
        f"imagenette2-320/{part}/{key}/{i}.JPEG": picture(20 * c + i)
        for part in ("train", "val")
        for c, key in enumerate(IDS)
        for i in range(2)
    }
    files["imagenette2-320/noisy_imagenette.csv"] = b"path,noisy_labels_0\ntrain/x.JPEG,n01440764\n"
    monkeypatch.setattr(imagenette, "COUNTS", {"train": 20, "val": 20})
    path = tmp_path / "publisher" / "imagenette2-320.tgz"
    path.parent.mkdir()
    path.write_bytes(tar_of(files, "w:gz"))
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(ARCHIVES, "320px", replace(ARCHIVES["320px"], md5=md5))
    return path


def test_an_archive_of_imagenette(little: Path, tmp_path: Path) -> None:
    found = open_dataset("imagenette", root=tmp_path / "root", source=str(little), size=16)
    assert tuple(found.parts) == ("train", "val")
    assert "imagenette2-320.tgz" in found.source
    # The lab's protocol: half of validation is the test part.
    assert select(found, "validation[:50%]").tolist() == list(range(10))
    assert open_dataset("imagenette", root=tmp_path / "root", size=16).classes == found.classes


def test_it_is_fetched_with_its_checksum_and_kept(
    little: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def download(url: str, path: Path, *, md5: str, **_: object) -> None:
        asked.append((url, md5))
        path.write_bytes(little.read_bytes())

    monkeypatch.setattr(imagenette, "download", download)
    for size in (16, 20):
        found = open_dataset("imagenette", root=tmp_path / "root", size=size, say=lambda _: None)
    assert asked == [(imagenette.PUBLISHER + "imagenette2-320.tgz", ARCHIVES["320px"].md5)]
    assert "the publisher's MD5" in found.source


def test_an_archive_of_the_official_name_must_be_the_official_one(
    little: Path, tmp_path: Path
) -> None:
    (tmp_path / "imagenette2-320.tgz").write_bytes(little.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"imagenette2-320.tgz has the MD5"):
        open_dataset("imagenette", root=tmp_path, size=16, say=lambda _: None)


def test_no_way_to_it_says_the_way_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        raise DownloadError("the server cannot be reached (no route)")

    monkeypatch.setattr(imagenette, "download", download)
    with pytest.raises(DownloadError, match="no route") as caught:
        open_dataset("imagenette", root=tmp_path, size=512, say=lambda _: None)
    assert ARCHIVES["full"].md5 in str(caught.value)
    assert "--source PATH" in str(caught.value)


def test_another_data_set_is_not_imagenette(little: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("cat", "dog"):
            info = tarfile.TarInfo(f"{name}/a.jpg")
            archive.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match="not Imagenette: its classes are cat, dog"):
        open_dataset("imagenette", root=tmp_path, source=str(tmp_path / "x.tar"))
    assert set(DATASETS) >= {"imagenet", "imagenette"}
