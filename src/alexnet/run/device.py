"""The hardware: which device, which precision, and the settings that make it fast.

Nothing here falls back quietly: a device that is asked for and absent is an error.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Collection, Set
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch

from alexnet import limits
from alexnet.errors import UnknownName, UsageError

PACKAGES = ("alexnet", "torch", "numpy", "pillow", "safetensors", "pydantic", "matplotlib")
PRECISIONS = ("auto", "bf16", "tf32", "float32")
TF32_SINCE = (8, 0)  # compute capability
READ_EVERY = 32  # steps; a second or so of a large GPU
Type = torch.dtype  # within ``Device``, ``torch`` is its own device


@dataclass(frozen=True)
class Device:
    """Where a run computes and in which precision.

    ``bf16``; ``float32``; ``tf32``: float32 numbers whose products keep 10 bits of the mantissa.
    """

    torch: torch.device
    precision: str

    @property
    def dtype(self) -> Type:
        """Return the type of a network's activations."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @property
    def tf32(self) -> bool:
        """Say whether what is left in float32 is multiplied with 10 bits of mantissa."""
        # Who asks for float32 gets all 24 bits of it.
        return self.torch.type == "cuda" and self.precision != "float32"

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which a forward pass runs."""
        if self.precision == "bf16":
            return torch.autocast(self.torch.type, dtype=torch.bfloat16)
        return nullcontext()

    def synchronise(self) -> None:
        """Wait until the device has done what was asked of it, so that a clock can be read."""
        if self.torch.type == "cuda":
            torch.cuda.synchronize(self.torch)
        elif self.torch.type == "mps":
            torch.mps.synchronize()

    @property
    def read_every(self) -> int:
        """Return after how many steps, at most, their losses are read: on a CPU after each one."""
        return 1 if self.torch.type == "cpu" else READ_EVERY

    def matrix_rate(self, side: int | None = None, rounds: int = 5) -> float:
        """Measure the rate of a ``side``-cubed matrix product in this precision: FLOP/s, median.

        The limit that a training step's rate is set beside. 2048 by default, a few tenths of a second
        on two cores; 8192 on a CUDA device, where a smaller product lasts no longer than its launch.
        """
        side = side or (8192 if self.torch.type == "cuda" else 2048)
        draw = torch.Generator(self.torch).manual_seed(0)
        how: dict[str, Any] = {"generator": draw, "device": self.torch}
        a, b = (torch.randn(side, side, **how).to(self.dtype) for _ in "ab")
        seconds = []
        for _ in range(rounds + 1):  # the first is a warm-up
            self.synchronise()
            start = time.perf_counter()
            torch.mm(a, b)
            self.synchronise()
            seconds.append(time.perf_counter() - start)
        return 2 * side**3 / statistics.median(seconds[1:])

    def memory_rate(self, size: int | None = None, rounds: int = 5) -> float:
        """Measure a copy of ``size`` bytes from memory to memory: bytes/s read and written, median.

        64 MiB by default; 1 GiB on a CUDA device, whose cache would hold the half of that.
        """
        size = size or (1 << 30 if self.torch.type == "cuda" else 64 << 20)
        source = torch.ones(size // 4, device=self.torch)
        target, seconds = torch.empty_like(source), []
        for _ in range(rounds + 1):  # the first is a warm-up
            self.synchronise()
            start = time.perf_counter()
            target.copy_(source)
            self.synchronise()
            seconds.append(time.perf_counter() - start)
        return 2 * size / statistics.median(seconds[1:])

    def describe(self) -> str:
        """Name device and precision for a person, e.g. ``cpu (AMD EPYC, 2 threads), bf16``."""
        return f"{self.torch} ({_hardware(self.torch)}), {self.precision}"


def choose(name: str = "auto", precision: str = "auto", like: Collection[str] = ()) -> Device:
    """Choose a device by name: ``auto`` (cuda, else mps, else cpu), ``cpu``, ``cuda``, ``cuda:1``.

    ``precision`` ``auto`` takes the one that all of ``like`` name, those that models were trained in (empty:
    not known, which is taken as float32), where the device has it; else, and of no models, bf16 where the hardware
    multiplies it fast. torch is told of both for the whole process. Raises ``UsageError`` for a device that is not there, or that has no units for ``tf32``,
    and for a precision that is none.
    """
    if precision not in PRECISIONS:
        raise UnknownName("precision", precision, PRECISIONS)
    found = available()
    kind = name.partition(":")[0]
    if name != "auto" and kind not in found:
        raise UsageError(f"device {name!r} is not on this machine; available: {', '.join(found)}")
    try:
        device = torch.device(found[0] if name == "auto" else name)
    except RuntimeError:
        raise UsageError(f"device {name!r} is not a device name; e.g. cpu, cuda, cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r}: this machine has {torch.cuda.device_count()} of them")
    if precision == "auto":
        # Weights that do not say may be anybody's, whose answers and vectors are float32.
        precision = _automatic(device, {each or "float32" for each in like})
    if precision == "tf32" and not _multiplies_tf32(device):
        raise UsageError(
            f"precision 'tf32' on {device}: only CUDA devices from Ampere on have units for it; use "
            "bf16 or float32"
        )
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)  # Triton launches on the current one, wherever a tensor lies
    chosen = Device(device, precision)
    multiply(tf32=chosen.tf32)
    return chosen


def _automatic(device: torch.device, like: Set[str]) -> str:
    """Return the one precision of ``like``, where the device has units for it, else the fastest."""
    has = {"float32": True, "bf16": fast_bf16(device), "tf32": _multiplies_tf32(device)}
    if len(like) == 1 and has.get(common := next(iter(like)), False):
        return common
    return "bf16" if has["bf16"] else "float32"


def multiply(*, tf32: bool) -> None:
    """Tell torch how the process multiplies float32 numbers: with 10 bits of mantissa, or with all."""
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = tf32


def _multiplies_tf32(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= TF32_SINCE


def available() -> list[str]:
    """Return the kinds of device on this machine, best first; ``cpu`` is always the last."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    return [kind for kind, there in accelerators.items() if there] + ["cpu"]


