"""What takes the name of something else, while somebody has that open."""

from __future__ import annotations

import os
import sys

import pytest

from alexnet import renaming


@pytest.fixture
def busy(monkeypatch):
    """Have a rename refused as often as a test says; returns a dict of how often, and of the pauses."""
    state, real = {"refusals": 0, "pauses": []}, os.replace

    def refuse(source, target):
        if state["refusals"]:
            state["refusals"] -= 1
            raise PermissionError(13, "Access is denied", str(target))
        real(source, target)

    monkeypatch.setattr(renaming.os, "replace", refuse)
    monkeypatch.setattr(renaming.time, "sleep", state["pauses"].append)
    return state


@pytest.fixture
def files(tmp_path):
    new, old = tmp_path / "new", tmp_path / "old"
    new.write_text("new", encoding="utf-8")
    old.write_text("old", encoding="utf-8")
    return new, old


def test_windows_is_asked_again_until_nobody_has_the_file_open(monkeypatch, busy, files):
    new, old = files
    monkeypatch.setattr(sys, "platform", "win32")
    busy["refusals"] = 3
    renaming.replace(new, old)
    assert old.read_text(encoding="utf-8") == "new"
    assert not new.exists()
    assert len(busy["pauses"]) == 3


def test_windows_is_asked_for_two_seconds_and_no_longer(monkeypatch, busy, files):
    new, old = files
    monkeypatch.setattr(sys, "platform", "win32")
    busy["refusals"] = 1000
    with pytest.raises(PermissionError, match="Access is denied"):
        renaming.replace(new, old)
    assert sum(busy["pauses"]) == pytest.approx(2)
    assert (new.read_text(encoding="utf-8"), old.read_text(encoding="utf-8")) == ("new", "old")


def test_elsewhere_a_refusal_is_final(monkeypatch, busy, files):
    monkeypatch.setattr(sys, "platform", "linux")
    busy["refusals"] = 1
    with pytest.raises(PermissionError):
        renaming.replace(*files)
    assert busy["pauses"] == []


@pytest.mark.parametrize("error", [FileNotFoundError, NotADirectoryError])
def test_what_does_not_pass_is_not_waited_for(monkeypatch, busy, tmp_path, error):
    def fail(source, target):
        raise error

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(renaming.os, "replace", fail)
    with pytest.raises(error):
        renaming.replace(tmp_path / "a", tmp_path / "b")
    assert busy["pauses"] == []
