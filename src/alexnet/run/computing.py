"""How a run computes on its device: decided once, by a pure function, and written into the record.

Nothing falls back quietly: where a data set does not fit on a GPU, or several processes leave no
room for bf16 weights, the record says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from alexnet.errors import UnknownName, UsageError
from alexnet.models import fused, kernels
from alexnet.run.device import Device, bf16_by_vectors, fast_bf16, multiply
from alexnet.run.machine import free_on_cuda

CONVOLUTIONS = ("auto", "winograd", "direct")
ROOM = 4  # the pictures may take one part in so many of the free memory; the network needs the rest


@dataclass(frozen=True)
class Computing:
    """What was decided. ``resident``: the training and validation pictures lie on the device.

    ``copies``: how a batch travels there: ``none``, ``pinned`` (on a stream of its own, meanwhile) or
    ``plain``. ``weights``: ``float32``, ``autocast`` (cast in every step) or ``masters`` (bf16 beside
    the float32 ones). ``compile``: ``no`` or ``default`` (the network, by torch's compiler).
    ``graph``: forward, backward and update are one CUDA graph (``training.captured``).
    ``fused``: what stands behind convolutions is ``one pass`` (``models.fused``) or ``apart``, with
    the reason in brackets where the machine cannot.
    ``tf32``: what is left in float32 is multiplied with 10 bits of mantissa. ``cudnn_benchmark``: cuDNN
    times its kernels and takes the fastest, so that two processes may differ in the last bits.
    ``convolutions``: ``winograd`` (``models.kernels``), or ``direct`` with the reason in brackets
    where the machine cannot. ``update``: how weights are moved: ``one pass`` (large ``masters`` on a GPU,
    by ``training.fused_update``), ``by rows`` (large dense layers in float32 on a CPU, by
    ``training.row_update``) or ``torch``, with the reason where a machine does without.
    """

    resident: bool
    copies: str
    read_every: int  # steps whose losses are read together
    weights: str
    compile: str
    tf32: bool
    cudnn_benchmark: bool
    convolutions: str = "direct"
    graph: bool = False
    fused: str = "apart"
    update: str = "torch"

    @property
    def drawn_ahead(self) -> bool:
        """Say whether dropout's masks are drawn before the forward pass, which is compiled or replayed."""
        return self.graph or self.compile != "no"

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for the record."""
        return asdict(self)

    def settle(self) -> None:
        """Tell torch what was decided for the whole process."""
        multiply(tf32=self.tf32)
        torch.backends.cudnn.benchmark = self.cudnn_benchmark


def plan(
    device: Device,
    *,
    data_bytes: int,
    free_bytes: int | None,
    compiled: bool,
    static: bool,
    alone: bool,
    bf16_units: bool,
    convolutions: str = "direct",
    graph: bool = True,
    fused: str = "apart",
    update: str = "torch",
) -> Computing:
    """Decide how a device computes; nothing is asked of the device itself.

    ``data_bytes``: of the pictures as stored; ``free_bytes``: of the device's memory, None where it
    has none of its own. ``compiled``: the recipe asks for it. ``static``: every step does the same to
    batches of one shape, as CUDA graphs need. ``alone``: one process trains the whole network. ``bf16_units``: the
    hardware multiplies bf16 fast. ``convolutions``, ``fused``: what ``settle_convolutions`` and
    ``settle_fused`` found. ``graph``: the recipe allows it.
    ``update``: what ``training.execution.way`` said, for one process that has the weights alone.
    """
    cuda, bf16 = device.torch.type == "cuda", device.precision == "bf16"
    resident = free_bytes is not None and data_bytes * ROOM <= free_bytes
    narrow = "masters" if alone and bf16_units else "autocast"
    return Computing(
        resident=resident,
        copies="none" if resident or device.torch.type == "cpu" else "pinned" if cuda else "plain",
        read_every=device.read_every,
        weights=narrow if bf16 else "float32",
        compile="default" if compiled else "no",
        tf32=device.tf32,
        cudnn_benchmark=cuda,
        convolutions=convolutions,
        graph=replays(device, static=static, alone=alone, asked=graph),
        fused=fused,
        update=update if alone and (bf16_units if bf16 else not cuda) else "torch",
    )


def replays(device: Device, *, static: bool, alone: bool, asked: bool) -> bool:
    """Say whether steps are replays of a CUDA graph (``plan``): where that can be and is ``asked``."""
    return device.torch.type == "cuda" and static and alone and asked


def plan_here(
    device: Device,
    *,
    data_bytes: int,
    compiled: bool,
    static: bool,
    alone: bool,
    convolutions: str = "direct",
    graph: bool = True,
    fused: str = "apart",
    update: str = "torch",
) -> Computing:
    """Decide for this machine (``plan``), with its free memory and its units."""
    return plan(
        device,
        data_bytes=data_bytes,
        free_bytes=free_own_memory(device.torch),
        compiled=compiled,
        static=static,
        alone=alone,
        bf16_units=fast_bf16(device.torch),
        convolutions=convolutions,
        graph=graph,
        fused=fused,
        update=update,
    )


def settle_convolutions(
    model: nn.Module, device: Device, *, asked: str = "auto", compiled: bool = False
) -> str:
    """Choose how a model's convolutions are computed, tell the model, and return it for the record.

    ``asked``: ``direct``, ``winograd`` or ``auto``, which takes the latter on a CPU that has a C++ compiler,
    in float32 and where bf16 is multiplied in vectors, unless torch compiles the network; which of its layers
    gain, ``kernels.fits`` says. The kernel is compiled here, once a machine. Raises ``UnknownName``,
    and ``UsageError`` where ``winograd`` is asked for and cannot be had.
    """
    if asked not in CONVOLUTIONS:
        raise UnknownName("kind of convolutions", asked, CONVOLUTIONS)
    reason = _unfit(device, compiled)
    if asked == "direct" or (reason and asked == "auto"):
        return "direct"
    try:
        if reason:
            raise kernels.Unavailable(reason)
        kernels.use(model)
    except kernels.Unavailable as error:
        if asked == "winograd":
            raise UsageError(
                f"train.convolutions = 'winograd' cannot be had: {error}; set train.convolutions=auto"
            ) from None
        return f"direct ({error})"
    return "winograd"


def settle_fused(model: nn.Module, device: Device, *, compiled: bool = False) -> str:
    """Fuse what stands behind a model's convolutions on a CUDA device; returns it for the record.

    Not where torch's compiler is asked to: it does so itself.
    """
    if device.torch.type != "cuda" or compiled:
        return "apart"
    try:
        fused.use(model, device.torch, device.dtype)
    except fused.Unavailable as error:
        return f"apart ({error})"
    return "one pass"


@contextmanager
def lent(module: nn.Module, device: Device) -> Iterator[None]:
    """Have a network on a device for a while; afterwards where it was found."""
    was = next(module.parameters()).device
    module.to(device.torch)
    try:
        yield
    finally:
        module.to(was)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Have a network compute as in evaluation, for a while; afterwards in the mode it was found in."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


@contextmanager
def as_in_training(model: nn.Module, device: Device) -> Iterator[None]:
    """Compute a model's convolutions as a run does, for a while; afterwards as torch does."""
    settle_convolutions(model, device)
    try:
        yield
    finally:
        kernels.leave(model)


def _unfit(device: Device, compiled: bool) -> str:
    on_cpu, bf16 = device.torch.type == "cpu", device.precision == "bf16"
    if not on_cpu or (bf16 and not bf16_by_vectors(device.torch)):
        return (
            "it is for float32 on a CPU, or bf16 on one with avx512_bf16 and no AMX, and this is "
            f"{device.precision} on {device.torch}"
        )
    return "train.compile = true compiles torch's own" if compiled else ""


def free_own_memory(device: torch.device) -> int | None:
    """Return the free bytes of a device's own memory; None for a CPU, which reads from its map."""
    if device.type == "cuda":
        return free_on_cuda(device)
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None
