"""From a table to a ``torch.nn.Module``, with initialisations by name.

A module's tensors are named after the rows (``conv1.weight``, ``norm1.running_mean``, ``fc8.bias``),
so a table is also the documentation of a checkpoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from alexnet.errors import UnknownName
from alexnet.models import table
from alexnet.models.table import Network, Row, Shape


class AlexNet(nn.Module):
    """A network of the family, built from its table for one picture size.

    Input: float ``(N, 3, size, size)``; output: logits ``(N, classes)``. No softmax layer: losses
    and predictions take logits.
    """

    def __init__(self, network: Network, size: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.size = network.size if size is None else size
        for step in table.trace(network, self.size):
            self.add_module(step.row.name, LAYERS[type(step.row)](step.row, step.inputs))

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits ``(N, classes)`` for pictures ``(N, 3, size, size)``."""
        x = pictures
        for layer in self.children():
            x = layer(x)
        return x

    def activations(self, pictures: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """Return the output of each named row, e.g. ``("conv5", "fc7")``; stops after the last.

        Raises ``UnknownName`` for a row that is not in the table.
        """
        wanted = set(names)
        for unknown in wanted - dict(self.named_children()).keys():
            raise UnknownName(f"layer of {self.network.name}", unknown, dict(self.named_children()))
        found: dict[str, Tensor] = {}
        x = pictures
        for name, layer in self.named_children():
            if found.keys() == wanted:
                break
            x = layer(x)
            if name in wanted:
                found[name] = x.clone()  # the next ReLU works in place
        return found


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose running variance has no Bessel correction, as in Keras 3."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(N, C, H, W)``; in training, also move the running statistics."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        moved = self.running_var.clone()  # torch keeps what it is given for the backward pass
        y = nn.functional.batch_norm(
            x, self.running_mean, moved, self.weight, self.bias, True, self.momentum, self.eps
        )
        n = x.numel() // x.shape[1]
        with torch.no_grad():  # torch added momentum * variance * n / (n - 1)
            kept = self.running_var * (1 - self.momentum)
            self.running_var.copy_((moved - kept) * ((n - 1) / n) + kept)
        return y


def _conv(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, table.Conv)
    assert not row.ceil
    sizes = (shape[0], row.channels, row.kernel, row.stride, row.padding)
    layer = nn.Conv2d(*sizes, groups=row.groups, bias=row.bias)
    return layer.requires_grad_(not row.whitening)


def _max_pool(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, table.MaxPool)
    return nn.MaxPool2d(row.kernel, row.stride, row.padding, ceil_mode=row.ceil)


def _batch_norm(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, table.BatchNorm)
    kind = (
        nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d if row.unbiased else BiasedBatchNorm2d
    )
    layer = kind(shape[0], eps=row.eps, momentum=row.momentum)
    layer.weight.requires_grad_(row.scale)
    return layer


def _dense(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, table.Dense)
    return nn.Linear(shape[0], row.units, bias=row.bias)


def _dropout(row: Row, shape: Shape) -> nn.Module:
    assert isinstance(row, table.Dropout)
    return nn.Dropout(row.p)


LAYERS: dict[type[Row], Callable[[Row, Shape], nn.Module]] = {
    table.Conv: _conv,
    table.MaxPool: _max_pool,
    table.BatchNorm: _batch_norm,
    table.ReLU: lambda row, shape: nn.ReLU(inplace=True),
    table.Flatten: lambda row, shape: nn.Flatten(),
    table.Dense: _dense,
    table.Dropout: _dropout,
}


def build(network: Network, size: int | None = None, *, seed: int = 0) -> AlexNet:
    """Build and initialise a network; the same seed gives the same weights.

    ``size`` is the side of the pictures (default: the network's own). Raises ``TooSmall``.
    """
    model = AlexNet(network, size)
    initialise(model, network.init, torch.Generator().manual_seed(seed))
    return model


def initialise(model: nn.Module, name: str, generator: torch.Generator) -> None:
    """Fill every convolution and dense layer by the rule called ``name``, in table order."""
    if name not in INITIALISATIONS:
        raise UnknownName("initialisation", name, INITIALISATIONS)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            INITIALISATIONS[name](layer.weight, layer.bias, generator)


@torch.no_grad()
def whiten(model: AlexNet, pictures: Tensor, eps: float = 5e-4) -> None:
    """Set the filters of every ``whitening`` row from preprocessed pictures ``(N, 3, H, W)``.

    The eigenvectors of the patches' covariance, each divided by the square root of its eigenvalue,
    largest first, and their negatives, since a ReLU follows (Page 2019; Jordan 2024, section 3.2).
    ``eps`` keeps the smallest eigenvalues from amplifying noise. Filters beyond twice the patch's
    dimension keep their random start.
    """
    for row in model.network.rows:
        if isinstance(row, table.Conv) and row.whitening:
            layer = model.get_submodule(row.name)
            assert isinstance(layer, nn.Conv2d)
            patches = nn.functional.unfold(pictures.float(), row.kernel)  # (N, 3*k*k, positions)
            flat = patches.transpose(1, 2).flatten(0, 1).double()
            values, vectors = torch.linalg.eigh(flat.T @ flat / len(flat))
            filters = (vectors / (values + eps).sqrt()).T.flip(0)[: row.channels // 2]
            both = torch.cat([filters, -filters])
            layer.weight[: len(both)] = both.view(-1, *layer.weight.shape[1:])


@torch.no_grad()
def _keras(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """Glorot uniform, zero bias: Keras's default. Fans include the kernel's area."""
    nn.init.xavier_uniform_(weight, generator=generator)
    if bias is not None:
        bias.zero_()


@torch.no_grad()
def _torch(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for both: torch's default for Conv2d and Linear."""
    bound = 1 / math.sqrt(weight[0].numel())
    weight.uniform_(-bound, bound, generator=generator)
    if bias is not None:
        bias.uniform_(-bound, bound, generator=generator)


@torch.no_grad()
def _he(weight: Tensor, bias: Tensor | None, generator: torch.Generator) -> None:
    """N(0, 2/fan_in), zero bias (He et al. 2015), for layers followed by a ReLU."""
    nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
    if bias is not None:
        bias.zero_()


INITIALISATIONS: dict[str, Callable[[Tensor, Tensor | None, torch.Generator], None]] = {
    "he": _he,
    "keras": _keras,
    "torch": _torch,
}
