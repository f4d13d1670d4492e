"""torchvision's names for the tensors of its ``alexnet``, which is our network ``owt``.

Shapes and meanings are the same on both sides: kernels ``(out, in, k, k)``, dense matrices
``(out, in)`` over channel, row, column. Only the names differ. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

Value = TypeVar("Value")

WEIGHTS: Mapping[str, str] = {  # name -> what it is (exchange/pretrained.py gets them)
    "imagenet": "torchvision's alexnet, trained on ImageNet's 1000 classes, for the network owt (data, show and sample mean the data set)",
}
ROWS = {  # torchvision's module -> our row
    "features.0": "conv1",
    "features.3": "conv2",
    "features.6": "conv3",
    "features.8": "conv4",
    "features.10": "conv5",
    "classifier.1": "fc6",
    "classifier.4": "fc7",
    "classifier.6": "fc8",
}
MODULES = {row: module for module, row in ROWS.items()}
FEATURES = tuple(row for module, row in ROWS.items() if module.startswith("features"))


def to_rows(named: Mapping[str, Value]) -> dict[str, Value]:
    """Rename ``features.0.weight`` to ``conv1.weight`` and so on; other names stay as they are."""
    return {_renamed(name, ROWS): value for name, value in named.items()}


def from_rows(named: Mapping[str, Value]) -> dict[str, Value]:
    """Rename ``conv1.weight`` to ``features.0.weight`` and so on; other names stay as they are."""
    return {_renamed(name, MODULES): value for name, value in named.items()}


def _renamed(name: str, names: Mapping[str, str]) -> str:
    module, _, tensor = name.rpartition(".")
    return f"{names[module]}.{tensor}" if module in names else name
