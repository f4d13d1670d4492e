"""What this process may take of its machine: cores and memory, as Linux's control groups limit them.

A container, a batch system or a service manager sets such limits, and neither Python nor torch reads
them. Both versions: https://docs.kernel.org/admin-guide/cgroup-v2.html and .../cgroup-v1/. Other
systems have none.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
NO_LIMIT = 2**60  # bytes; version 1 says 2**63 less a page where there is none
# Of a group's memory: its limit, what it holds, and what of that is cache of files; version 2, then 1.
MEMORY = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    (
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        ("total_inactive_file", "total_active_file"),
    ),
)


def cores() -> int:
    """Count the cores that this process may run on, or that its quota of time fills; 1 at least."""
    affinity = getattr(os, "sched_getaffinity", None)
    there = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([there, *map(math.ceil, _quotas())]))


def memory() -> int | None:
    """Return how many bytes the groups of this process may hold, None without a limit."""
    return min((limit for limit, _ in _limited()), default=None)


def memory_left() -> int | None:
    """Return how many bytes are left of that: cache of files, which would be given up, counts as free."""
    left = [limit - held for limit, held in _limited() if held is not None]
    return max(0, min(left)) if left else None


def _quotas() -> Iterator[float]:
    """Yield how many cores' time each group may use, where it has a quota."""
    for group in _groups("cpu"):
        words = _words(group / "cpu.max") or [
            *_words(group / "cpu.cfs_quota_us"),
            *_words(group / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and all(word.isdecimal() for word in words):  # else "max", or -1
            yield int(words[0]) / max(1, int(words[1]))


def _limited() -> Iterator[tuple[int, int | None]]:
    """Yield each group's limit, where it has one, and what it holds, where it tells: bytes."""
    for group in _groups("memory"):
        for limit, holds, cached in MEMORY:
            number = _number(group / limit)
            if number is not None and number < NO_LIMIT:
                yield number, _held(group, holds, cached)


def _held(group: Path, holds: str, cached: tuple[str, ...]) -> int | None:
    current, words = _number(group / holds), _words(group / "memory.stat")
    if current is None or not words:
        return None
    counts = dict(zip(words[::2], words[1::2], strict=False))
    return current - sum(int(counts.get(name, 0)) for name in cached)


def _groups(controller: str) -> set[Path]:
    """Return the folders of this process's groups and of all around them: each one's limit holds.

    Not all of them are there: a container may be told its host's names of groups and see its own at the top.
    """
    found = {GROUPS, GROUPS / controller}
    for line in _lines(OWN):
        _, controllers, name = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            top = GROUPS / controller if controllers else GROUPS
            own = Path(name.lstrip("/"))
            found |= {top / around for around in (own, *own.parents) if ".." not in around.parts}
    return found


def _number(file: Path) -> int | None:
    words = _words(file)
    return int(words[0]) if len(words) == 1 and words[0].isdecimal() else None


def _words(file: Path) -> list[str]:
    return [word for line in _lines(file) for word in line.split()]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
