"""A trained network with all it needs to be used: weights, class names, preprocessing.

Preprocessing and class names come from the checkpoint, never from flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.errors import CheckpointError, UnknownName
from alexnet.models import zoo
from alexnet.models.build import AlexNet, build
from alexnet.run import checkpoint
from alexnet.run.device import Device

VIEWS = ("centre", "flip", "shift")


@dataclass(frozen=True)
class Classifier:
    """A network on the CPU, in evaluation mode, with all that its recipe says about its use.

    ``views``: how it was scored, one of ``VIEWS`` (``probabilities``).
    """

    module: AlexNet
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    views: str
    data: str  # the data set it was trained on; empty for fresh weights
    origin: str

    def describe(self) -> str:
        """Name it for a person."""
        size = self.preprocessing.size
        return f"{self.module.network.name} at {size}x{size}, {len(self.classes)} classes, from {self.origin}"


def card(
    network: str,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    views: str,
    keep: str,
    data: str,
) -> dict[str, Any]:
    """Return what a checkpoint's model.json holds, so that ``load`` needs nothing else."""
    return {
        "network": network,
        "classes": list(classes),
        "preprocessing": preprocessing.to_json(),
        "views": views,
        "keep": keep,
        "data": data,
    }


def load(name: str | Path, *, say: Callable[[str], None] = print) -> Classifier:
    """Load a run directory, one checkpoint of it, or a network by name with fresh weights.

    A run gives its last checkpoint, or its best where its recipe keeps that one: the weights that
    its recorded score is of. Raises ``UnknownName`` or ``CheckpointError``.
    """
    path = Path(name)
    if (path / checkpoint.MANIFEST).is_file() or (path / checkpoint.MODEL).is_file():
        return restore(checkpoint.load(path))
    if path.is_dir():
        newest = checkpoint.newest(path, say)
        kept = checkpoint.best(path) if newest.model.get("keep") == "best" else newest
        return restore(kept)
    if str(name) not in zoo.NETWORKS:
        raise UnknownName(
            "model (a run directory, a checkpoint or a network)", str(name), zoo.NETWORKS
        )
    return fresh(str(name))


def restore(saved: checkpoint.Checkpoint) -> Classifier:
    """Build the network that a checkpoint describes and give it its weights."""
    try:
        described = saved.model
        classes = tuple(described["classes"])
        preprocessing = Preprocessing.from_json(described["preprocessing"])
        network = zoo.network(described["network"], classes=len(classes))
        use = str(described["views"]), str(described["data"])
    except (KeyError, TypeError, UnknownName) as error:
        raise CheckpointError(f"{saved.path / checkpoint.MODEL} does not fit: {error}") from None
    module = build(network, preprocessing.size)
    checkpoint.load_weights(module, saved.weights, str(saved.path))
    return _ready(module, classes, preprocessing, use, str(saved.path))


def fresh(name: str, *, classes: int = 10) -> Classifier:
    """Return an untrained network of the family, for a look at its shapes and its speed."""
    module = build(zoo.network(name, classes=classes))
    preprocessing = Preprocessing(picture_size=module.size, size=module.size)
    return _ready(
        module, tuple(map(str, range(classes))), preprocessing, ("centre", ""), "fresh weights"
    )


def _ready(
    module: AlexNet,
    classes: tuple[str, ...],
    preprocessing: Preprocessing,
    use: tuple[str, str],
    origin: str,
) -> Classifier:
    module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Classifier(module.eval(), classes, preprocessing, *use, origin)


@torch.inference_mode()
def probabilities(module: nn.Module, x: Tensor, device: Device, *, views: str = "centre") -> Tensor:
    """Return float32 probabilities ``(N, classes)`` of preprocessed pictures ``(N, 3, H, W)``.

    ``views``: ``centre``, the picture as it is; ``flip``, the mean over it and its mirror image;
    ``shift``, the mean over six: it, and it moved by one pixel up and left, and down and right (the
    edge reflected), each with its mirror image. Raises ``UnknownName`` for other views.
    """
    if views not in VIEWS:
        raise UnknownName("views", views, VIEWS)
    seen = [x]
    if views == "shift":
        wider = F.pad(x, (1, 1, 1, 1), mode="reflect")
        seen += [wider[..., 2:, 2:], wider[..., :-2, :-2]]
    if views != "centre":
        seen += [view.flip(3) for view in seen]
    with device.autocast():
        logits = [module(view) for view in seen]
    return torch.stack([each.float().softmax(1) for each in logits]).mean(0)
