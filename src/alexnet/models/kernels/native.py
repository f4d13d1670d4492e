"""The kernels in C++: compiled once for this processor, kept in the user's cache folder, checked.

Any compiler that knows the vector extensions of GCC will do. Without one the convolutions of torch
are used, and whoever asks is told why.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

SOURCES = tuple(
    Path(__file__).with_name(f"{name}.cpp") for name in ("winograd", "response_norm", "dense")
)
HEADER = Path(__file__).with_name("lanes.h")
COMPILERS = ("c++", "g++", "clang++")
FLAGS = ("-std=c++17", "-O3", "-ffp-contract=fast", "-fno-math-errno")
FLAGS_OF_A_LIBRARY = ("-shared", "-fPIC", "-pthread")
PATIENCE = 300  # seconds; seven on two cores

i32, i64, pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p


class Unavailable(Exception):
    """The kernel cannot be had on this machine; the message is the reason, in one line."""


class Shape(ctypes.Structure):
    """Of a convolution; the strides are values from one position of a map to the next.

    ``narrow``: 1 where the maps are bf16, 0 where they are float32.
    """

    _fields_ = [
        (name, i64)
        for name in (
            *("pictures", "height", "width", "channels", "stride"),
            *("outputs", "ostride", "pad", "narrow"),
        )
    ]


class Window(ctypes.Structure):
    """Of a response norm; ``rows`` are the positions of all maps, ``scale`` is alpha / size.

    ``narrow``: as in ``Shape``.
    """

    _fields_ = [
        *((name, i64) for name in ("rows", "channels", "towers", "size")),
        *((name, ctypes.c_float) for name in ("scale", "k")),
        ("narrow", i32),
    ]


class Dense(ctypes.Structure):
    """Of a dense layer and its batch."""

    _fields_ = [(name, i64) for name in ("pictures", "inputs", "outputs")]


class Numbers(ctypes.Structure):
    """Of an update rule's step; ``rest1`` and ``rest2`` are what the betas leave of 1."""

    _fields_ = [
        *(
            (name, ctypes.c_float)
            for name in (
                *("lr", "decay", "momentum", "beta1", "rest1", "beta2", "rest2"),
                *("eps", "root"),
            )
        ),
        ("nesterov", i32),
    ]


_CALLS: dict[str, tuple[Any, list[Any]]] = {
    "line": (i32, []),
    "room": (i64, [i32, i32, i64, ctypes.POINTER(Shape), i32]),
    "filters": (i32, [i32, i32, pointer, i64, i64, pointer, i32]),
    "forward": (i32, [i32, i32, i64, ctypes.POINTER(Shape), *[pointer] * 5, i32]),
    "weights": (i32, [i32, i32, i64, ctypes.POINTER(Shape), *[pointer] * 4, i32]),
    "norm": (None, [ctypes.POINTER(Window), *[pointer] * 2, i32]),
    "norm_back": (None, [ctypes.POINTER(Window), *[pointer] * 3, i32]),
    "lanes": (i32, []),
    "dense": (None, [ctypes.POINTER(Dense), *[pointer] * 4, i64, pointer, i32]),
    "dense_back": (None, [ctypes.POINTER(Dense), *[pointer] * 3, i32]),
    "dense_across": (None, [ctypes.POINTER(Dense), *[pointer] * 4, i32]),
    "dense_gather": (None, [ctypes.POINTER(Dense), *[pointer] * 4, i32]),
    "dense_taps": (None, [ctypes.POINTER(Dense), *[pointer] * 4, i32]),
    "dense_update": (
        None,
        [i32, ctypes.POINTER(Dense), ctypes.POINTER(Numbers), *[pointer] * 7, i32],
    ),
    "dense_move": (None, [i32, ctypes.POINTER(Numbers), i64, *[pointer] * 4, i32]),
    "dense_settle": (None, [ctypes.POINTER(Dense), ctypes.c_float, *[pointer] * 2, i32]),
}


