"""Files that are whole or not there: their names on the way, their rights, and what is said of a full disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alexnet.errors import DataError
from alexnet.run import files
from alexnet.run.log import RECIPE


def test_what_a_kill_leaves_is_known_as_a_half_written_file_of_a_run(tmp_path: Path) -> None:
    from alexnet.run.folders import refuse_taken

    with files.replacing(tmp_path / RECIPE) as beside:
        assert beside.name == f".{RECIPE}.{os.getpid()}.tmp"
        assert [path.name for path in tmp_path.iterdir()] == [beside.name]
        refuse_taken(tmp_path)  # holds nothing of anybody's
        beside.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [RECIPE]


def test_an_ending_is_kept_for_programs_that_go_by_it(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a.pt2", ".pt2") as beside:
        assert beside.suffix == ".pt2"


def test_what_takes_the_place_has_the_rights_of_a_new_file_and_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(files, "sync_file", lambda path: synced.append(path.name))
    (tmp_path / "new").touch()
    with files.replacing(tmp_path / "a") as beside:
        beside.write_text("whole")
        beside.chmod(0o600)
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "new").stat().st_mode
    assert synced == [beside.name]


@pytest.mark.parametrize("content", ["new\n", b"new\n"])
def test_a_full_disk_keeps_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes
) -> None:
    path = files.write_whole(tmp_path / "made" / "a.txt", "old\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(DataError, match=r"a\.txt: cannot be written: No space left"):
            files.write_whole(path, content)
    assert path.read_text() == "old\n"
    assert [each.name for each in path.parent.iterdir()] == ["a.txt"]
    files.write_whole(path, content)
    assert path.read_text() == "new\n"
