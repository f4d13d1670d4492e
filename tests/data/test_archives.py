from __future__ import annotations

import gzip
import io
import pickle
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import archives
from alexnet.data.archives import read_members, read_pickle
from alexnet.errors import DataError

Writer = Callable[[np.ndarray, list[int], str], bytes]
WANTED = {"top/a.bin", "top/b.bin"}


def entry(name: str, **facts: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for key, value in facts.items():
        setattr(info, key, value)
    return info


def pack(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, data in entries:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_only_what_is_wanted_comes_out(tmp_path: Path) -> None:
    path = pack(
        tmp_path / "x.tar.gz",
        (entry("top", type=tarfile.DIRTYPE), b""),
        (entry("top/a.bin"), b"abc"),
        (entry("top/readme.html"), b"<html>"),
        (entry("../b.bin"), b"evil"),
        (entry("/top/b.bin"), b"evil"),
        (entry("top/b.bin"), b"b" * 5000),
    )
    assert read_members(path, WANTED) == {"top/a.bin": b"abc", "top/b.bin": b"b" * 5000}
    assert [p.name for p in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
    ],
)
def test_a_wanted_name_that_is_no_plain_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    path = pack(tmp_path / "x.tgz", (entry("top/a.bin", type=kind, linkname="/etc/passwd"), b""))
    with pytest.raises(DataError, match=r"top/a\.bin is no plain file"):
        read_members(path, WANTED)


def test_too_many_or_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = pack(tmp_path / "many.tgz", *((entry(f"n{i}"), b"") for i in range(65)))
    with pytest.raises(DataError, match="64 entries"):
        read_members(many, WANTED)
    large = pack(tmp_path / "large.tgz", (entry("top/a.bin"), b"x" * 101))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_MEMBER", 100)
        with pytest.raises(DataError, match="sensible size"):
            read_members(large, WANTED)


def test_a_bomb_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_TOTAL", 1 << 20)
    bomb = pack(tmp_path / "bomb.tgz", (entry("not-wanted"), bytes(3 << 20)))
    with pytest.raises(DataError, match="more than 1 MiB"):
        read_members(bomb, WANTED)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("pax", [{}, {"GNU.sparse.map": "x"}])
@pytest.mark.parametrize("size", [9, 1 << 40, 1 << 70])
def test_a_header_that_lies_of_its_size_is_refused_at_once(
    tmp_path: Path, size: int, pax: dict[str, str]
) -> None:
    info = entry("not-wanted", size=size, pax_headers=pax)
    data = info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + b"abc"
    (tmp_path / "x.tgz").write_bytes(gzip.compress(data))
    with pytest.raises(DataError, match=r"x\.tgz is cut short or damaged"):
        read_members(tmp_path / "x.tgz", WANTED)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
def test_a_truncated_archive_is_named(tmp_path: Path, share: float) -> None:
    noise = np.random.RandomState(0).bytes(50_000)
    path = pack(tmp_path / "x.tgz", (entry("top/a.bin"), noise), (entry("top/b.bin"), noise))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"x\.tgz is cut short"):
        read_members(path, WANTED)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>404", "is a web page"),
        (b"<HTML><body>Sign in", "is a web page"),
        (b"PK\x03\x04zip", r"not a \.tar\.gz"),
        (gzip.compress(b"not a tar " * 200), "cut short or damaged"),
        (gzip.compress(b"x" * 9000)[:20] + b"\0" * 30, "cut short or damaged"),
    ],
    ids=["empty", "page", "portal", "zip", "no tar inside", "damaged gzip"],
)
def test_what_is_no_archive_is_told_for_what_it_is(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_members(path, WANTED)


def test_a_python2_pickle_is_read_as_data(python2_batch: Writer) -> None:
    images = np.random.RandomState(0).randint(0, 256, (300, 7)).astype(np.uint8)
    data = python2_batch(images, list(range(300)), "a batch")
    found = read_pickle(data)
    np.testing.assert_array_equal(found["data"], images)
    assert found["data"].dtype == np.uint8
    assert found["labels"] == list(range(300))
    assert found["batch_label"] == "a batch"
    assert found["filenames"] == [f"{i}.png" for i in range(300)]


def test_the_fixture_is_a_true_pickle(python2_batch: Writer) -> None:
    """Python's own reader must find the same in it: else the fixture proves nothing."""
    images = np.arange(12, dtype=np.uint8).reshape(3, 4)
    found = pickle.loads(python2_batch(images, [5, 6, 300], "x"), encoding="bytes")
    np.testing.assert_array_equal(found[b"data"], images)
    assert found[b"labels"] == [5, 6, 300]


class Payload:
    def __init__(self, call: object, *arguments: object) -> None:
        self.reduced = (call, arguments)

    def __reduce__(self) -> object:
        return self.reduced


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_malicious_pickle_is_refused_and_does_nothing(
    tmp_path: Path, protocol: int, wrapped: bool
) -> None:
    witness = tmp_path / "pwned"
    for payload in (
        Payload(open, str(witness), "w"),
        Payload(eval, f"open({str(witness)!r}, 'w')"),
        Payload(subprocess.getoutput, f"echo > {witness}"),
        Payload(getattr, witness, "touch"),
    ):
        evil = pickle.dumps({b"data": payload} if wrapped else payload, protocol)
        with pytest.raises(DataError):
            read_pickle(evil)
        assert not witness.exists()
    # The payload is live: Python's own reader runs it.
    pickle.loads(pickle.dumps(Payload(open, str(witness), "w"), protocol)).close()
    assert witness.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"garbage",
        b"\x80\x02.",
        b"\x80\x02K\x01.",  # an int
        b"\x80\x02}q\x00h\x05.",  # a memo that was never put
        b"\x80\x02}(U\x01aK\x01U\x01bu.",  # a key without a value
        b"\x80\x02}U\x01acnumpy\ndtype\nR.",  # a call without arguments
        b"\x80\x02}(U\x04datacnumpy\ndtype\n)Ru.",  # a dtype where an array should be
        b"\x80\x02}(U\x01a]](K\x01ee",  # no end
        b"\x80\x02(K\x01t",  # no end either
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n.",
        b"\x80\x02]q\x00(h\x00K\x05K\x06e}b.",  # a state for a list
    ],
)
def test_a_broken_pickle_is_a_data_error(data: bytes) -> None:
    with pytest.raises(DataError):
        read_pickle(data)