class Kernel:
    """The functions of the C++ files by name. Tensors go in as addresses."""

    def __init__(self, file: Path) -> None:
        library = ctypes.CDLL(str(file))
        for name, (result, arguments) in _CALLS.items():
            function = getattr(library, f"alexnet_{name}")
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def ready() -> Kernel:
    """Return the kernels, compiled now if they have to be. Raises ``Unavailable``."""
    found = _found()
    if isinstance(found, str):
        raise Unavailable(found)
    return found


@cache
def _found() -> Kernel | str:
    """Return the kernels or why there are none: a compiler that fails is asked once a process."""
    if sys.platform == "win32":  # whose compilers have other flags, its files another ending
        return "the kernels are not compiled on Windows"
    try:
        file = folder() / f"kernels-{_key()}.so"
        if not file.exists():
            _compile(file)
        return _loaded(file)
    except (Unavailable, RuntimeError) as reason:  # no home folder is a RuntimeError
        return str(reason)
    except OSError as error:
        return f"{error.filename or 'kernels'}: {error.strerror or error}"


def _loaded(file: Path) -> Kernel:
    """Load what is compiled; what will not load, cut off or of a system with other libraries, is made anew.

    Once: a file marked ``.refused`` was made here and did not load either, as on a disk mounted noexec.
    """
    mark = file.with_suffix(".refused")
    try:
        return Kernel(file)
    except OSError:
        if mark.exists() and mark.stat().st_mtime_ns >= file.stat().st_mtime_ns:
            raise
    _compile(file, anew=True)
    try:
        return Kernel(file)
    except OSError:
        mark.touch()
        raise


def drawn(*size: int) -> torch.Tensor:
    """Return floats to compare a kernel's results on, always the same for a size."""
    draw = torch.Generator().manual_seed(len(size))
    return torch.randn(size, generator=draw, dtype=torch.float32, device="cpu")


def folder() -> Path:
    """Return where compiled kernels are kept: ``alexnet/kernels`` in the user's cache folder.

    Where that may not be written, ``kernels`` in ``$ALEXNET_DATA``, if that is set.
    """
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    own, data = Path(base) / "alexnet" / "kernels", os.environ.get("ALEXNET_DATA")
    return Path(data).expanduser() / "kernels" if data and not _writable(own) else own


def _writable(folder: Path) -> bool:
    """Say whether a folder may be written, or made within the first around it that is there."""
    there = next((each for each in (folder, *folder.parents) if os.path.isdir(each)), folder)
    return os.access(there, os.W_OK)


def tuned(processor: str) -> str:
    """Return the flag that compiles for this very processor, of a kind: ``platform.machine()``."""
    arm = processor in (
        "arm64",
        "aarch64",
    )  # where Apple's compiler, before its 15th, refuses -march
    return "-mcpu=native" if arm else "-march=native"


def compiler() -> str:
    """Return a C++ compiler: ``$CXX`` or the first that is installed. Raises ``Unavailable``."""
    for name in filter(None, (os.environ.get("CXX"), *COMPILERS)):
        if found := shutil.which(name):
            return found
    raise Unavailable(f"no C++ compiler ({', '.join(COMPILERS)}) on this machine")


def _compile(file: Path, *, anew: bool = False) -> None:
    """Compile the kernels into ``file``; where another process was faster, its file stays, unless ``anew``."""
    program = compiler()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as room:
        made = Path(room) / file.name  # moved when it is whole: other processes may be waiting
        flags = (*FLAGS, tuned(platform.machine()), *FLAGS_OF_A_LIBRARY)
        command = [program, *flags, *map(str, SOURCES), "-o", str(made)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{program} took longer than {PATIENCE} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise Unavailable(f"{program} cannot compile the kernels: {lines[-1]}")
        if (
            anew or not file.exists()
        ):  # another machine may run from it: a network disk would lose it
            os.replace(made, file)


def _key() -> str:
    """Return what the compiled kernels depend on: sources, flags, and the processor."""
    processor = sorted(torch.cpu.get_capabilities().items())
    machine = f"{platform.system()} {platform.machine()} {processor}"
    sources = [source.read_text(encoding="utf-8") for source in (HEADER, *SOURCES)]
    text = "\n".join((*sources, *FLAGS, tuned(platform.machine()), machine))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
