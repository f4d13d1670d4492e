"""Kernels are compiled for GPUs by Triton's own compiler, which needs none, and read 16 bytes at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from interpreted import needs_triton

needs_triton()

CODE = """
import json, sys
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from alexnet.training import fused_update, update_kernels

ADDRESSES = {"weights", "velocity", "means", "squares", "taken"}

def source(name, flags, last):
    kernel, types, known = getattr(update_kernels, name), {}, {}
    constants = flags | {"BLOCK": fused_update.BLOCK}
    for at, of in enumerate(kernel.arg_names):
        types[of] = "constexpr" if of in constants else "fp32"
        if of in ADDRESSES or (of == "lr" and flags["TENSOR"]):
            types[of] = "*fp32"
        if of in ("gradients", "rounded"):
            types[of] = "*bf16"
        if of == "count":
            types[of] = "i32"
        if types[of][0] == "*" or of == "count":
            known[(at,)] = [["tt.divisibility", last]]
    return ASTSource(kernel, types, {(kernel.arg_names.index(k),): v for k, v in constants.items()}, known)

options = {"num_warps": fused_update.BLOCK // 128}
found = []
for name, flags in json.loads(sys.argv[1]):
    made = compile(source(name, flags, 16), target=GPUTarget("cuda", 90, 32), options=options)
    assert len(made.asm["cubin"])
    found.append(made.asm["ptx"])
print(json.dumps(found))
"""
SGD = {"MOMENTUM": True, "NESTEROV": True}
KERNELS = {  # and how many tensors of float32 pass; gradients and working weights are half as wide
    "sgd": (SGD, 2),
    "keras_sgd": ({"NESTEROV": True}, 2),
    "adam": ({"KERAS": False}, 3),
    "adam of Keras": ({"KERAS": True}, 3),
}
CASES = [
    (name.partition(" ")[0], flags | {"TENSOR": tensor}, wide)
    for name, (flags, wide) in KERNELS.items()
    for tensor in (True, False)
]


def test_a_gpu_reads_and_writes_four_floats_at_a_time(tmp_path):
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    asked = json.dumps([case[:2] for case in CASES])
    done = subprocess.run(
        [sys.executable, "-c", CODE, asked], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    for code, case in zip(json.loads(done.stdout), CASES, strict=True):
        for verb in ("ld", "st"):
            assert code.count(f"{verb}.global.v4.b32") == case[-1], case
            assert code.count(f"{verb}.global.v2.b32") == 1, case
        assert "cvt.rn.bf16x2.f32" in code, case  # to the nearest