def test_every_cut_of_a_pickle_is_a_data_error(python2_batch: Writer) -> None:
    data = python2_batch(np.zeros((2, 3), np.uint8), [0, 1], "x")
    for end in range(len(data)):
        with pytest.raises(DataError):
            read_pickle(data[:end])


def test_an_array_that_does_not_fit_its_shape_is_refused(python2_batch: Writer) -> None:
    data = python2_batch(np.zeros((2, 3), np.uint8), [0, 1], "x")
    with pytest.raises(DataError, match="not a pickle of the expected kind"):
        read_pickle(data.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"))


def test_nested_float_arrays_of_protocol_3_are_read(tmp_path: Path) -> None:
    """What flax's programs save: dictionaries in dictionaries, also one array under two names."""
    kernel = np.random.RandomState(0).randn(3, 2, 5).astype(np.float32)
    held = {
        "a": {"kernel": kernel, "fortran": np.asfortranarray(kernel[0])},
        "b": {"c": {"k": kernel}},
    }
    found = read_pickle(pickle.dumps(held, 3))
    np.testing.assert_array_equal(found["a"]["kernel"], kernel)
    np.testing.assert_array_equal(found["a"]["fortran"], kernel[0])
    np.testing.assert_array_equal(found["b"]["c"]["k"], kernel)
    assert found["a"]["kernel"].dtype == np.float32


@pytest.mark.parametrize("dtype", ["<f8", ">f4", "<i4", "object"])
def test_arrays_of_other_types_are_refused(dtype: str) -> None:
    with pytest.raises(DataError, match=r"not expected|opcode|expected kind"):
        read_pickle(pickle.dumps({"x": np.zeros(3, dtype)}, 3))


def test_a_dictionary_of_dictionaries_a_thousand_times_over_is_read_once() -> None:
    """Forty doublings would be a million million entries, if each were written out."""
    held: dict[str, object] = {"end": 1}
    for _ in range(40):
        held = {"a": held, "b": held}
    assert read_pickle(pickle.dumps(held, 3)).keys() == {"a", "b"}
    held["itself"] = held
    found = read_pickle(pickle.dumps(held, 3))
    assert found["itself"] is found


def test_a_pickle_deeper_than_any_is_a_data_error() -> None:
    deep = b"\x80\x03" + b"}X\x01\0\0\0a" * 5000 + b"K\x01" + b"s" * 5000 + b"."
    with pytest.raises(DataError, match="expected kind"):
        read_pickle(deep)
