"""The forms that a network can run in: eager, bf16, compiled, ONNX Runtime, OpenVINO.

What is not installed, or not fast on this hardware, is named with what to do, and never guessed.
"""

from __future__ import annotations

import copy
import importlib.metadata
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from alexnet.exchange.export import write_onnx
from alexnet.run.device import Device, fast_bf16

EXTRA = 'pip install -e ".[bench]"'
PEERS = ("onnx", "onnxscript", "onnxruntime", "openvino")
Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Form:
    """A way to run a network: ``run`` takes float32 ``(N, 3, size, size)`` and gives CPU logits.

    ``faults``: what its library raises where it cannot run the network after all.
    """

    name: str
    run: Run
    faults: tuple[type[Exception], ...] = ()


@dataclass(frozen=True)
class Absent:
    """A form that is not to be had here, and why."""

    name: str
    why: str


def forms(module: nn.Module, device: Device, folder: Path) -> Iterator[Form | Absent]:
    """Yield every form of a network in evaluation mode; files go into ``folder``."""
    yield Form("float32 eager", _eager(module, device))
    yield from _bf16(module, device)
    yield _compiled(module, device)
    yield from _exported(module, device, folder)
    yield Form("float32 eager, again", _eager(module, device))


def versions() -> dict[str, str]:
    """Return the versions of those of the libraries that are installed."""
    there = [name for name in PEERS if importlib.util.find_spec(name)]
    return {name: importlib.metadata.version(name) for name in there}


def _eager(module: nn.Module, device: Device) -> Run:
    @torch.inference_mode()
    def run(x: Tensor) -> Tensor:
        logits: Tensor = module(x)
        device.synchronise()
        return logits.cpu()

    return run


def _bf16(module: nn.Module, device: Device) -> Iterator[Form | Absent]:
    if not fast_bf16(device.torch):
        why = "bf16: this hardware has no units for it and emulates it many times slower."
        yield Absent("bf16", why)
        return
    autocast = Device(device.torch, "bf16").autocast
    low = copy.deepcopy(module).bfloat16()

    def under_autocast(x: Tensor) -> Tensor:
        with autocast():
            logits: Tensor = module(x)
        return logits

    yield Form("bf16 autocast", _eager(_Calls(under_autocast), device))
    yield Form("bf16 weights", _eager(_Calls(lambda x: low(x.bfloat16())), device))


class _Calls(nn.Module):
    """A function as a module."""

    def __init__(self, function: Run) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        """Call the function."""
        return self._function(x)


def _compiled(module: nn.Module, device: Device) -> Form | Absent:
    name = "float32 compiled"
    if device.torch.type == "cpu" and not _compiler():
        return Absent(name, "compiled: there is no C++ compiler; install g++ or set CXX.")
    compiled = torch.compile(module)
    return Form(name, _eager(_Calls(compiled), device), (RuntimeError, OSError, ImportError))


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "g++") or shutil.which("clang++")


def _exported(module: nn.Module, device: Device, folder: Path) -> Iterator[Form | Absent]:
    """Yield what runs the network from a file of the exchange format ONNX."""
    names = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    if device.torch.type != "cpu":
        for shown in names.values():
            yield Absent(shown, f"{shown} is measured on the processor alone: --device cpu.")
        return
    missing = {p: absent for p in names if (absent := _missing("onnx", "onnxscript", p))}
    for package, absent in missing.items():
        why = f"{names[package]}: {' and '.join(absent)} not installed; {EXTRA} installs what is measured."
        yield Absent(names[package], why)
    if len(missing) == len(names):
        return
    try:
        path = folder / "network.onnx"
        write_onnx(module, _two(module), path, output="logits")
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ImportError) as error:
        for package in names.keys() - missing.keys():
            said = str(error).strip().splitlines()[0]
            yield Absent(
                names[package], f"{names[package]}: torch cannot export this network: {said}"
            )
        return
    if "onnxruntime" not in missing:
        yield Form(names["onnxruntime"], _onnxruntime(path))
    if "openvino" not in missing:
        yield Form(names["openvino"], _openvino(path))


def _two(module: nn.Module) -> Tensor:
    """Return two pictures, black, for the exporter to follow."""
    side = int(module.size)  # type: ignore[arg-type]
    return torch.zeros(2, 3, side, side)


def _missing(*packages: str) -> list[str]:
    return [name for name in packages if importlib.util.find_spec(name) is None]


def _onnxruntime(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"pictures": _array(x)})[0])


def _openvino(path: Path) -> Run:
    """Compile by the runtime alone: OpenVINO's converters report their use to its makers."""
    import openvino

    hints = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", hints)
    return lambda x: torch.from_numpy(np.array(compiled([_array(x)])[0]))


def _array(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.numpy())
