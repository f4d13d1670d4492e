"""Kernels are compiled for GPUs by Triton's own compiler, which needs none, and read 16 bytes at a time."""

from __future__ import annotations

import inspect

from interpreted import needs_triton

needs_triton()

from compiled_for_gpus import Case, compiled  # noqa: E402 - what follows needs triton

from alexnet.training import fused_update, update_kernels  # noqa: E402

ADDRESSES = {"weights", "velocity", "means", "squares", "taken"}
SGD = {"MOMENTUM": True, "NESTEROV": True}
KERNELS = {  # and how many tensors of float32 pass; gradients and working weights are half as wide
    "sgd": (SGD, 2),
    "keras_sgd": ({"NESTEROV": True}, 2),
    "adam": ({"KERAS": False}, 3),
    "adam of Keras": ({"KERAS": True}, 3),
}


def case_of(kernel: str, flags: dict[str, bool]) -> Case:
    constants = flags | {"BLOCK": fused_update.BLOCK}
    names = inspect.signature(getattr(update_kernels, kernel).fn).parameters.keys() - constants
    types = dict.fromkeys(names, "fp32") | {
        "count": "i32",
        "gradients": "*bf16",
        "rounded": "*bf16",
    }
    types |= dict.fromkeys(names & ADDRESSES, "*fp32")
    types |= {"lr": "*fp32" if flags["TENSOR"] else "fp32"}
    warps = fused_update.BLOCK // 128
    return Case(update_kernels.__name__, kernel, types, constants, ("count",), warps)


CASES = [
    (case_of(name.partition(" ")[0], flags | {"TENSOR": tensor}), wide)
    for name, (flags, wide) in KERNELS.items()
    for tensor in (True, False)
]


def test_a_gpu_reads_and_writes_four_floats_at_a_time(tmp_path):
    found = compiled([case for case, _ in CASES], tmp_path)
    for made, (case, wide) in zip(found, CASES, strict=True):
        for verb in ("ld", "st"):
            assert made.ptx.count(f"{verb}.global.v4.b32") == wide, case
            assert made.ptx.count(f"{verb}.global.v2.b32") == 1, case
        assert "cvt.rn.bf16x2.f32" in made.ptx, case  # to the nearest
        assert made.spilled == 0, case
