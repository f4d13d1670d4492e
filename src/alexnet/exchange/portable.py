"""A trained network as one safetensors file: its weights, and in its header all that a prediction needs.

The tensors of torchvision's ``alexnet`` have torchvision's names, those of every other network the names
of its rows, so that other programs read them too. ``alexnet.load`` of the file is the model again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from alexnet.data import catalogue
from alexnet.errors import CheckpointError
from alexnet.exchange import files, torchvision
from alexnet.run import classifier
from alexnet.run.checkpoint import INPUT, Checkpoint
from alexnet.run.classifier import Classifier

KEY = "alexnet"  # in the header: the model's card


def write(model: Classifier, path: Path) -> None:
    """Write a model's weights with its card. Raises ``OSError`` where the file cannot be written."""
    named = _named(model)
    named |= {INPUT + name: tensor for name, tensor in model.preprocessing.tensors().items()}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    card = json.dumps(_to_give_away(model.described), ensure_ascii=False)
    try:
        save_file(tensors, path, {KEY: card, files.SUM: files.sum_of(tensors)})
    except SafetensorError as error:
        raise OSError(str(error)) from None


def read(path: Path) -> Classifier | None:
    """Return the model that ``write`` wrote, or None for any other file.

    Raises ``DataError`` for one that is damaged, ``CheckpointError`` where its card does not fit.
    """
    told = files.header(path)
    if KEY not in told:
        return None
    tensors = files.read(path)
    try:
        card = dict(json.loads(told[KEY]))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from None
    own = {name: t for name, t in tensors.items() if not name.startswith(INPUT)}
    beside = {n.removeprefix(INPUT): t for n, t in tensors.items() if n.startswith(INPUT)}
    return classifier.restore(Checkpoint(path, own, {}, {}, card, beside))


def _to_give_away(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return a card without the path of somebody's photographs: who gets the file has no use for it."""
    return {**card, "data": card["data"] if card["data"] in catalogue.ABOUT else ""}


def is_torchvisions(model: Classifier) -> bool:
    """Say whether a network is torchvision's: its layers, with no head or last pool of one's own."""
    named = model.module.state_dict()
    rows = {name.rpartition(".")[0] for name in named}
    known = model.module.network.name == "owt" and rows == torchvision.MODULES.keys()
    return known and tuple(named["fc6.weight"].shape) == (4096, 256 * 6 * 6)


def _named(model: Classifier) -> dict[str, Tensor]:
    """Return a network's tensors, under torchvision's names where it is torchvision's network."""
    named: dict[str, Tensor] = model.module.state_dict()
    return torchvision.from_rows(named) if is_torchvisions(model) else named
