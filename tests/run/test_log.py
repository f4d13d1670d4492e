"""What a run writes down: lines that survive a kill, a clock that stops, a console that can hush."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time

import pytest

from alexnet.errors import CheckpointError
from alexnet.run import log


def written(path, count):
    for step in range(1, count + 1):
        log.add_metrics(path, {"epoch": step, "step": 10 * step, "train_loss": 1 / step})
    return path


def test_lines_come_back_as_they_went(tmp_path):
    path = written(tmp_path / log.METRICS, 3)
    assert log.read_metrics(path) == [
        {"epoch": n, "step": 10 * n, "train_loss": 1 / n} for n in (1, 2, 3)
    ]
    assert len(path.read_text().splitlines()) == 3


def test_no_file_has_no_lines(tmp_path):
    assert log.read_metrics(tmp_path / log.METRICS) == []


def test_a_last_line_cut_anywhere_is_left_out(tmp_path):
    whole = written(tmp_path / log.METRICS, 3).read_bytes()
    two = len(written(tmp_path / "two", 2).read_bytes())
    cut = tmp_path / "cut"
    for end in range(two, len(whole) - 1):
        cut.write_bytes(whole[:end])
        assert [line["epoch"] for line in log.read_metrics(cut)] == [1, 2], end
    cut.write_bytes(whole[:-1])  # only the line's end is missing
    assert [line["epoch"] for line in log.read_metrics(cut)] == [1, 2, 3]


@pytest.mark.parametrize("damage", [b"{", b"\xff"])
def test_a_line_that_no_kill_cut_is_named_and_not_dropped(tmp_path, damage):
    path = written(tmp_path / log.METRICS, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + damage + b"\n" + lines[2])
    before = path.read_bytes()
    for read in (log.read_metrics, lambda p: log.keep_metrics(p, 20)):
        with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged in line 2: "):
            read(path)
    assert path.read_bytes() == before


def test_keep_drops_later_lines_and_the_cut_one(tmp_path):
    path = written(tmp_path / log.METRICS, 4)
    path.write_bytes(path.read_bytes()[:-5])
    log.keep_metrics(path, 20)
    assert [line["step"] for line in log.read_metrics(path)] == [10, 20]
    log.add_metrics(path, {"epoch": 3, "step": 30})  # on a line of its own
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20, 30]
    log.keep_metrics(path, 0)
    assert path.read_text() == ""


def test_keep_replaces_the_file_in_one_step(tmp_path, monkeypatch):
    """A kill while a run is resumed must not cost its history."""
    path = written(tmp_path / log.METRICS, 3)

    def fails(*names):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="No space left"):
        log.keep_metrics(path, 20)
    assert [line["step"] for line in log.read_metrics(path)] == [10, 20, 30]
    assert [file.name for file in tmp_path.iterdir()] == [log.METRICS]


def test_clock_counts_its_blocks_only(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    clock = log.Clock(5.0)
    assert clock.read() == 5
    with clock.running():
        now += 2
        assert clock.read() == 7
        now += 1
    now += 50  # evaluating
    assert clock.read() == 8
    with contextlib.suppress(ValueError), clock.running():
        now += 4
        raise ValueError
    now += 50
    assert clock.read() == clock.seconds == 12


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (8.26, "8.3 s"),
        (59.94, "59.9 s"),
        (60, "1:00"),
        (245, "4:05"),
        (3599.4, "59:59"),
        (3599.6, "1:00:00"),
        (3723, "1:02:03"),
        (90000, "25:00:00"),
    ],
)
def test_minutes(seconds, text):
    assert log.minutes(seconds) == text


def test_a_console_speaks_on_stderr(capsys):
    log.Console().say("hello")
    assert tuple(capsys.readouterr()) == ("", "hello\n")


def test_a_quiet_console_says_nothing(capsys):
    console = log.Console(quiet=True)
    console.say("hello")
    with console.bar("epoch 1/2", 4) as bar:
        bar.advance("loss 1.0")
    assert tuple(capsys.readouterr()) == ("", "")


def test_no_bar_where_nobody_watches(capsys):
    with log.Console().bar("epoch 1/2", 4) as bar:
        assert not bar.live
        bar.advance("loss 1.0")
    assert tuple(capsys.readouterr()) == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_bar_that_vanishes(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with log.Console().bar("epoch 1/2", 4, done=1) as bar:
        assert bar.live
        bar.advance("loss 1.234")
    text = terminal.getvalue()
    assert "epoch 1/2" in text
    assert "2/4" in text
    assert "loss 1.234" in text
    assert not log.Console(quiet=True)._live
