"""A recipe in words: its keys and the faults that it corrects. A packaged one needs no pydantic."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from alexnet import built_in
from alexnet.data.catalogue import CLASSES
from alexnet.models import table, transfer, zoo
from alexnet.models.table import Network
from alexnet.reporting.published import faults_text

_LIST = re.compile(r"\[\n((?: +[^\[\]\n]*,\n)+) *\]")  # of plain values, as tomli-w writes it


def tree(name: str) -> dict[str, Any]:
    """Return the plain values of a recipe, by its name or from a path ending in ``.toml``.

    A packaged one is taken as it is, since the tests have checked it; a file of a person's own is
    checked. Raises ``UnknownName`` or ``RecipeError``.
    """
    if name in built_in.names():
        return built_in.tree(name)
    from alexnet import recipe as recipes  # with pydantic, which checks

    return recipes.to_tree(recipes.load(name))


def network_of(recipe: Mapping[str, Any]) -> Network:
    """Return the table that a recipe trains, of plain values (``tree``), as ``training.transfer`` does.

    Of photographs of somebody's own, whose classes only they know, it has the network's own number.
    """
    model = dict(recipe["model"])
    classes = CLASSES.get(recipe["data"]["name"])
    network = zoo.network(model.pop("network"), classes=classes)
    changes = {k: v for k, v in model.items() if k not in ("weights", "frozen")}
    return transfer.adapted(network, **changes)


def trained(card: dict[str, Any], network: Network, patterns: Sequence[str]) -> dict[str, Any]:
    """Count frozen rows among what is not trained."""
    frozen = transfer.frozen_rows(network, patterns)
    steps = table.trace(network, card["size"])
    kept = sum(step.parameters for step in steps if step.row.name in frozen)
    return card | {
        "trainable": card["trainable"] - kept,
        "non_trainable": card["non_trainable"] + kept,
        "training_multiply_adds": transfer.training_multiply_adds(steps, frozen, 0),
    }


def text(recipe: Mapping[str, Any]) -> str:
    """Write a recipe: what it is, its keys as TOML, what was published, and the faults of that.

    ``recipe``: its plain values, complete (``tree``).
    """
    keys = tomli_w.dumps({key: value for key, value in recipe.items() if key != "fault"})
    parts = [f"{recipe['name']}: {recipe['summary']}", short(keys).strip(), faults_text(recipe)]
    return "\n\n".join(filter(None, parts))


def short(toml: str) -> str:
    """Return TOML with each list of plain values on one line."""
    return _LIST.sub(_on_one_line, toml)


def _on_one_line(found: re.Match[str]) -> str:
    values = (line.strip() for line in found[1].splitlines())
    return f"[{' '.join(values).removesuffix(',')}]"
