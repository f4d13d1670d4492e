"""Kernels of ``models.fused`` are compiled for GPUs as networks launch them: wide reads, nothing spilled."""

# ruff: noqa: E402 - what follows needs triton

from __future__ import annotations

import pytest
from interpreted import needs_triton

needs_triton()

from dataclasses import replace

from compiled_for_gpus import Case, Made, compiled
from launches import distinct, launches

BATCH = 128
SIXTEEN = "v4.b32"  # bytes: eight values of bf16
NARROW = {"b16", "b8"}
PASSES = {"moments", "forward", "slopes", "backward"}  # over maps
NETWORKS = ("keras-lab", "keras-bn5", "torch-lrn", "cifar-eight-gelu", "alexnet-cifar-wide")


def misread(case: Case, made: Made) -> list[str]:
    """Say what a kernel over maps reads or writes in smaller pieces than it could, and what it spills."""
    found = []
    if case.kernel in PASSES and "epilogue" in case.module:
        found += [f"reads {wide}" for wide in made.wide("ld") - {SIXTEEN}]
    if case.kernel in PASSES | {"fold"}:
        found += [f"writes {wide}" for wide in made.wide("st") & NARROW]
    if made.spilled and not _small(case):
        found += [f"spills {made.spilled} bytes of {made.registers} registers"]
    where = f"{case.kernel} of {case.module} for sm_{case.arch}, {case.constants}"
    return [f"{each}: {where}" for each in found]


def _small(case: Case) -> bool:
    """Say whether a map is as small as its window: nine activations of a place are kept at once there."""
    flags = case.constants
    return case.kernel == "forward" and flags.get("ACT") == 2 and flags["H"] == flags["K"] == 3


def all_misread(cases: list[Case], cache) -> list[str]:
    pairs = zip(cases, compiled(cases, cache), strict=True)
    return [each for case, made in pairs for each in misread(case, made)]


def of_one(name: str, **flags: int) -> list[Case]:
    """Return a network's kernels over maps with these constants."""
    found = distinct(launches(name, BATCH))
    return [c for c in found if flags.items() <= c.constants.items() and c.kernel in PASSES]


def test_the_largest_maps_are_read_sixteen_bytes_at_a_time(tmp_path):
    """keras-lab's first, cifar-eight-gelu's first, whose 24 channels 16 does not divide, and a response norm's."""
    cases = [
        *of_one("keras-lab", BC=32),
        *of_one("cifar-eight-gelu", FIXED=24),
        *of_one("torch-lrn", SIZE=5, BC=128),
    ]
    assert [case.kernel for case in cases] == [
        *("moments", "forward", "slopes", "backward"),
        *("forward", "backward") * 2,
    ]
    assert all_misread(cases, tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("arch", [80, 90])
def test_every_kernel_of_the_networks_is_compiled(arch, tmp_path):
    cases = distinct([case for name in NETWORKS for case in launches(name, BATCH)])
    assert all_misread([replace(case, arch=arch) for case in cases], tmp_path) == []
