"""The recipes that come with the package, as text: what can be said of them without checking them.

``alexnet.recipe`` reads and checks them, which takes pydantic; names and summaries do not.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from alexnet import plain

FOLDER = Path(__file__).parent / "recipes"


def names() -> list[str]:
    """Return the names of the recipes, sorted."""
    return sorted(file.stem for file in FOLDER.glob("*.toml"))


def text(name: str) -> str:
    """Return a recipe's TOML text."""
    return (FOLDER / f"{name}.toml").read_text(encoding="utf-8")


def summaries() -> dict[str, str]:
    """Return each recipe's line about itself, by name."""
    heads = {
        name: text(name).partition("\n[")[0] for name in names()
    }  # what stands before sections
    return {name: str(tomllib.loads(head)["summary"]) for name, head in heads.items()}


def tree(name: str) -> dict[str, Any]:
    """Return a recipe's plain values, those of its defaults too: ``recipe.to_tree`` of it."""
    return plain.complete(tomllib.loads(text(name)))
