from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alexnet.data import sources
from alexnet.data.cache import Contents, Pictures
from alexnet.data.sources import DATASETS, Origin, default_root, open_dataset
from alexnet.errors import DataError, UnknownName, UsageError


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str | None, int]]:
    """A data set "made" that notes every call of its fetch."""
    calls: list[tuple[str | None, int]] = []

    def fetch(folder: Path, source: str | None, size: int, say: sources.Say) -> Contents:
        calls.append((source, size))
        say("made: making it")
        value = 7 if source is None else len(source)
        images = np.full((4, size, size, 3), value, np.uint8)
        return Contents({"train": Pictures(images, np.arange(4))}, tuple("abcd"), {}, "a test")

    monkeypatch.setitem(DATASETS, "made", Origin("a test", 8, fetch))  # type: ignore[arg-type]
    return calls


def test_fetched_once_then_opened(made: list[object], tmp_path: Path) -> None:
    said: list[str] = []
    first = open_dataset("made", root=tmp_path, say=said.append)
    again = open_dataset("made", root=tmp_path, verify=True, say=said.append)
    assert made == [(None, 8)]
    assert said == ["made: making it"]
    assert again.fingerprint == first.fingerprint
    assert again.parts["train"].images.shape == (4, 8, 8, 3)


def test_each_size_is_kept_apart(made: list[object], tmp_path: Path) -> None:
    for size in (8, 16, 8, 16):
        images = open_dataset("made", root=tmp_path, size=size).parts["train"].images
        assert images.shape == (4, size, size, 3)
    assert len(made) == 2


def test_a_named_source_is_used_even_if_there_is_a_cache(
    made: list[object], tmp_path: Path
) -> None:
    old = open_dataset("made", root=tmp_path).fingerprint
    new = open_dataset("made", root=tmp_path, source="elsewhere").fingerprint
    assert made == [(None, 8), ("elsewhere", 8)]
    assert open_dataset("made", root=tmp_path).parts["train"].images[0, 0, 0, 0] == 9
    assert new != old


@pytest.mark.skipif(os.name == "nt", reason="Windows does not replace files that are mapped")
def test_who_has_a_cache_open_keeps_it(made: list[object], tmp_path: Path) -> None:
    old = open_dataset("made", root=tmp_path)
    open_dataset("made", root=tmp_path, source="elsewhere")
    assert (old.parts["train"].images == 7).all()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [".lock", "v1-8px"]


def test_a_damaged_cache_is_built_again_and_said_so(made: list[object], tmp_path: Path) -> None:
    good = open_dataset("made", root=tmp_path).fingerprint
    path = tmp_path / "made" / "v1-8px" / "train-images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    said: list[str] = []
    assert open_dataset("made", root=tmp_path, say=said.append).fingerprint == good
    assert "train-images.npy: 895 bytes, expected 896" in said[0]
    assert "building it again" in said[0]
    assert len(made) == 2


def test_a_flipped_bit_is_found_by_verify_and_mended(made: list[object], tmp_path: Path) -> None:
    open_dataset("made", root=tmp_path)
    path = tmp_path / "made" / "v1-8px" / "train-images.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    said: list[str] = []
    dataset = open_dataset("made", root=tmp_path, verify=True, say=said.append)
    assert "SHA-256" in said[0]
    assert (dataset.parts["train"].images == 7).all()


def test_the_rubbish_of_a_killed_process_is_swept(made: list[object], tmp_path: Path) -> None:
    (tmp_path / "made" / ".tmp-dead").mkdir(parents=True)
    (tmp_path / "made" / ".tmp-dead" / "half.npy").write_bytes(b"x")
    open_dataset("made", root=tmp_path)
    assert not list((tmp_path / "made").glob(".tmp-*"))


def test_unknown_names_are_refused_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown data set 'cifar-10'; did you mean 'cifar10'"):
        open_dataset("cifar-10", root=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_data_set_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not 64"):
        open_dataset("cifar10", root=tmp_path, size=64)
    with pytest.raises(UsageError, match="15 pixels"):
        open_dataset("shapes", root=tmp_path, size=15)


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="ALEXNET_DATA") as caught:
        open_dataset("shapes", root=tmp_path / "file")
    assert str(tmp_path / "file") in str(caught.value)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a root that may only be read, beside a home of one's own."""
    root, may = tmp_path / "shared", os.access
    root.mkdir()
    monkeypatch.delenv("ALEXNET_DATA", raising=False)
    monkeypatch.setattr(sources, "_own_root", lambda: tmp_path / "own")
    monkeypatch.setattr(os, "access", lambda path, mode: path != root and may(path, mode))
    return root


