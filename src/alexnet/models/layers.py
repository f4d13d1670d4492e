"""The layers that torch has not, or not with the semantics that a published system had."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.models import kernels


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose running variance has no Bessel correction, as in Keras 3."""

    biased = True

    def extra_repr(self) -> str:
        """Say which running variance is kept."""
        own: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{own}, biased_var=True"

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; in training, also move the running statistics."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        moved = self.running_var.clone()  # torch keeps what it is given for the backward pass
        y = F.batch_norm(
            x, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps
        )
        n = x.numel() // x.shape[1]
        with torch.no_grad():  # torch added momentum * variance * n / (n - 1)
            kept = self.running_var * (1 - self.momentum)
            self.running_var.copy_((moved - kept) * ((n - 1) / n) + kept)
        return y


class Conv2d(nn.Conv2d):
    """torch's convolution, or the same with fewer multiplications (``kernels.use``)."""

    minimal = False

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``."""
        if self.minimal and kernels.fits(self, x):
            padding = int(self.padding[0])
            return kernels.convolve(x, self.weight, self.bias, padding, self.groups)
        if self.minimal and kernels.folds(self, x):
            padding, stride = int(self.padding[0]), self.stride[0]
            return kernels.convolve_folded(x, self.weight, self.bias, padding, stride)
        if self.minimal and kernels.is_product(self, x):
            y = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
            return y.permute(0, 3, 1, 2)
        return self.directly(x)

    def directly(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` by torch's own kernels."""
        return super().forward(x)


class Linear(nn.Linear):
    """torch's dense layer; in training one that leaves its gradient in factors, where it was told to."""

    by_rows: kernels.ByRows | None = None  # training.row_update

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``(N, inputs)`` by the weights: ``(N, units)``."""
        if self.by_rows is None:
            return super().forward(x)
        if self.training and kernels.multiplies(self, x):
            return kernels.multiply(x, self.weight, self.bias, self.by_rows)
        return F.linear(x, self.weight.contiguous(), self.bias)  # the bits of a layer just loaded


class RootNorm(nn.Module):
    """Square roots, then length 1, of ``(N, features)`` in float32; values below 0 count as 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Return float32, whatever enters."""
        return F.normalize(x.float().clamp_min(0).sqrt(), dim=1)


class Gaussian(nn.Module):
    """``exp(gamma * (x - 1))``."""

    def __init__(self, gamma: float) -> None:
        super().__init__()
        self.gamma = gamma

    def extra_repr(self) -> str:
        """Say the constant."""
        return f"gamma={self.gamma:g}"

    def forward(self, x: Tensor) -> Tensor:
        """Apply it to each value."""
        return (self.gamma * (x - 1)).exp()


@contextmanager
def in_full() -> Iterator[None]:
    """Multiply float32 numbers with all their bits, where GPUs would take 10 of the mantissa (TF32)."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class ExactLinear(nn.Linear):
    """A dense layer in float32, inside autocast and where the process multiplies in TF32 too."""

    def forward(self, x: Tensor) -> Tensor:
        """Multiply ``(N, inputs)`` by the weights: ``(N, units)``."""
        with torch.autocast(x.device.type, enabled=False), in_full():
            return super().forward(x.float())


class PaperConv2d(Conv2d):
    """A convolution of 2012: in towers, and with a last window that may hang over the edge.

    ``overhang`` is the number of zeros to the right and below that the last window reads; zeros
    stand for the mean picture. On the CPU each tower is a dense convolution of its own: grouped
    bf16 ones are many times slower there than their halves (pytorch issue 183815). The weights are
    those of ``nn.Conv2d``.
    """

    overhang = 0

    def extra_repr(self) -> str:
        """Say how far the last window hangs over."""
        own: str = super().extra_repr()  # type: ignore[no-untyped-call]
        return f"{own}, overhang={self.overhang}" if self.overhang else own

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)``, each group of filters over its own part of the channels."""
        if self.overhang:
            x = F.pad(x, (0, self.overhang, 0, self.overhang))
        return super().forward(x)

    def directly(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C, H, W)`` by torch's own kernels, on the CPU tower by tower."""
        if self.groups == 1 or x.device.type != "cpu":
            return super().directly(x)
        assert not isinstance(self.padding, str)
        biases = [None] * self.groups if self.bias is None else self.bias.chunk(self.groups)
        parts = zip(x.chunk(self.groups, 1), self.weight.chunk(self.groups), biases, strict=True)
        towers = [F.conv2d(part, w, b, self.stride, self.padding) for part, w, b in parts]
        return torch.cat(towers, 1)


class Sum(nn.Module):
    """The sum of two maps of one shape."""

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """Return ``(N, C, H, W)``, the sum of two of that shape."""
        return x + other


