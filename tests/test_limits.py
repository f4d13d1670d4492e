"""Limits of control groups, read from folders that look like those of either version."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from alexnet import limits

GIB = 1 << 30
HELD = {
    "memory.current": 3 * GIB,
    "memory.stat": f"anon 1\ninactive_file {GIB}\nactive_file {GIB // 2}\n",
}
HELD_1 = {
    "memory.usage_in_bytes": 3 * GIB,
    "memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}\ntotal_active_file {GIB // 2}\n",
}
Write = Callable[[str, Mapping[str, object]], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Have the groups read from files that a test writes, on a machine of eight cores."""
    monkeypatch.setattr(limits, "GROUPS", tmp_path)
    monkeypatch.setattr(limits, "OWN", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def write(folder: str, files: Mapping[str, object]) -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (tmp_path / folder / name).write_text(f"{content}\n", encoding="utf-8")

    return write


def test_cores_are_those_that_the_process_may_run_on(monkeypatch, write):
    assert limits.cores() == 8
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert limits.cores() == psutil.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert limits.cores() == 1


@pytest.mark.parametrize(
    ("quota", "count"),
    [
        *(("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1)),
        *(("1600000 100000", 8), ("", 8), ("100000", 8), ("100000 0", 8)),
    ],
)
def test_a_quota_is_rounded_up_to_cores(write, quota, count):
    write("", {"cpu.max": quota})
    assert limits.cores() == count


@pytest.mark.parametrize(("quota", "count"), [(-1, 8), (200000, 2), (250000, 3), (1000, 1)])
def test_a_quota_of_version_1(write, quota, count):
    write("cpu", {"cpu.cfs_quota_us": quota, "cpu.cfs_period_us": 100000})
    assert limits.cores() == count


def test_the_least_quota_of_all_groups_around_counts(write):
    write("", {"own": "3:cpu,cpuacct:/job/step\n2:memory:/job\n0::/slice/job"})
    write("cpu/job", {"cpu.cfs_quota_us": 500000, "cpu.cfs_period_us": 100000})
    assert limits.cores() == 5
    write("slice", {"cpu.max": "400000 100000"})
    assert limits.cores() == 4
    write("slice/job", {"cpu.max": "max 100000"})
    write("cpu/job/step", {"cpu.cfs_quota_us": 200000, "cpu.cfs_period_us": 100000})
    write("other", {"cpu.max": "100000 100000"})
    assert limits.cores() == 2


def test_without_a_limit_none_is_told(write):
    assert (limits.memory(), limits.memory_left()) == (None, None)
    write("", {"memory.max": "max", **HELD})
    write("memory", {"memory.limit_in_bytes": 2**63 - 4096, **HELD_1})
    assert (limits.memory(), limits.memory_left()) == (None, None)


@pytest.mark.parametrize(
    ("folder", "limit", "held"),
    [("", "memory.max", HELD), ("memory", "memory.limit_in_bytes", HELD_1)],
)
def test_what_is_held_beside_the_cache_of_files_is_taken_from_the_limit(write, folder, limit, held):
    write(folder, {limit: 4 * GIB})
    assert (limits.memory(), limits.memory_left()) == (4 * GIB, None)  # held is not told
    write(folder, held)
    assert (limits.memory(), limits.memory_left()) == (4 * GIB, 4 * GIB - 3 * GIB // 2)
    write(folder, {limit: GIB})
    assert limits.memory_left() == 0


def test_limits_of_groups_without_a_namespace(write):
    """As Slurm leaves them: the limit stands at the job, the process is in a step of it."""
    write("", {"own": "0::/system.slice/job_7/step_0/task_0"})
    write("system.slice/job_7", {"memory.max": 4 * GIB, **HELD})
    write("system.slice/job_7/step_0", {"memory.max": "max", **HELD})
    write(
        "system.slice", {"memory.max": 64 * GIB, "memory.current": 63 * GIB, "memory.stat": "a 0"}
    )
    assert limits.memory() == 4 * GIB
    assert limits.memory_left() == GIB  # of the slice, which is fuller


@pytest.mark.parametrize("own", ["0::/", "0::/docker/1f", "0::/../1f", "2:memory:/docker/1f"])
def test_a_container_sees_its_own_group_at_the_top(write, tmp_path, own):
    write("", {"own": own, "memory.max": 2 * GIB})
    write("../1f", {"memory.max": GIB})
    assert limits.memory() == 2 * GIB
