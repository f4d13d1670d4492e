"""Somebody else's whole network, made ready to predict with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from alexnet.data.cifar10 import CLASSES as CIFAR10
from alexnet.data.photos import wordnet
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import DataError
from alexnet.exchange import files, portable, pretrained
from alexnet.exchange.filling import fill
from alexnet.exchange.torchvision import WEIGHTS
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.models.table import totals, trace
from alexnet.run.classifier import Classifier, card

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Convention:
    """How a published network was used: its pictures, and what its outputs are called."""

    preprocessing: Preprocessing
    names: Callable[[int], tuple[str, ...]]


def imagenet_names(count: int) -> tuple[str, ...]:
    """Return ImageNet's names, or numbers where there are not a thousand of them."""
    return _names(tuple(wordnet.names().values()), count)


def cifar10_names(count: int) -> tuple[str, ...]:
    """Return CIFAR-10's names, or numbers where there are not ten of them."""
    return _names(CIFAR10, count)


def _names(known: tuple[str, ...], count: int) -> tuple[str, ...]:
    return known if count == len(known) else tuple(f"class {n}" for n in range(count))


_IMAGENET = Preprocessing(
    256, 224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), fit="crop"
)
_HALVES = Preprocessing(32, 227, mean=(0.5,) * 3, std=(0.5,) * 3)
CONVENTIONS = {
    "owt": Convention(_IMAGENET, imagenet_names),  # torchvision's documentation of its weights
    "torch-lrn": Convention(_HALVES, cifar10_names),  # the published program
}


def load(name: str | Path, *, say: Callable[[str], None] = print) -> Classifier:
    """Return the whole network that weights hold, with the conventions of its program.

    ``name``: a file, or pretrained weights by name (``exchange.pretrained``), for which ``say`` is told
    what is fetched. Known are what ``alexnet export`` wrote (``exchange.portable``), torchvision's ``alexnet`` and the published ``torch-lrn`` program, whose
    file has the same tensors in the same order, whatever their names. Raises ``DataError`` for any
    other weights, also for the convolutions alone.
    """
    if name in WEIGHTS:
        found = pretrained.load(name, say=say)
        tensors, origin = found.tensors, found.origin
    elif (own := portable.read(Path(name).expanduser())) is not None:
        return own
    else:
        tensors, origin = files.read(Path(name).expanduser()), str(name)
    for network, convention in CONVENTIONS.items():
        if (whole := _as(network, convention, tensors, origin)) is not None:
            return whole
    raise DataError(
        f"{origin} holds no whole network of {' or '.join(CONVENTIONS)}; to start a training from the "
        f"layers it has: --set model.weights={name}"
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
    described = card(name, names, convention.preprocessing, "centre", "last", "")
    return Classifier(
        module, names, convention.preprocessing, "centre", "", origin, described=described
    )
