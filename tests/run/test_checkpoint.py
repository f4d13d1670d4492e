"""Checkpoints under attack: flipped bits, cut files, kills, a full disk, other networks."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import processes
import pytest
import torch
from safetensors import SafetensorError

from alexnet.errors import CheckpointError
from alexnet.run import checkpoint
from alexnet.run.checkpoint import BEST, LAST, MANIFEST, MODEL, OPTIMIZER, STATE, WEIGHTS
from alexnet.run.log import resume_command

FILES = (WEIGHTS, OPTIMIZER, STATE, MODEL, MANIFEST)


def made(step: int, size: int = 300) -> checkpoint.Checkpoint:
    """Return a checkpoint in which every number is the step, so that a mixture shows."""
    full = torch.full((size,), float(step))
    return checkpoint.Checkpoint(
        path=Path(f"step-{step:08d}"),
        weights={
            "conv1.weight": full.reshape(2, -1),
            "norm1.num_batches_tracked": torch.tensor(step),
        },
        optimizer={"conv1.weight/momentum": full.bfloat16()},
        state={"progress": {"step": step}, "best": None},
        model={"network": "n", "classes": ["a", "비행기"]},
    )


def steps(run: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in checkpoint.every(run)]


def silent(text: str) -> None:
    raise AssertionError(f"nothing should be said, but: {text}")


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    return folder


@pytest.fixture
def saved(run):
    return checkpoint.save(run, made(7))


def test_what_is_saved_comes_back_bit_for_bit(run, saved):
    assert saved == run / "checkpoints" / "step-00000007"
    found, wanted = checkpoint.load(saved), made(7)
    assert found.path == saved
    for ours, theirs in ((found.weights, wanted.weights), (found.optimizer, wanted.optimizer)):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert ours[name].dtype == tensor.dtype
            assert torch.equal(ours[name], tensor)
    assert (found.state, found.model) == (wanted.state, wanted.model)
    assert sorted(file.name for file in saved.iterdir()) == sorted(FILES)
    assert (run / LAST).read_text() == saved.name
    assert not (run / BEST).exists()


def test_every_flipped_bit_is_detected_and_its_file_named(saved):
    """300 places over all files, each file getting at least 30."""
    draw = random.Random(0)
    sizes = {name: (saved / name).stat().st_size for name in FILES}
    names = [name for name in FILES for _ in range(30)]
    names += draw.choices(FILES, weights=sizes.values(), k=300 - len(names))
    missed = []
    for name in names:
        file = saved / name
        whole = file.read_bytes()
        bit = draw.randrange(8 * len(whole))
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        file.write_bytes(broken)
        if not refused(saved, name):
            missed.append((name, bit))
        file.write_bytes(whole)
    assert missed == []
    checkpoint.load(saved)


def test_every_truncation_is_detected_and_its_file_named(saved):
    draw = random.Random(1)
    missed = []
    for turn in range(100):
        name = FILES[turn % len(FILES)]
        file = saved / name
        whole = file.read_bytes()
        end = draw.randrange(len(whole))
        file.write_bytes(whole[:end])
        if not refused(saved, name):
            missed.append((name, end))
        file.write_bytes(whole)
    assert missed == []


def refused(path: Path, name: str) -> bool:
    """Say whether a damaged checkpoint is refused with the file's name in the message.

    A damaged manifest may instead make a good file look wrong, and then names that one.
    """
    try:
        checkpoint.load(path)
    except CheckpointError as error:
        return str(path / name) in str(error) or (name == MANIFEST and str(path) in str(error))
    return False


def test_without_its_manifest_it_is_incomplete(run, saved):
    (saved / MANIFEST).unlink()
    with pytest.raises(CheckpointError, match=f"incomplete checkpoint: it has no {MANIFEST}"):
        checkpoint.load(saved)
    with pytest.raises(CheckpointError, match="incomplete"):
        checkpoint.newest(run, lambda text: None)


@pytest.mark.parametrize("name", FILES[:-1])
def test_without_another_file_it_is_incomplete(saved, name):
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=f"is incomplete: {name} is missing"):
        checkpoint.load(saved)


def test_another_format_is_named(saved):
    text = (saved / MANIFEST).read_text().replace('"format": 1', '"format": 2')
    (saved / MANIFEST).write_text(text)
    with pytest.raises(CheckpointError, match=r"format 2; this package reads format 1"):
        checkpoint.load(saved)


def test_a_damaged_newest_gives_way_to_the_one_before_with_a_warning(run):
    for step in (1, 2):
        checkpoint.save(run, made(step))
    file = run / "checkpoints" / "step-00000002" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1])
    said: list[str] = []
    assert checkpoint.newest(run, said.append).state == made(1).state
    assert len(said) == 1
    assert said[0].startswith("warning: ")
    assert str(file) in said[0]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES])
def test_a_newest_that_cannot_be_read_gives_way_to_the_one_before(run, monkeypatch, code):
    older, newer = (checkpoint.save(run, made(step)) for step in (1, 2))
    real = checkpoint._sha256

    def failing(path):
        if path == newer / OPTIMIZER:
            raise OSError(code, os.strerror(code), str(path))
        return real(path)

    monkeypatch.setattr(checkpoint, "_sha256", failing)
    said: list[str] = []
    assert checkpoint.newest(run, said.append).path == older
    assert said[0].startswith(
        f"warning: {newer / OPTIMIZER} cannot be read: {os.strerror(code)}; trying"
    )


def test_best_is_pointed_at_a_checkpoint_whatever_stood_there(run):
    checkpoint.save(run, made(1), is_best=True)
    checkpoint.save(run, made(2))
    checkpoint.point_at_best(run, "step-00000002")
    assert checkpoint.best(run).state == made(2).state
    (run / BEST).unlink()
    checkpoint.point_at_best(run, "step-00000001")
    assert checkpoint.best(run).state == made(1).state


def test_what_a_run_passed_over_counts_no_more_and_takes_no_whole_one_with_it(run):
    for step in (1, 2, 3, 4):
        checkpoint.save(run, made(step), keep=4)
    for step in (3, 4):
        (run / "checkpoints" / f"step-{step:08d}" / STATE).write_text("{}")
    said: list[str] = []
    used = checkpoint.newest(run, lambda text: None)
    checkpoint.set_aside_after(used.path, said.append)
    checkpoint.save(run, made(3), keep=2)
    assert steps(run) == [2, 3]
    assert checkpoint.newest(run, silent).state == made(3).state
    assert [line.partition(";")[0] for line in said] == [
        f"set aside as {run / 'checkpoints' / f'damaged-step-{step:08d}'}" for step in (3, 4)
    ]


@pytest.mark.parametrize("rename", [1, 2])
def test_a_step_that_is_saved_again_is_whole_at_every_moment(run, saved, monkeypatch, rename):
    real, calls = os.replace, []

    def killed(source, target):
        if Path(target).suffix != ".json":  # the manifest is renamed too
            calls.append(target)
        if len(calls) == rename:
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(run, made(7, size=60))
    monkeypatch.undo()
    checkpoint.sweep(run)
    assert checkpoint.newest(run, silent).weights["conv1.weight"].numel() == 300
    assert [path.name for path in (run / "checkpoints").iterdir()] == [saved.name]


def test_nothing_whole_left_says_what_is_wrong_with_each(run):
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        checkpoint.newest(run, silent)
    for step in (1, 2):
        (checkpoint.save(run, made(step)) / STATE).write_text("{}")
    with pytest.raises(CheckpointError, match=r"step-00000002.*; .*step-00000001"):
        checkpoint.newest(run, lambda text: None)


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [(2, None, [5, 6]), (3, None, [4, 5, 6]), (2, 1, [1, 5, 6]), (2, 4, [4, 5, 6]), (2, 6, [5, 6])],
)
def test_the_newest_and_the_best_are_kept(run, keep, best, left):
    for step in range(1, 7):
        checkpoint.save(run, made(step), keep=keep, is_best=step == best)
    assert steps(run) == left
    assert (run / LAST).read_text() == "step-00000006"
    if best:
        assert checkpoint.best(run).state == made(best).state
    else:
        with pytest.raises(CheckpointError, match="has no best checkpoint"):
            checkpoint.best(run)


def test_a_damaged_best_is_an_error_and_no_other_takes_its_place(run):
    best = checkpoint.save(run, made(1), is_best=True)
    checkpoint.save(run, made(2))
    (best / MODEL).write_text("{}")
    with pytest.raises(CheckpointError, match=f"{MODEL} is damaged"):
        checkpoint.best(run)


def test_a_step_that_is_saved_again_replaces_the_first(run):
    checkpoint.save(run, made(3, size=30))
    checkpoint.save(run, made(3, size=60))
    assert checkpoint.newest(run, silent).weights["conv1.weight"].numel() == 60
    assert steps(run) == [3]


def test_sweep_removes_what_is_half_written_and_nothing_else(run, saved):
    stale = run / "checkpoints" / ".step-00000008.123.tmp"
    stale.mkdir()
    (stale / WEIGHTS).write_bytes(b"half")
    (run / ".LAST.123.tmp").write_text("step-0")
    (run / "notes.tmp").write_text("mine")
    checkpoint.sweep(run)
    assert {path.name for path in run.iterdir()} == {"checkpoints", LAST, "notes.tmp"}
    assert [path.name for path in (run / "checkpoints").iterdir()] == [saved.name]


# --- kills -----------------------------------------------------------------------------------


def save_for_ever(run: Path) -> None:
    """Go on from the newest checkpoint, as a resumed run does, and never stop saving."""
    checkpoint.sweep(run)
    step = checkpoint.newest(run, silent).state["progress"]["step"]
    (run / "alive").touch()
    while True:
        step += 1
        checkpoint.save(run, made(step, 30_000), is_best=step % 3 == 0)


def test_forty_kills_while_saving_leave_no_unreadable_newest(run):
    draw = random.Random(2)
    last, stale, saves = 3, 0, []
    for step in range(1, last + 1):
        begun = time.monotonic()
        checkpoint.save(run, made(step, 30_000))
        saves.append(time.monotonic() - begun)
    for _ in range(40):
        (run / "alive").unlink(missing_ok=True)
        child = processes.start(save_for_ever, run)
        deadline = time.monotonic() + 60
        while not (run / "alive").exists():
            assert child.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        time.sleep(draw.uniform(0, max(0.06, 2 * max(saves))))  # a busy machine saves slowly
        child.kill()
        child.join()
        stale += len([*(run / "checkpoints").glob(".*.tmp")])
        found = checkpoint.newest(run, silent)
        step = found.state["progress"]["step"]
        assert step >= last, "the step went back"
        for tensor in (*found.weights.values(), *found.optimizer.values()):
            assert torch.equal(tensor, torch.full_like(tensor, step))
        if (run / BEST).exists():
            assert checkpoint.best(run).state["progress"]["step"] % 3 == 0
        last = step
    assert last > 10, "hardly anything was saved"  # about forty where nothing else runs
    assert stale > 3, "no kill fell into a save: the test proves nothing"
    checkpoint.sweep(run)
    assert not [*run.rglob(".*.tmp")]


# --- a disk that is full ---------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Mount a disk of 1 MB, where this process may."""
    where = tmp_path / "disk"
    where.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only the administrator of a Linux machine may mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(where)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let its administrator mount a disk")
    yield where
    subprocess.run(["umount", str(where)], check=True)