def fast_bf16(device: torch.device) -> bool:
    """Say whether the hardware multiplies bf16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    flags = _cpu_capabilities()
    return device.type == "cpu" and any(
        flags.get(flag, False) for flag in ("amx_bf16", "avx512_bf16", "arm_bf16", "bf16")
    )


def bf16_by_vectors(device: torch.device) -> bool:
    """Say whether a CPU multiplies bf16 in vectors, some twice as fast as float32, and not in tiles (AMX)."""
    flags = _cpu_capabilities()
    return device.type == "cpu" and bool(flags.get("avx512_bf16")) and not flags.get("amx_bf16")


def prepare_process() -> None:
    """Set what must be set before the first large tensor. Changes no result beyond denormals.

    Denormal numbers are flushed to zero: they multiply many times slower and carry nothing here.
    A container's quota of cores counts (``keep_to_quota``); sums by fewer threads round otherwise.
    """
    torch.set_flush_denormal(True)
    keep_pages()
    keep_to_quota()


def keep_to_quota() -> None:
    """Take no more threads than this process has cores, unless ``OMP_NUM_THREADS`` says how many.

    torch counts the machine's; of those beyond a container's quota all are halted by turns.
    """
    if "OMP_NUM_THREADS" not in os.environ and limits.cores() < torch.get_num_threads():
        torch.set_num_threads(limits.cores())


def keep_pages() -> bool:
    """Tell glibc's allocator to keep freed memory; returns whether that was possible.

    By default every large activation is mapped afresh and given back at once, and touching it costs
    a page fault per 4 KiB: a third of a training step. Other systems' allocators are left alone.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    m_mmap_max, m_trim_threshold, m_top_pad = -4, -1, -2  # from malloc.h
    kept = (mallopt(m_mmap_max, 0), mallopt(m_trim_threshold, 2**31 - 1))
    return all((*kept, mallopt(m_top_pad, 256 << 20)))


def peak_memory() -> int:
    """Return the peak resident memory of this process in bytes; 0 where it cannot be read."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int:
    """Return the resident memory of this process in bytes, now; 0 where it cannot be read."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def environment(device: Device) -> dict[str, Any]:
    """Return hardware and versions as plain values, to stand beside every recorded figure."""
    return {
        "hardware": _hardware(device.torch),
        "device": str(device.torch),
        "precision": device.precision,
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    flags = _cpu_capabilities()
    name = str(flags.get("cpu_name") or platform.processor() or platform.machine())
    fast = [flag for flag in ("amx_bf16", "avx512_bf16") if flags.get(flag)]
    return f"{name}, {os.cpu_count()} cores{''.join(f', {flag}' for flag in fast)}"


def _cpu_capabilities() -> dict[str, Any]:
    return dict(torch.cpu.get_capabilities())


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
