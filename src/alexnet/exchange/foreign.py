"""A file of somebody else's whole network, made ready to predict with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alexnet.data.cifar10 import CLASSES as CIFAR10
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import DataError
from alexnet.exchange import files
from alexnet.exchange.filling import fill
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.models.table import totals, trace
from alexnet.run.classifier import Classifier

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Convention:
    """How a published network was used: its pictures, and what its outputs are called."""

    preprocessing: Preprocessing
    names: Callable[[int], tuple[str, ...]]


def imagenet_names(count: int) -> tuple[str, ...]:
    """Return names for ImageNet's classes in torchvision's order, which are numbers here."""
    return tuple(f"class {n}" for n in range(count))


def cifar10_names(count: int) -> tuple[str, ...]:
    """Return CIFAR-10's names, or numbers where there are not ten of them."""
    return CIFAR10 if count == len(CIFAR10) else imagenet_names(count)


_IMAGENET = Preprocessing(
    256, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop"
)
_HALVES = Preprocessing(32, 227, mean=(0.5,) * 3, std=(0.5,) * 3)
CONVENTIONS = {
    "owt": Convention(_IMAGENET, imagenet_names),  # torchvision's documentation of its weights
    "torch-lrn": Convention(_HALVES, cifar10_names),  # the published program
}


def load(path: Path) -> Classifier:
    """Return the whole network that a file of weights holds, with the conventions of its program.

    Known are torchvision's ``alexnet`` and the published ``torch-lrn`` program, whose file has the
    same tensors in the same order, whatever their names. Raises ``DataError`` for any other file,
    also for one with the convolutions alone.
    """
    tensors = files.read(path)
    for name, convention in CONVENTIONS.items():
        if (found := _as(name, convention, tensors, str(path))) is not None:
            return found
    raise DataError(
        f"{path} holds no whole network of {' or '.join(CONVENTIONS)}; to start a training from the "
        f"layers it has: --set model.weights={path}"
    )


def _as(
    name: str, convention: Convention, tensors: dict[str, Tensor], origin: str
) -> Classifier | None:
    """The network of that name, if the file holds every tensor of it and nothing else."""
    classes = tensors.get("fc8.bias", list(tensors.values())[-1]).numel()
    size = convention.preprocessing.size
    if not 2 <= classes <= MAX_CLASSES:
        return None
    network = zoo.network(name, classes=classes)
    if sum(t.numel() for t in tensors.values()) != totals(trace(network, size)).parameters:
        return None
    module = build(network, size)
    if fill(module, tensors, origin).fresh:
        return None
    module = module.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    names = convention.names(classes)
    return Classifier(module, names, convention.preprocessing, "centre", "", origin)
