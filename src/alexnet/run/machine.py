"""The machine that a figure was measured on: system, processor, memory, accelerators, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
from typing import Any

import torch

from alexnet import limits
from alexnet.run.device import PACKAGES, Device, environment

PACKAGE = "alexnet"


def machine(device: Device) -> dict[str, Any]:
    """Describe this machine, and what would be computed on, in JSON-able values.

    Sizes are in bytes; None where the system does not tell. ``packages`` are the installed ones
    that this package depends on, directly or through others, with their versions.
    """
    known = environment(device)
    accelerators = accelerators_found()
    return {
        "system": known["system"],
        "python": known["python"],
        "processor": known["hardware"] if device.torch.type == "cpu" else platform.processor(),
        "cores": os.cpu_count(),
        "cores_usable": limits.cores(),
        "memory_bytes": memory(),
        "accelerator_count": len(accelerators),
        "accelerators": accelerators,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "device": known["device"],
        "precision": known["precision"],
        "threads": known["threads"],
        "packages": versions(),
    }


def accelerators_found() -> list[dict[str, Any]]:
    """Return every accelerator with the name that ``--device`` knows it by."""
    found = [_cuda(number) for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": platform.processor(), "memory_bytes": None})
    return found


def _cuda(number: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(number)
    return {
        "device": f"cuda:{number}",
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
    }


def memory() -> int | None:
    """Return the bytes of memory that this process may use, a container's limit included."""
    found = [size for size in (_physical_memory(), limits.memory()) if size]
    return min(found) if found else None


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process can still take on a device, None where that is not told.

    Of a CPU, what the system would give up of its files' cache counts as free; a container's limit
    is kept.
    """
    if device.type == "cuda":
        return free_on_cuda(device)
    if device.type != "cpu":
        return None
    if sys.platform == "win32":
        return _windows_memory(2)
    found = [free for free in (_available_memory(), limits.memory_left()) if free is not None]
    return min(found) if found else None


def free_on_cuda(device: torch.device) -> int:
    """Return the bytes that tensors can still take on a CUDA device.

    Of what torch's allocator keeps, for the system it is in use, that which no tensor holds is free: an
    earlier run of this process leaves it nearly all.
    """
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def _available_memory() -> int | None:
    """Read Linux's own estimate; other systems have no such line."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            found = re.search(r"^MemAvailable:\s+(\d+) kB", file.read(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) * 1024 if found else None


def _physical_memory() -> int | None:
    if sys.platform == "win32":
        return _windows_memory()
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return None


def _windows_memory(eight: int = 1) -> int | None:
    """Ask GlobalMemoryStatusEx: a structure of 64 bytes; the eights from 1 on: total, available."""
    import ctypes

    status = (ctypes.c_uint64 * 8)()
    status[0] = ctypes.sizeof(status)  # dwLength, a 32-bit number, little-endian
    ask = getattr(ctypes, "windll").kernel32.GlobalMemoryStatusEx  # noqa: B009 (Windows alone)
    return int(status[eight]) if ask(ctypes.byref(status)) else None


def versions() -> dict[str, str]:
    """Return name and version of every installed package that this one needs, in order of name.

    Direct needs count with all extras; theirs without. Without our own metadata (a source tree that
    was never installed) it is ``device.PACKAGES``.
    """
    waiting, found = [*PACKAGES, *_needs(PACKAGE, extras=True)], dict[str, str]()
    while waiting:
        name = waiting.pop()
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found[name] = version
            waiting += _needs(name)
    return dict(sorted(found.items()))


def _needs(package: str, *, extras: bool = False) -> list[str]:
    """Return the names that a package's metadata requires, in their normal spelling (PEP 503)."""
    try:
        lines = importlib.metadata.requires(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = [re.match(r"[\w.-]+", line) for line in lines if extras or "extra ==" not in line]
    return [re.sub(r"[-_.]+", "-", name[0]).lower() for name in names if name]
