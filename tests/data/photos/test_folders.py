"""Which files of a folder, a list or a tar are pictures, of which class and for what."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from own_folder import link

from alexnet.data.photos import trees
from alexnet.data.photos.folders import arrange, is_place, supply
from alexnet.data.photos.listing import Listing
from alexnet.data.photos.trees import Member, members_within, read_folder, read_tar
from alexnet.errors import DataError, UsageError

TWO = ["cat/a.jpg", "cat/b.JPEG", "dog/c.png"]
SPLIT = ["train/cat/a.jpg", "train/dog/b.jpg", "valid/dog/c.jpg", "test/cat/d.jpg"]


def fill(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def pack(path: Path, names: list[str], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name in names:
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            data = b"" if name.endswith("/") else name.encode()
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def told(listing: Listing) -> list[tuple[str, str, str]]:
    return [(e.part, e.label, e.name) for e in listing.entries]


def content(listing: Listing, i: int) -> bytes:
    member = listing.entries[i].member
    assert member
    with open(member.path, "rb") as file:
        file.seek(member.offset)
        return file.read(member.size)


@pytest.fixture(params=["folder", "tar", "tar.gz", "tgz"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[list[str]], Path]:
    """Return what lays names out as a folder or as an archive."""

    def make(names: list[str]) -> Path:
        if request.param == "folder":
            return fill(tmp_path / "own", names)
        mode = "w" if request.param == "tar" else "w:gz"
        return pack(tmp_path / f"own.{request.param}", names, mode)

    return make


# --- layouts ---------------------------------------------------------------------------------


def test_class_folders_are_the_training_part(place: Callable[[list[str]], Path]) -> None:
    found = supply(place([*reversed(TWO)])).listing()
    assert told(found) == [
        ("train", "cat", "cat/a.jpg"),
        ("train", "cat", "cat/b.JPEG"),
        ("train", "dog", "dog/c.png"),
    ]
    assert (found.parts, found.classes) == (("train",), ("cat", "dog"))


def test_split_folders_under_any_of_their_names(place: Callable[[list[str]], Path]) -> None:
    found = supply(place(SPLIT)).listing()
    assert found.parts == ("train", "validation", "test")
    assert [e.name for e in found.entries] == SPLIT


def test_what_wraps_everything_is_passed(place: Callable[[list[str]], Path]) -> None:
    found = supply(place([f"a/b/{name}" for name in SPLIT])).listing()
    assert found.parts == ("train", "validation", "test")
    assert found.entries[0].name == "a/b/train/cat/a.jpg"


def test_a_class_may_be_called_train_beside_others(place: Callable[[list[str]], Path]) -> None:
    found = supply(place(["train/a.jpg", "plane/b.jpg"])).listing()
    assert (found.parts, found.classes) == (("train",), ("plane", "train"))


def test_folders_within_a_class_belong_to_it(place: Callable[[list[str]], Path]) -> None:
    found = supply(place([*TWO, "dog/2024/may/d.jpg"])).listing()
    assert ("train", "dog", "dog/2024/may/d.jpg") in told(found)


def test_hidden_and_other_files_are_passed_over_and_counted(
    place: Callable[[list[str]], Path],
) -> None:
    rubbish = [".git/x.jpg", "cat/.hidden.jpg", "__MACOSX/cat/a.jpg", "cat/notes.txt", "loose.jpg"]
    found = supply(place(TWO + rubbish)).listing()
    assert [e.name for e in found.entries] == TWO
    assert found.hidden == (".git", "__MACOSX", "cat/.hidden.jpg")
    assert (found.outside, found.others) == (("loose.jpg",), ("cat/notes.txt",))


def test_pictures_of_formats_that_are_not_read_are_listed_all_the_same(tmp_path: Path) -> None:
    found = supply(fill(tmp_path, [*TWO, "cat/x.heic", "cat/no-ending"])).listing()
    assert {"cat/x.heic", "cat/no-ending"} <= {e.name for e in found.entries}


def test_names_have_one_spelling_whatever_the_system(tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "고양이")
    assert apart != "고양이"
    found = supply(fill(tmp_path, [f"train/{apart}/a.jpg", "train/개/b.jpg", "test/고양이/c.jpg"]))
    assert found.listing().classes == ("개", "고양이")


def test_numbers_are_sorted_by_value(tmp_path: Path) -> None:
    assert supply(fill(tmp_path, ["10/a.jpg", "9/b.jpg", "1/c.jpg"])).listing().classes == (
        "1",
        "9",
        "10",
    )


def test_wordnet_ids_get_human_names_in_their_order(tmp_path: Path) -> None:
    found = supply(fill(tmp_path, ["n03394916/a.jpg", "n01440764/b.jpg"])).listing()
    assert found.classes == ("tench", "French horn")
    assert found.aliases == {"n01440764": "tench", "n03394916": "French horn"}
    assert [e.label for e in found.entries] == ["tench", "French horn"]


def test_the_order_of_the_disk_does_not_matter(tmp_path: Path) -> None:
    names = [f"{c}/{n}.jpg" for c in "zab" for n in range(5)]
    one = supply(pack(tmp_path / "1.tar", names)).listing()
    other = supply(pack(tmp_path / "2.tar", names[::-1])).listing()
    assert told(one) == told(other)


def test_members_are_found_by_their_offset(tmp_path: Path) -> None:
    found = supply(pack(tmp_path / "own.tar", ["./cat/", *(f"./{n}" for n in TWO)])).listing()
    assert [content(found, i) for i in range(3)] == [f"./{n}".encode() for n in TWO]
    assert not found.packed


def test_a_link_to_a_folder_is_followed_at_the_top_only(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", ["a.jpg"])
    fill(tmp_path / "own", TWO)
    link(tmp_path / "elsewhere", tmp_path / "own" / "bird")
    link(tmp_path / "own", tmp_path / "own" / "dog" / "round")
    assert supply(tmp_path / "own").listing().classes == ("bird", "cat", "dog")


# --- what is no data set ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat/"], "holds no pictures; expected a folder of class folders"),
        (["a.jpg", "b.jpg"], "holds 2 pictures, but in no class's folder; expected a folder of"),
        (
            ["train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg", "unsorted/d.jpg"],
            "holds train, val with folders of classes inside, and unsorted beside: expected parts",
        ),
        ([".git/a.jpg"], "holds no pictures"),
        ([*TWO, "bird/"], "no picture for training in bird; fill or remove"),
        ([*TWO, "bird/notes.txt"], "no picture for training in bird"),
        ([*SPLIT, "test/bird/x.jpg"], r"train does not have: bird \(in test\); it has cat, dog"),
        (["val/cat/a.jpg", "test/dog/b.jpg"], "has test and validation but no train part"),
        (["train/cat/a.jpg", "train/dog/b.jpg", "train/bird/", "test/bird/c.jpg"], "bird"),
        (["a\tb/a.jpg", "dog/b.jpg"], r"class name 'a\\tb' cannot be written"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    place: Callable[[list[str]], Path], names: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        supply(place(names)).listing()


def test_a_class_missing_from_validation_is_no_error(tmp_path: Path) -> None:
    assert supply(fill(tmp_path, [*SPLIT, "valid/cat/"])).listing().classes == ("cat", "dog")


def test_what_is_no_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK")
    for path in (tmp_path / "none", tmp_path / "none.tar", tmp_path / "x.zip"):
        assert not is_place(path)
        with pytest.raises(UsageError, match="is no data set: expected a folder, a list"):
            supply(path)


# --- lists -----------------------------------------------------------------------------------

CSV = "\ufeffpath,label,split\npics/a.jpg,cat,train\npics/b.jpg,dog,\npics/c.jpg,dog,val\n"
ROWS = [
    {"path": "pics/a.jpg", "label": 3},
    {"path": "./pics/b.jpg", "label": "12"},
]


def with_list(folder: Path, name: str, text: str) -> Path:
    fill(folder, ["pics/a.jpg", "pics/b.jpg", "pics/c.jpg"])
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_a_csv_says_class_and_split(tmp_path: Path) -> None:
    folder = with_list(tmp_path, "labels.csv", CSV)
    expected = [
        ("train", "cat", "pics/a.jpg"),
        ("train", "dog", "pics/b.jpg"),
        ("validation", "dog", "pics/c.jpg"),
    ]
    assert told(supply(folder).listing()) == expected
    assert told(supply(folder / "labels.csv").listing()) == expected


def test_a_json_list_with_numbers_as_classes(tmp_path: Path) -> None:
    found = supply(with_list(tmp_path, "labels.json", json.dumps(ROWS))).listing()
    assert told(found) == [("train", "3", "pics/a.jpg"), ("train", "12", "pics/b.jpg")]


def test_a_list_within_a_tar_and_a_wrapping(tmp_path: Path) -> None:
    with_list(tmp_path / "own", "labels.csv", CSV)
    with tarfile.open(tmp_path / "own.tgz", "w:gz") as archive:
        archive.add(tmp_path / "own", "own")
    found = supply(tmp_path / "own.tgz").listing()
    assert [e.name for e in found.entries] == [f"own/pics/{n}.jpg" for n in "abc"]
    assert found.packed


def test_other_tables_beside_class_folders_are_no_lists(tmp_path: Path) -> None:
    fill(tmp_path, TWO)
    (tmp_path / "noisy.csv").write_text("path,noisy_labels_0\ncat/a.jpg,dog\n")
    (tmp_path / "meta.json").write_text('{"path": "x", "label": "y"}')
    assert supply(tmp_path).listing().classes == ("cat", "dog")


def test_pictures_that_a_list_does_not_name_are_counted(tmp_path: Path) -> None:
    found = supply(with_list(tmp_path, "labels.json", json.dumps(ROWS))).listing()
    assert (found.outside, found.others) == (("pics/c.jpg",), ())


def test_a_table_with_other_columns_is_named_where_it_would_have_helped(tmp_path: Path) -> None:
    folder = with_list(tmp_path, "labels.csv", "file,class\npics/a.jpg,cat\npics/b.jpg,dog\n")
    message = r"one class only, 'pics'.*; labels.csv is not read as a list: expected a CSV with the"
    with pytest.raises(DataError, match=message):
        supply(folder).listing()


@pytest.mark.parametrize("between", [";", "\t"])
def test_a_csv_of_another_separator(tmp_path: Path, between: str) -> None:
    folder = with_list(tmp_path, "labels.csv", CSV.replace(",", between))
    assert told(supply(folder).listing()) == [
        ("train", "cat", "pics/a.jpg"),
        ("train", "dog", "pics/b.jpg"),
        ("validation", "dog", "pics/c.jpg"),
    ]


def test_why_a_table_is_not_read_is_told(tmp_path: Path) -> None:
    folder = with_list(tmp_path, "labels.csv", "")
    (folder / "labels.csv").write_bytes("path,label\npics/a.jpg,고양이\n".encode("cp949"))
    utf8 = r"not read as a list: it is not UTF-8 \(byte 22\); save it as CSV UTF-8; expected a CSV"
    with pytest.raises(DataError, match=utf8):
        supply(folder).listing()
    (folder / "labels.csv").write_text("file,class\npics/a.jpg,cat\n")
    with pytest.raises(DataError, match="JSON list of such objects; it has file, class"):
        supply(folder).listing()
    (folder / "labels.csv").write_text('path,label\n"pics/a.jpg,cat\n')
    with pytest.raises(DataError, match="not read as a list: unexpected end of data"):
        supply(folder).listing()


def test_a_picture_that_is_listed_and_not_there_is_kept_for_the_report(tmp_path: Path) -> None:
    folder = with_list(tmp_path, "labels.csv", CSV + "pics/gone.jpg,cat,train\n")
    gone = [e for e in supply(folder).listing().entries if e.member is None]
    assert [e.name for e in gone] == ["pics/gone.jpg"]


@pytest.mark.parametrize("named", ["", "labels.csv"])
def test_a_list_finds_names_whose_letters_are_kept_apart(tmp_path: Path, named: str) -> None:
    apart = unicodedata.normalize("NFD", "고양이.jpg")
    fill(tmp_path, [f"사진/{apart}", "사진/개.jpg"])
    text = f"path,label\n사진/고양이.jpg,cat\n{unicodedata.normalize('NFD', '사진/개.jpg')},dog\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    found = supply(tmp_path / named).listing()
    assert told(found) == [("train", "cat", f"사진/{apart}"), ("train", "dog", "사진/개.jpg")]
    assert all(entry.member for entry in found.entries)
    assert found.outside == ()


def test_one_name_in_two_spellings_is_listed_twice(tmp_path: Path) -> None:
    text = f"path,label\n개.jpg,dog\n{unicodedata.normalize('NFD', '개.jpg')},cat\n"
    (tmp_path / "labels.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="listed twice"):
        supply(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "no pictures"),
        ("path,label\na.jpg,\n", "no label in"),
        ("path,label\n,cat\n", "no path in"),
        ("path,label\n../a.jpg,cat\n", "not below the list's folder"),
        ("path,label\n/etc/a.jpg,cat\n", "not below the list's folder"),
        ("path,label\na.jpg,cat\n./a.jpg,dog\n", "picture 2: a.jpg is listed twice"),
        ("path,label,split\na.jpg,cat,extra\n", "of the split 'extra'; known are train"),
        ("name,kind\na.jpg,cat\n", "no path in"),
        ("\x00", "labels.csv"),
    ],
)
def test_bad_lists_name_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        supply(tmp_path / "labels.csv").listing()


def test_two_lists_are_one_too_many(tmp_path: Path) -> None:
    with_list(tmp_path, "a.csv", CSV)
    (tmp_path / "b.csv").write_text(CSV)
    with pytest.raises(DataError, match=r"several lists: a.csv, b.csv"):
        supply(tmp_path).listing()


# --- evil and broken archives ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../out.jpg"}, "leads outside"),
        ({"name": "cat/../../out.jpg"}, "leads outside"),
        ({"name": "/abs.jpg"}, "leads outside"),
        ({"name": "C:evil.jpg"}, "leads outside"),
        ({"name": "cat\\..\\x.jpg"}, "leads outside"),
        ({"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "a link"),
        ({"type": tarfile.LNKTYPE, "linkname": "cat/a.jpg"}, "a link"),
        ({"type": tarfile.CHRTYPE}, "a device"),
        ({"type": tarfile.BLKTYPE}, "a device"),
        ({"type": tarfile.FIFOTYPE}, "a device"),
    ],
)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_evil_archives_are_refused(
    tmp_path: Path, change: dict[str, object], message: str, mode: str
) -> None:
    path = pack(tmp_path / ("evil.tar" if mode == "w" else "evil.tgz"), TWO, mode)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("cat/evil.jpg")
        for key, value in change.items():
            setattr(info, key, value)
        archive.addfile(info)
    with pytest.raises(DataError, match=message):
        read_tar(path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_damaged_archive_is_told(tmp_path: Path, mode: str) -> None:
    path = pack(
        tmp_path / ("cut.tar" if mode == "w" else "cut.tgz"),
        [f"c{i}/a.jpg" for i in range(30)],
        mode,
    )
    path.write_bytes(path.read_bytes()[: 600 if mode == "w" else 100])
    with pytest.raises(DataError, match=r"cut short|damaged"):
        read_tar(path)


def header(size: int, kind: bytes = tarfile.REGTYPE, **pax: str) -> bytes:
    """A tar of 1 kB that says of its one file what is asked for."""
    info = tarfile.TarInfo("cat/a.jpg")
    info.size, info.type, info.pax_headers = size, kind, pax
    return info.tobuf(tarfile.PAX_FORMAT if pax else tarfile.GNU_FORMAT) + bytes(1024)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("name", ["x.tar", "x.tgz", "within x.tar"])
@pytest.mark.parametrize(
    "data",
    [
        *(header(size) for size in (1 << 40, 1 << 70, -512)),
        *(header(1 << 40, kind) for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, b"V")),
        header(1 << 70, tarfile.GNUTYPE_LONGNAME),
        header(9, **{"GNU.sparse.map": "x"}),
    ],
    ids=["2**40", "2**70", "-512", "long name", "pax", "unknown", "2**70 name", "sparse"],
)
def test_a_header_that_lies_of_its_size_is_refused_at_once(
    tmp_path: Path, name: str, data: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name == "x.tgz" else data)
    outer = Member(str(path), 0, len(data))
    read = partial(members_within, outer=outer) if name.startswith("within") else read_tar
    with pytest.raises(DataError):
        read(path)


def test_a_web_page_is_no_archive(tmp_path: Path) -> None:
    for name in ("x.tar", "x.tgz"):
        (tmp_path / name).write_text("<!DOCTYPE html><p>404</p>" * 99)
        with pytest.raises(DataError, match=r"web page|no tar"):
            read_tar(tmp_path / name)


def test_a_bomb_and_a_flood_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.tgz"
    monkeypatch.setattr(trees, "SMALL", 1 << 20)
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("cat/a.jpg")
        info.size = 1 << 22
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(DataError, match="100 times its size"):
        read_tar(path)
    monkeypatch.setattr(trees, "MAX_ENTRIES", 2)
    with pytest.raises(DataError, match="more than 2 entries"):
        read_tar(pack(tmp_path / "many.tar", TWO))


# --- the key ---------------------------------------------------------------------------------


def test_the_key_changes_with_the_folder(tmp_path: Path) -> None:
    folder = fill(tmp_path / "own", TWO)
    keys = [supply(folder).key, supply(folder).key]
    assert keys[0] == keys[1]
    (folder / "dog" / "d.jpg").write_bytes(b"new")
    keys.append(supply(folder).key)
    (folder / "dog" / "d.jpg").write_bytes(b"other size")
    keys.append(supply(folder).key)
    os.utime(folder / "cat" / "a.jpg", ns=(1, 1))
    keys.append(supply(folder).key)
    os.unlink(folder / "cat" / "a.jpg")
    keys.append(supply(folder).key)
    assert len(set(keys)) == 5


def test_the_key_changes_with_a_list_that_is_named_itself(tmp_path: Path) -> None:
    path = with_list(tmp_path, "labels.csv", CSV) / "labels.csv"
    keys = [supply(path).key, supply(path).key]
    assert keys[0] == keys[1]
    path.write_text(CSV.replace("a.jpg,cat", "a.jpg,dog"), encoding="utf-8")
    keys.append(supply(path).key)
    path.write_text(CSV.replace("dog,val", "dog,test"), encoding="utf-8")
    keys.append(supply(path).key)
    assert len(set(keys)) == 3


def test_a_tree_is_the_same_from_a_folder_and_from_its_tar(tmp_path: Path) -> None:
    folder = fill(tmp_path / "own", [*SPLIT, ".x/y.jpg"])
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        archive.add(folder, ".")
    one, other = read_folder(folder), read_tar(tmp_path / "own.tar")
    assert set(one.files) == set(other.files)
    assert (one.folders, one.hidden) == (other.folders, other.hidden)
    assert told(arrange(one)) == told(arrange(other))
