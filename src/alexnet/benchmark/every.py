"""Every suite in turn, each in a process of its own, so that none finds another's memory or threads."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


def suites(
    network: str,
    recipe: str,
    target: float,
    seeds: str,
    photographs: Path | None,
    device: str,
    folder: Path,
) -> dict[str, list[str]]:
    """Return the arguments of each suite's call by the name of its record."""
    plan = Path(recipe).name.removesuffix(".toml")
    of_photographs = ["--photographs", str(photographs)] if photographs else []
    calls = {
        f"start-{network}": ["start", "--network", network],
        f"inference-{network}": ["inference", network, "--device", device],
        f"input-{plan}": ["input", "--recipe", recipe, *of_photographs, "--device", device],
        "stream": ["stream"],
        f"step-{network}": ["step", "--network", network, "--device", device],
        f"accuracy-{plan}": _accuracy(recipe, target, seeds, device),
    }
    return {
        name: ["bench", *call, "--record", (folder / f"{name}.json").as_posix()]
        for name, call in calls.items()
    }


def _accuracy(recipe: str, target: float, seeds: str, device: str) -> list[str]:
    return ["accuracy", recipe, "--target", str(target), "--seeds", seeds, "--device", device]


def run_each(calls: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> list[str]:
    """Run calls of the command line one after the other; returns the names of those that failed."""
    failed = []
    for name, call in calls.items():
        say(f"alexnet {shlex.join(call)}")
        if subprocess.run([sys.executable, "-m", "alexnet", *call], check=False).returncode:
            failed.append(name)
    return failed
