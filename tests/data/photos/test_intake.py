"""Photographs as people have them: looked at once, stored as they should be, and told about."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from own_folder import UNREADABLE, build, jpeg, link
from PIL import Image

from alexnet.data.cache import Dataset
from alexnet.data.card import card, channel_statistics, render
from alexnet.data.photos import folders, growing, intake, journal, listing, pool
from alexnet.data.photos.intake import Plan, tasks_of
from alexnet.data.photos.noting import of_bytes
from alexnet.data.photos.records import of_notes
from alexnet.data.photos.report_text import columns
from alexnet.data.photos.report_text import render as report_text
from alexnet.data.pictures import fit_square, read_picture
from alexnet.data.sources import open_dataset
from alexnet.errors import DataError, UnknownName, UsageError

SIZE = 64


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("photos") / "own")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="session")
def taken_in(own: Path, root: Path) -> Dataset:
    return opened(own, root)


@pytest.fixture(scope="session")
def report(taken_in: Dataset) -> dict[str, Any]:
    found = taken_in.report()
    assert found
    return found


def opened(path: Path, root: Path, **how: Any) -> Dataset:
    return open_dataset(str(path), root=root, size=SIZE, **{"say": lambda _: None, **how})


def small(folder: Path, count: int = 3) -> Path:
    """Two classes of ``count`` small pictures, each of another colour."""
    for number, label in enumerate(("cat", "dog")):
        (folder / label).mkdir(parents=True)
        for i in range(count):
            picture = np.full((60, 80, 3), (i * 5) % 200 + 20, np.uint8)
            picture[:, :40, number] = 250 - i
            (folder / label / f"{i}.jpg").write_bytes(jpeg(picture))
    return folder


# --- what is stored --------------------------------------------------------------------------


def test_every_readable_picture_is_stored_as_one_would_read_it(
    own: Path, taken_in: Dataset
) -> None:
    for part, pictures in taken_in.parts.items():
        names = taken_in.names(part)
        assert names
        assert len(names) == len(pictures.images) == len(pictures.labels)
        for name, image, label in zip(names, pictures.images, pictures.labels, strict=True):
            expected = fit_square(read_picture(own / name), SIZE)
            np.testing.assert_array_equal(image, expected, err_msg=name)
            assert taken_in.classes[label] == name.split("/")[1]


def test_it_is_what_pillow_alone_would_give(own: Path, taken_in: Dataset) -> None:
    names = taken_in.names("test")
    assert names
    for i in (0, len(names) - 1):
        with Image.open(own / names[i]) as picture:
            rgb = picture.convert("RGB")
        short = min(rgb.size)
        rgb = rgb.resize(tuple(SIZE * s // short for s in rgb.size), Image.Resampling.BILINEAR)  # type: ignore[arg-type]
        left, top = ((s - SIZE) // 2 for s in rgb.size)
        expected = np.asarray(rgb)[top : top + SIZE, left : left + SIZE]
        np.testing.assert_array_equal(taken_in.parts["test"].images[i], expected)


def test_a_phone_picture_stands_upright(own: Path, taken_in: Dataset) -> None:
    names = taken_in.names("train")
    assert names
    image = taken_in.parts["train"].images[names.index("train/golf ball/phone.jpg")]
    with Image.open(own / "train/golf ball/phone.jpg") as picture:
        stored = fit_square(np.asarray(picture.convert("RGB")), SIZE)
    turned = np.rot90(stored, -1).astype(int)
    assert np.abs(image - turned).mean() < 1
    assert np.abs(image.astype(int) - stored).mean() > 5


def test_whole_pictures_are_stored_beside_the_centres(tmp_path: Path) -> None:
    own = small(tmp_path / "own")  # of 80 x 60 pixels
    centres, whole = (opened(own, tmp_path / "root", fit=fit) for fit in ("crop", "stretch"))
    assert centres.folder
    assert whole.folder
    assert centres.folder.name == "v1-64px"
    assert whole.folder == centres.folder.with_name("v1-stretch-64px")
    names = whole.names("train")
    assert names
    for name, image in zip(names, whole.parts["train"].images, strict=True):
        rgb = Image.fromarray(read_picture(own / name))
        expected = np.asarray(rgb.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(image, expected, err_msg=name)
    told, before = whole.report(), centres.report()
    assert told
    assert before
    assert (told["fit"], before["fit"]) == ("stretch", "crop")
    assert "stored 64x64 (the whole picture, its sides made equal)" in report_text(told)
    assert "stored 64x64\n" in report_text(before)
    assert report_text({k: v for k, v in before.items() if k != "fit"}) == report_text(before)
    again = opened(own, tmp_path / "root", fit="stretch", say=pytest.fail)
    assert again.fingerprint == whole.fingerprint != centres.fingerprint


def test_a_cache_from_before_there_was_a_choice_is_still_the_right_one(tmp_path: Path) -> None:
    supply = folders.supply(small(tmp_path / "own"))
    assert intake.key_of(supply, 64) == listing.digest(supply.key, 1, 64)
    assert intake.key_of(supply, 64, "stretch") != intake.key_of(supply, 64)


def test_one_intake_does_not_sweep_away_what_another_was_killed_in(tmp_path: Path) -> None:
    for folder, other in (("v1-64px", "v1-stretch-64px"), ("v1-stretch-64px", "v1-64px")):
        killed = intake._work_folder(tmp_path / other, "a" * 64)
        killed.mkdir()
        intake._work_folder(tmp_path / folder, "b" * 64)
        assert killed.is_dir()
        killed.rmdir()


def test_squares_are_the_same_by_every_fit(data_root: Path) -> None:
    one, other = (open_dataset("shapes", root=data_root, fit=f) for f in ("crop", "stretch"))
    assert one.folder == other.folder
    with pytest.raises(UnknownName, match=r"data\.fit 'squash'"):
        open_dataset("shapes", root=data_root, fit="squash")


@pytest.mark.parametrize("ending", ["tar", "tgz"])
def test_a_tar_gives_the_same_bits(
    own: Path, taken_in: Dataset, ending: str, tmp_path: Path
) -> None:
    path = tmp_path / f"own.{ending}"
    with tarfile.open(path, "w" if ending == "tar" else "w:gz") as archive:
        archive.add(own, "mine")
    found = opened(path, tmp_path / "root")
    assert found.fingerprint == taken_in.fingerprint
    assert found.names("test") == tuple(f"mine/{n}" for n in taken_in.names("test") or ())


def test_the_cache_is_verified_and_holds_nothing_else(
    taken_in: Dataset, own: Path, root: Path
) -> None:
    assert taken_in.folder
    assert sorted(p.name for p in taken_in.folder.iterdir()) == sorted(
        ["intake.json", "manifest.json"]
        + [
            f"{p}-{k}"
            for p in ("train", "test")
            for k in ("images.npy", "labels.npy", "names.json")
        ]
    )
    assert [p.name for p in taken_in.folder.parent.iterdir() if p.name != ".lock"] == ["v1-64px"]
    assert opened(own, root, verify=True).fingerprint == taken_in.fingerprint


# --- what is told ----------------------------------------------------------------------------


def test_counts(report: dict[str, Any], taken_in: Dataset) -> None:
    train, test = report["parts"]["train"], report["parts"]["test"]
    assert (train["pictures"], train["unreadable"]) == (157, 3)
    assert (test["pictures"], test["unreadable"]) == (40, 0)
    assert train["per_class"] == {"church": 38, "golf ball": 39, "parachute": 40, "잉어": 40}
    assert set(test["per_class"].values()) == {10}
    assert taken_in.parts["train"].labels.tolist() == sorted(taken_in.parts["train"].labels)


def test_kinds_and_turns(report: dict[str, Any]) -> None:
    kinds = report["parts"]["train"]["kinds"]
    assert {kinds["PNG I;16"], kinds["JPEG CMYK"], kinds["GIF P"]} == {1}
    assert sum(kinds.values()) == 157
    assert report["parts"]["train"]["turned"] == 1


def test_sizes_and_kinds_of_each_class(report: dict[str, Any], own: Path) -> None:
    found = report["parts"]["train"]["by_class"]
    assert [found[c]["unreadable"] for c in report["classes"]] == [2, 1, 0, 0]
    assert found["church"]["kinds"]["JPEG CMYK"] == 1
    widths = []
    for path in sorted((own / "train" / "잉어").iterdir()):
        with Image.open(path) as picture:
            widths.append(picture.width)
    assert found["잉어"]["width"] == [min(widths), int(np.median(widths)), max(widths)]


def test_unreadable_ones_are_named_with_the_reason(report: dict[str, Any]) -> None:
    found = {fault["name"]: fault["reason"] for fault in report["unreadable"]}
    assert found.keys() == UNREADABLE.keys()
    for name, words in UNREADABLE.items():
        assert words in found[name]
        assert "accepted" not in found[name]


def test_the_same_picture_in_two_parts_is_found_by_bytes_and_by_looks(
    report: dict[str, Any],
) -> None:
    pairs = {(pair["same"], *pair["names"]) for pair in report["in_two_parts"]}
    assert pairs == {
        ("bytes", "train/잉어/05.jpg", "test/잉어/05.jpg"),
        ("content", "train/parachute/07.jpg", "test/parachute/07.jpg"),
    }


def test_what_was_passed_over_is_counted(report: dict[str, Any]) -> None:
    assert report["hidden"] == {"count": 2, "names": [".thumbnails", "train/church/._00.jpg"]}
    assert report["others"] == {"count": 1, "names": ["train/church/notes.txt"]}


def test_the_text_shows_what_a_person_must_know(report: dict[str, Any]) -> None:
    lines = report_text(report).splitlines()
    text = "\n".join(lines)
    assert "train: 157 pictures, 3 unreadable left out, stored 64x64" in lines
    assert "WARNING: 2 pictures are in two parts" in text
    assert "train/church/nothing.jpg: is empty (0 bytes)" in text
    assert "hidden, ignored: 2 (.thumbnails, train/church/._00.jpg)" in lines
    table = [line for line in lines if line.split()[0] in ("class", "church", "golf", "잉어")]
    assert len({columns(line.rpartition("  ")[0]) for line in table}) == 1
    assert [line.rpartition("  ")[2] for line in table if "church" in line] == [
        ", ".join(f"{n} {kind}" for kind, n in _kinds_of(report, "church").most_common())
    ]


def _kinds_of(report: dict[str, Any], label: str) -> Counter[str]:
    parts = report["parts"].values()
    return sum((Counter(part["by_class"][label]["kinds"]) for part in parts), Counter())


def test_one_is_written_as_one(report: dict[str, Any]) -> None:
    assert "copy;" not in report_text(report)
    one = {**report, "in_two_parts": report["in_two_parts"][:1], "duplicates": [["a", "b"]]}
    assert "WARNING: 1 picture is in two parts" in report_text(one)
    assert "more than once within a part: 1 copy;" in report_text(one)


def test_a_report_from_before_is_still_written(report: dict[str, Any]) -> None:
    before = {k: v for k, v in report.items() if k not in ("outside", "fit")}
    before["parts"] = {
        name: {k: v for k, v in part.items() if k != "by_class"}
        for name, part in report["parts"].items()
    }
    assert "hidden, ignored: 2" in report_text(before)


def test_the_card_has_the_sums_of_the_intake(taken_in: Dataset) -> None:
    described = card(taken_in)["parts"]["train"]
    mean, deviation = channel_statistics(taken_in.parts["train"].images)
    np.testing.assert_allclose(described["mean_255"], mean, rtol=1e-12)
    np.testing.assert_allclose(described["std_255"], deviation, rtol=1e-9)
    assert "WARNING" in render(card(taken_in))
    json.dumps(card(taken_in), allow_nan=False)


def test_copies_within_a_part_and_missing_classes(tmp_path: Path) -> None:
    folder = small(tmp_path / "own" / "train")
    shutil.copy(folder / "cat" / "0.jpg", folder / "dog" / "copy.jpg")
    (folder.parent / "val" / "cat").mkdir(parents=True)
    (folder.parent / "val" / "cat" / "x.jpg").write_bytes(jpeg(np.zeros((50, 50, 3), np.uint8)))
    found = opened(folder.parent, tmp_path / "root").report()
    assert found
    assert found["duplicates"] == [["train/cat/0.jpg", "train/dog/copy.jpg"]]
    assert found["missing"] == {"validation": ["dog"]}
    text = report_text(found)
    assert "validation has no picture of: dog" in text
    assert "train/cat/0.jpg = train/dog/copy.jpg" in text


# --- strict, and what cannot be trained on ---------------------------------------------------


def test_strict_names_everything_and_keeps_no_cache(own: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="strict: 5 faults") as caught:
        opened(own, tmp_path, strict=True)
    for name in (*UNREADABLE, "test/잉어/05.jpg", "test/parachute/07.jpg"):
        assert name in str(caught.value)
    assert not list(tmp_path.rglob("manifest.json"))


def test_strict_holds_for_a_cache_that_is_there(own: Path, root: Path, taken_in: Dataset) -> None:
    with pytest.raises(DataError, match="strict: 5 faults"):
        opened(own, root, strict=True)


def test_strict_passes_a_clean_folder(tmp_path: Path) -> None:
    assert opened(small(tmp_path / "own"), tmp_path / "root", strict=True).classes == ("cat", "dog")


def test_a_class_with_no_readable_picture_is_an_error(tmp_path: Path) -> None:
    folder = small(tmp_path / "own")
    for path in (folder / "dog").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="not one picture of the class dog can be read") as caught:
        opened(folder, tmp_path / "root")
    assert "dog/2.jpg: is empty" in str(caught.value)


def test_a_listed_picture_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    folder = small(tmp_path / "own")
    (folder / "l.csv").write_text("path,label\ncat/0.jpg,a\ndog/0.jpg,b\ngone.jpg,b\n")
    found = opened(folder, tmp_path / "root")
    report = found.report()
    assert report
    assert [(f["name"], f["reason"]) for f in report["unreadable"]] == [
        ("gone.jpg", "is listed, but there is no such file")
    ]
    assert found.names("train") == ("cat/0.jpg", "dog/0.jpg")


# --- again, and after a change ---------------------------------------------------------------


def test_nothing_is_read_twice_and_a_change_is_noticed(tmp_path: Path) -> None:
    folder, said = small(tmp_path / "own"), []
    first = opened(folder, tmp_path / "root", say=said.append)
    assert len(said) == 1
    again = opened(folder, tmp_path / "root", say=said.append)
    assert (len(said), again.fingerprint) == (1, first.fingerprint)
    (folder / "cat" / "new.jpg").write_bytes(jpeg(np.full((50, 60, 3), 99, np.uint8)))
    after = opened(folder, tmp_path / "root", say=said.append)
    assert len(said) == 2
    assert len(after.parts["train"].images) == 7


def test_a_folder_that_is_gone_can_still_be_used(tmp_path: Path) -> None:
    folder, said = small(tmp_path / "own"), []
    first = opened(folder, tmp_path / "root")
    shutil.rmtree(folder)
    again = opened(folder, tmp_path / "root", say=said.append)
    assert again.fingerprint == first.fingerprint
    assert said == [f"{folder} is gone; what was taken in of it is used"]


def test_a_source_that_cannot_be_read_is_named_and_not_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path / "own")
    link("round.jpg", folder / "round.jpg")
    with pytest.raises(DataError, match=r"own/round\.jpg cannot be read: .*symbolic link"):
        opened(folder, tmp_path / "root")
    (folder / "round.jpg").unlink()
    (folder / "labels.csv").write_text("path,label\ncat/0.jpg,cat\n")

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as root, who may read all
    for place in (folder, folder / "labels.csv"):
        with pytest.raises(DataError, match=r"labels\.csv cannot be read: Permission denied$"):
            opened(place, tmp_path / "root")


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no data set: expected a folder"):
        opened(tmp_path / "nothing", tmp_path / "root")
    with pytest.raises(
        UnknownName, match="unknown data set 'imagenete'; did you mean 'imagenette'"
    ):
        open_dataset("imagenete", root=tmp_path)
    with pytest.raises(UsageError, match="its own source"):
        opened(small(tmp_path / "own"), tmp_path / "root", source="x")


# --- killed ----------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from alexnet.data.photos import journal
from alexnet.data.sources import open_dataset

real, calls = journal.Journal.note, 0

def note(self, *arguments):
    global calls
    real(self, *arguments)
    calls += 1
    if calls == 4:
        os.kill(os.getpid(), signal.SIGKILL)

journal.Journal.note = note
open_dataset(sys.argv[1], root=Path(sys.argv[2]), size=64)
"""