class LocallyConnected2d(nn.Module):
    """A convolution whose filters are not shared: each position ``(row, column)`` has its own.

    ``weight`` is ``(positions, channels, inputs * kernel**2)``, an input patch in the order channel,
    row, column; ``bias`` is ``(positions * channels,)``, one vector, so that no rule takes it for a
    kernel.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        kernel: int,
        stride: int,
        padding: int,
    ) -> None:
        """Build for maps of one size: ``inputs`` and ``outputs`` are ``(channels, height, width)``."""
        super().__init__()
        self.kernel, self.stride, self.padding, self.outputs = kernel, stride, padding, outputs
        channels, positions = outputs[0], math.prod(outputs[1:])
        self.weight = nn.Parameter(torch.zeros(positions, channels, inputs[0] * kernel**2))
        self.bias = nn.Parameter(torch.zeros(positions * channels))

    def extra_repr(self) -> str:
        """Say what ``weight`` alone does not."""
        window = f"kernel={self.kernel}, stride={self.stride}, padding={self.padding}"
        return f"outputs={self.outputs}, {window}"

    def positions(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every position's matrix ``(channels, inputs * kernel**2)`` and bias ``(channels,)``."""
        yield from zip(self.weight, self.bias.view(len(self.weight), -1), strict=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, channels, height, width)`` for maps of the size that it was built for."""
        patches = F.unfold(x, self.kernel, padding=self.padding, stride=self.stride)
        y = torch.einsum("nip,poi->nop", patches, self.weight)
        y = y + self.bias.view(len(self.weight), -1).T.to(y.dtype)
        return y.reshape(len(x), *self.outputs)


class Dropout(nn.Module):
    """Sets values to zero by a mask that depends on a seed alone, not on what was drawn before.

    The mask belongs to a whole batch of ``total`` pictures, of which this process may hold some
    rows only: however a batch is divided, each picture meets the same mask. A layer that was never
    told a seed (``begin``) draws from torch's global generator. ``p`` is met to 1/65536.
    """

    DRAWS = 65536  # equally likely values of the 16 bits that decide over one value

    def __init__(self, p: float, *, classic: bool = False) -> None:
        super().__init__()
        self.p, self.classic = p, classic
        self.seed: int | None = None
        self.first, self.total = 0, 0
        self._ahead: dict[tuple[int, ...], Tensor] = {}  # masks drawn before the forward pass
        self._drawn = False

    def extra_repr(self) -> str:
        """Say the rate, and where the survivors of training are left as they are."""
        return f"p={self.p:g}{', classic=True' if self.classic else ''}"

    @property
    def dropped(self) -> int:
        """Return how many of the ``DRAWS`` equally likely draws set a value to zero."""
        return min(round(self.p * self.DRAWS), self.DRAWS - 1)

    def begin(self, seed: int, first: int, total: int | None) -> None:
        """Take the mask of ``seed`` from now on: rows ``first`` onwards of ``total`` (None: all)."""
        _keep_out_of_compilation()
        self.seed, self.first, self.total = seed, first, total or 0
        self._drawn = False

    def draw(self, shape: torch.Size, device: torch.device) -> None:
        """Draw the mask of the next inputs, ``(N, ...)``, now: into the same memory in every step.

        For a forward pass that is compiled or replayed, in which nothing can be drawn by a seed that
        changes. Inputs of another shape draw their own, as ever.
        """
        mask, key = self.mask(shape, device), tuple(shape)
        if key in self._ahead:
            self._ahead[key].copy_(mask)
        else:
            self._ahead[key] = mask
        self._drawn = True

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(N, ...)`` of the same dtype. Raises ``ValueError`` for rows past the batch."""
        if not self.dropped:
            return x
        if not self.training:
            return x * (1 - self.dropped / self.DRAWS) if self.classic else x
        kept: Tensor = x * self._mask_of(x).to(x.dtype)
        return kept if self.classic else kept.mul_(self.DRAWS / (self.DRAWS - self.dropped))

    def _mask_of(self, x: Tensor) -> Tensor:
        if self._drawn and tuple(x.shape) in self._ahead:
            return self._ahead[tuple(x.shape)]
        return self.mask(x.shape, x.device)

    def mask(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Return which values of ``(N, ...)`` survive: bool."""
        total = self.total or shape[0]
        if self.first + shape[0] > total:
            raise ValueError(
                f"rows {self.first} to {self.first + shape[0]} of a batch of {total} pictures"
            )
        at = _drawn_on(device)
        draw = None if self.seed is None else torch.Generator(at).manual_seed(self.seed)
        count = total * math.prod(shape[1:])
        # 64 random bits decide over four values: a fifth of the time of a number for each.
        words = torch.empty(-(-count // 4), dtype=torch.int64, device=at)
        words.random_(-(2**63), None, generator=draw)
        values = words.to(device).view(torch.int16)[:count].view(total, *shape[1:])
        return values[self.first : self.first + shape[0]] >= self.dropped - self.DRAWS // 2


def _drawn_on(device: torch.device) -> torch.device:
    """Return where a device's random bits are drawn: MPS draws no 64 of them at once."""
    return torch.device("cpu") if device.type == "mps" else device


def _keep_out_of_compilation() -> None:
    """Have torch's compiler call ``Dropout.mask`` as it is: its seed changes with every step.

    What surrounds the call is then compiled in pieces; a mask drawn before (``Dropout.draw``) is none.

    Only where the compiler is loaded: to load it takes as long as torch itself, and a prediction
    needs neither.
    """
    if "torch._dynamo" in sys.modules and not hasattr(Dropout.mask, "__wrapped__"):
        Dropout.mask = torch.compiler.disable(Dropout.mask)  # type: ignore[method-assign, no-untyped-call]