@pytest.mark.parametrize("size", [20_000, 60_000, 120_000, 500_000])
def test_a_full_disk_costs_nothing_but_the_new_checkpoint(small_disk, size):
    """Of all sizes, so that the disk is full at different files."""
    run = small_disk / "run"
    (run / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="no space left on the disk") as found:
        fill(run, size)
    step = len(steps(run)) + 1
    assert f"step-{step:08d}" in str(found.value)
    assert steps(run) == [*range(1, step)]
    for path in checkpoint.every(run):
        checkpoint.load(path)
    assert not [*run.rglob(".*.tmp")]
    if step > 1:
        assert (run / LAST).read_text() == f"step-{step - 1:08d}"
        shutil.rmtree(run / "checkpoints" / "step-00000001")  # room again
        checkpoint.save(run, made(step, size), keep=50)


def fill(run: Path, size: int) -> None:
    for step in range(1, 50):
        checkpoint.save(run, made(step, size), keep=50)


def serialising(*args: object) -> None:
    raise SafetensorError(
        "Error while serializing: I/O error: No space left on device (os error 28)"
    )


def writing(*args: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("where", "fails"),
    [
        ("save_file", serialising),
        ("sync_file", writing),
        ("_sha256", writing),
        ("write_text", writing),
    ],
)
def test_a_disk_that_fails_anywhere_leaves_the_earlier_ones(run, saved, monkeypatch, where, fails):
    monkeypatch.setattr(checkpoint, where, fails)
    with pytest.raises(CheckpointError, match="no space left on the disk") as found:
        checkpoint.save(run, made(8))
    assert resume_command(run) in str(found.value)
    monkeypatch.undo()
    assert steps(run) == [7]
    assert not [*run.rglob(".*.tmp")]
    assert checkpoint.newest(run, silent).state == made(7).state


