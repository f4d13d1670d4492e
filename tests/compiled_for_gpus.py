"""Kernels compiled for GPUs by Triton's own compiler, which needs none: in a process of its own.

The tests' own process has Triton's interpreter in the compiler's place (``interpreted``). As a script: cases
as JSON on standard input, what was made of them on standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WARP = 32


@dataclass(frozen=True)
class Case:
    """A kernel of ``module`` with what Triton would know of its arguments when it is launched.

    ``types``: of each argument that is passed, as Triton writes them, ``*bf16`` or ``i32``; ``constants``: the
    others. ``divisible``: arguments that 16 divides; addresses are, all of them.
    """

    module: str
    kernel: str
    types: dict[str, str]
    constants: dict[str, Any]
    divisible: tuple[str, ...] = ()
    warps: int = 4
    arch: int = 90


@dataclass(frozen=True)
class Made:
    """``ptx``: the code; ``registers`` of a thread; ``spilled``: bytes of its memory on stack and elsewhere."""

    ptx: str
    registers: int
    spilled: int

    def wide(self, verb: str) -> set[str]:
        """Return how wide global memory is read (``ld``) or written (``st``): ``v4.b32``, ``b16``."""
        return set(re.findall(rf"{verb}\.global\.((?:v\d\.)?b\d+)", self.ptx))


def compiled(cases: list[Case], cache: Path) -> list[Made]:
    """Compile kernels in one process; ``cache``: an empty folder."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-P", __file__],
        input=json.dumps([asdict(case) for case in cases]),
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return [Made(**of) for of in json.loads(done.stdout)]


def _make(case: Case) -> dict[str, Any]:
    from triton import compile as compile_
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = getattr(importlib.import_module(case.module), case.kernel)
    places = {name: at for at, name in enumerate(kernel.arg_names)}
    types = {name: case.types.get(name, "constexpr") for name in places}
    constants = {(places[name],): value for name, value in case.constants.items()}
    known = [n for n, of in case.types.items() if of[0] == "*" or n in case.divisible]
    attributes = {(places[name],): [["tt.divisibility", 16]] for name in known}
    source = ASTSource(kernel, types, constants, attributes)
    target = GPUTarget("cuda", case.arch, WARP)
    made = compile_(source, target=target, options={"num_warps": case.warps})
    return {"ptx": made.asm["ptx"]} | _used(made.asm["cubin"])


def _used(cubin: bytes) -> dict[str, int]:
    """Return registers, and bytes of memory of its own, that a thread of compiled code uses."""
    import triton

    path = Path(os.environ["TRITON_CACHE_DIR"], "kernel.cubin")
    path.write_bytes(cubin)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    said = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", said.stdout))
    spilled = int(found["STACK"]) + int(found["LOCAL"])
    return {"registers": int(found["REG"]), "spilled": spilled}


if __name__ == "__main__":
    print(json.dumps([_make(Case(**of)) for of in json.load(sys.stdin)]))