def test_what_a_shared_root_has_not_is_kept_in_ones_own(tmp_path: Path, shared: Path) -> None:
    again = [open_dataset("shapes", root=shared) for _ in range(2)]
    assert (tmp_path / "own" / "shapes").is_dir()
    assert not list(shared.iterdir())
    assert len({dataset.fingerprint for dataset in again}) == 1


def test_what_a_shared_root_has_is_read_there(tmp_path: Path, shared: Path) -> None:
    open_dataset("shapes", root=tmp_path / "first")
    (tmp_path / "first" / "shapes").rename(shared / "shapes")
    open_dataset("shapes", root=shared)
    assert not (tmp_path / "own").exists()
    assert sources.roots(shared) == (shared, tmp_path / "own")
    assert sources.roots(tmp_path) == (tmp_path,)


def test_of_windows_a_split_stands_behind_its_own_slash(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "sep", "\\")
    assert sources.named_split("photos\\train[85%:]") == ("photos", "train[85%:]")


def test_a_full_disk_is_told_and_leaves_nothing(
    made: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        open_dataset("made", root=tmp_path)
    assert [path.name for path in (tmp_path / "made").iterdir()] in ([], [".lock"])


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"ALEXNET_DATA": "/mnt/data"}, "/mnt/data"),
        ("linux", {"XDG_CACHE_HOME": "/var/me"}, "/var/me/alexnet"),
        ("linux", {}, "~/.cache/alexnet"),
        ("darwin", {"XDG_CACHE_HOME": "/var/me"}, "~/Library/Caches/alexnet"),
        ("win32", {"LOCALAPPDATA": "/c/local"}, "/c/local/alexnet"),
        ("win32", {}, "~/AppData/Local/alexnet"),
        ("linux", {"ALEXNET_DATA": "~/data"}, "~/data"),
    ],
)
def test_the_root_follows_the_platform(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ALEXNET_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sources.sys, "platform", platform)
    assert default_root() == Path(expected).expanduser()


def test_every_data_set_says_what_it_is() -> None:
    assert list(DATASETS) == sorted(DATASETS)
    for origin in DATASETS.values():
        assert origin.about
        assert origin.size > 0


PROCESS = """
import sys, time
from pathlib import Path
from alexnet.data import sources
from alexnet.data.sources import Origin, open_dataset

root, origin = Path(sys.argv[1]), sources.DATASETS["shapes"]

def fetch(*arguments):
    with (root / "built").open("a") as file:
        file.write("once ")
    time.sleep(0.3)
    return origin.fetch(*arguments)

sources.DATASETS["shapes"] = Origin(origin.about, origin.size, fetch)
(root / f"ready-{sys.argv[2]}").touch()
while len(list(root.glob("ready-*"))) < 3:
    time.sleep(0.005)
dataset = open_dataset("shapes", root=root, size=16)
print(dataset.fingerprint, dataset.parts["train"].images.sum())
"""


def test_processes_that_start_at_once_build_it_once(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(i)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(3)
    ]
    answers = [process.communicate(timeout=60) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], answers
    assert len({out for out, _ in answers}) == 1
    assert (tmp_path / "built").read_text() == "once "
    assert sum("waiting for it" in err for _, err in answers) == 2
    assert open_dataset("shapes", root=tmp_path, size=16, verify=True, say=pytest.fail)


def test_opening_does_not_import_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from alexnet.data.sources import open_dataset\n"
        "open_dataset('shapes', root=Path(sys.argv[1]), size=16)\n"
        "print({'torch', 'PIL'} & set(sys.modules))"
    )
    found = subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True)
    assert found.endswith("set()\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cifar10", ("cifar10", "")),
        ("cifar10/train[:10%]", ("cifar10", "train[:10%]")),
        ("PLACE", ("PLACE", "")),
        ("PLACE/train[:10%]", ("PLACE", "train[:10%]")),
        ("PLACE/val", ("PLACE", "val")),
        ("PLACE/inside", ("PLACE/inside", "")),
        ("PLACE/none", ("PLACE", "none")),
        ("no/such/place", ("no/such/place", "")),
        ("cifar-10/test", ("cifar-10", "test")),
    ],
)
def test_a_data_set_and_its_split_are_told_apart(
    text: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    for name in ("val", "inside"):
        (tmp_path / name).mkdir()
    found = sources.named_split(text.replace("PLACE", str(tmp_path)))
    assert tuple(part.replace(str(tmp_path), "PLACE") for part in found) == expected