@pytest.fixture
def killed(own: Path, tmp_path: Path) -> Path:
    """Return a root in which an intake was killed, -9, with four tasks done."""
    call = [sys.executable, "-c", KILLED, str(own), str(tmp_path)]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not list(tmp_path.rglob("manifest.json"))
    return tmp_path


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many pictures each call of the pool is given."""
    calls: list[int] = []
    real = pool.run

    def run(tasks: Any, *rest: Any) -> Any:
        every = list(tasks)
        calls.append(sum(len(task.at) for task in every))
        return real(every, *rest)

    monkeypatch.setattr(pool, "run", run)
    return calls


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_a_killed_intake_goes_on_to_the_same_bits(
    killed: Path, own: Path, taken_in: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, said = counted(monkeypatch), []
    found = opened(own, killed, say=said.append)
    assert said[-1] == "going on: 64 of 200 pictures were read before"
    assert calls == [136]
    assert found.fingerprint == taken_in.fingerprint
    assert found.report() == taken_in.report()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")
def test_pixels_that_did_not_reach_the_disk_are_read_again(
    killed: Path, own: Path, taken_in: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images,) = killed.rglob("test-images.npy")
    (train,) = killed.rglob("train-images.npy")
    for path in (images, train):
        with path.open("r+b") as file:
            file.seek(128)
            file.write(bytes(5 * SIZE * SIZE * 3))
    calls = counted(monkeypatch)
    assert opened(own, killed).fingerprint == taken_in.fingerprint
    assert calls[0] > 136


def test_half_a_line_of_a_killed_intake_costs_no_more_than_its_pictures(tmp_path: Path) -> None:
    """Killed within a line, gone on with, and killed again: the third goes on all the same."""
    empty = of_notes(of_bytes(b""))
    first = journal.Journal(tmp_path, 5)
    for i in range(2):
        first.note([i], empty, {0: f"no picture {i}"})
    faults = tmp_path / journal.FAULTS
    faults.write_bytes(faults.read_bytes()[:-4])
    second = journal.Journal(tmp_path, 5)
    assert second.waiting().tolist() == [1, 2, 3, 4]
    for i in range(1, 4):
        second.note([i], empty, {0: f"no picture {i}"})
    third = journal.Journal(tmp_path, 5)
    assert third.faults == {i: f"no picture {i}" for i in (0, 2, 3)}
    assert third.waiting().tolist() == [1, 4]


def test_what_was_read_comes_before_a_death_is_told() -> None:
    """On a busy machine answers and a death are there at once; none of them may be lost."""
    died, *answers = (Future() for _ in range(6))
    died.set_exception(DataError("ended by itself"))
    for number, future in enumerate(answers):
        future.set_result(number)
    found = pool._results([died, *answers])
    assert [next(found) for _ in answers] == list(range(5))
    with pytest.raises(DataError, match="ended by itself"):
        next(found)


def test_a_worker_that_dies_ends_the_intake_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, real = small(tmp_path / "own", 40), pool._Worker.answer
    calls = 0

    def answer(self: Any, task: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(self._process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        return real(self, task)

    monkeypatch.setattr(pool._Worker, "answer", answer)
    with pytest.raises(DataError, match=r"ended by itself \(status -9\).*the same command goes on"):
        opened(folder, tmp_path / "root")
    said: list[str] = []
    assert len(opened(folder, tmp_path / "root", say=said.append).parts["train"].images) == 80
    assert said[-1].startswith("going on: ")


@pytest.mark.parametrize("left", [b"", b'{"faul', b'{"faults": {}}\n' + bytes(9)])
def test_a_worker_that_dies_within_its_answer_is_told(
    left: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (
        "import os, sys; sys.stdin.buffer.readline()\n"
        f"sys.stdout.buffer.write({left!r}); sys.stdout.flush(); os._exit(3)"
    )
    call, pipes = [sys.executable, "-c", script], dict.fromkeys(("stdin", "stdout"), -1)
    monkeypatch.setattr(pool, "process", lambda: subprocess.Popen(call, **pipes))
    task = pool.Task((0,), [("cat/a.jpg", 0, 9, "train", 0)])
    with pytest.raises(DataError, match=r"ended by itself \(status 3\) .* from cat/a\.jpg"):
        list(pool.run([task], {}, 1))


def test_a_full_disk_is_told_before_and_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path / "own")
    monkeypatch.setattr(growing.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 9))  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"GB free, but 6 pictures of 64x64 need .* ALEXNET_DATA"):
        opened(folder, tmp_path / "root")


def test_what_a_file_takes_of_the_disk_is_known_without_blocks() -> None:
    """Windows tells of none, and fills the holes of a file that grows."""
    told = SimpleNamespace(st_size=5000, st_blocks=16)
    assert growing._taken(told) == 8192  # type: ignore[arg-type]
    del told.st_blocks
    assert growing._taken(told) == 5000  # type: ignore[arg-type]


def test_a_rotten_disk_is_noticed_when_the_cache_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = intake.report.build

    def rot(listing: Any, records: Any, *rest: Any) -> Any:
        (path,) = (tmp_path / "root").rglob("train-images.npy")
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x07")
        return real(listing, records, *rest)

    monkeypatch.setattr(intake.report, "build", rot)
    with pytest.raises(DataError, match="gives back other pixels"):
        opened(small(tmp_path / "own"), tmp_path / "root")
    assert not list(tmp_path.rglob("manifest.json"))


# --- how it works ----------------------------------------------------------------------------


def test_tasks_follow_the_disk_and_are_bounded(own: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        archive.add(own, ".")
    listing = folders.supply(tmp_path / "own.tar").listing()
    tasks = list(tasks_of(listing, range(len(listing.entries)), np.arange(len(listing.entries))))
    offsets = [picture[1] for task in tasks for picture in task.pictures]
    assert offsets == sorted(offsets)
    assert sorted(i for task in tasks for i in task.at) == list(range(200))
    assert max(len(task.at) for task in tasks) == 16


def test_the_number_of_workers_changes_nothing(
    own: Path, taken_in: Dataset, tmp_path: Path
) -> None:
    supply = folders.supply(own)
    for workers in (1, 3):
        plan = Plan("own", SIZE, workers=workers)
        found = intake.take_in(tmp_path / f"v-{workers}", supply, plan, lambda _: None)
        assert found.fingerprint == taken_in.fingerprint


def test_a_worker_needs_neither_torch_nor_numpy() -> None:
    code = "import sys, alexnet.data.photos.worker; print({'torch', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_a_script_without_a_guard_may_open_photographs(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; from pathlib import Path\n"
        "from alexnet.data.sources import open_dataset\n"
        "print(len(open_dataset(sys.argv[1], root=Path(sys.argv[2]), size=64).parts['train'].labels))\n"
    )
    call = [sys.executable, str(script), str(small(tmp_path / "own")), str(tmp_path / "root")]
    done = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "6\n"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such names cannot be made")
def test_file_names_that_are_not_utf8_are_reported_as_far_as_they_can_be_written(
    tmp_path: Path,
) -> None:
    own = small(tmp_path / os.fsdecode("사진".encode("cp949")))
    strange = os.fsdecode("고양이.jpg".encode("cp949"))
    shutil.copy(own / "cat/0.jpg", own / "cat" / strange)
    (own / "dog" / strange).write_bytes(b"")
    (own / strange).write_bytes(b"")
    found = opened(own, tmp_path / "root")
    assert f"cat/{strange}" in (found.names("train") or [])
    report = found.report()
    assert report
    for text in (report_text(report), json.dumps(report, ensure_ascii=False), found.name):
        assert "??" in text
        text.encode()