def test_a_disk_that_fails_otherwise_says_so(run, monkeypatch):
    def refuses(*args):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", refuses)
    with pytest.raises(CheckpointError, match="Permission denied"):
        checkpoint.save(run, made(8))


# --- other networks --------------------------------------------------------------------------


def test_weights_of_another_network_are_refused_by_tensor():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3))
    right = {name: torch.ones_like(value) for name, value in model.state_dict().items()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    cases = {
        "has no tensor '0.bias'": {"0.weight": right["0.weight"]},
        "holds '1.weight'": right | {"1.weight": torch.ones(1)},
        r"'0.weight' has shape \(3, 4\), expected \(3, 2\)": right | {"0.weight": torch.ones(3, 4)},
    }
    for message, weights in cases.items():
        with pytest.raises(CheckpointError, match=message) as found:
            checkpoint.load_weights(model, weights, "some/checkpoint")
        assert "some/checkpoint" in str(found.value)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name]), "nothing was changed"
    checkpoint.load_weights(model, right, "some/checkpoint")
    assert torch.equal(model[0].weight, torch.ones(3, 2))


def test_a_pickle_in_place_of_weights_is_not_opened(saved, tmp_path):
    """Even with a manifest that vouches for it."""
    harm = tmp_path / "harm"

    class Payload:
        def __reduce__(self):
            return (Path.touch, (harm,))

    torch.save({"w": Payload()}, saved / WEIGHTS)
    sums = (saved / MANIFEST).read_text().split('"')
    sums[sums.index(WEIGHTS) + 2] = checkpoint._sha256(saved / WEIGHTS)
    (saved / MANIFEST).write_text('"'.join(sums))
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoint.load(saved)
    assert not harm.exists()


def test_numbers_of_any_memory_layout_are_saved(run):
    x = torch.from_numpy(np.arange(24.0).reshape(1, 2, 3, 4))
    odd = {"a": x.to(memory_format=torch.channels_last), "b": x[..., ::2], "c": x[0, 0].T}
    state = made(1)
    path = checkpoint.save(run, checkpoint.Checkpoint(state.path, odd, {}, state.state, {}))
    assert all(torch.equal(checkpoint.load(path).weights[name], odd[name]) for name in odd)
