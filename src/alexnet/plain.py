"""A recipe as plain values, complete but unchecked: what can be told of one without pydantic.

The defaults stand in ``alexnet.sections`` and nowhere else. To import it takes longer than all else
that ``alexnet show`` does, since pydantic builds a checker of every section; a packaged recipe, which
the tests have checked, is shown without one. So the schema is read as text: a section is a class, a
key a name annotated in it, a default a literal, a ``Duration`` or a section.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from alexnet.errors import RecipeError

PROSE = ("summary", "source", "published.", "fault")  # how keys begin that change no figure
# What is saved, said and scored besides: no number of a run, nor of its own views, changes.
BESIDES = {"checkpoint.every", "checkpoint.keep", "train.log_every"}
BESIDES |= {"evaluation.also", "evaluation.precise_bn"}
ROUNDED = {"train.precision"}  # "auto" is another on every machine; a record says which it was
SCHEMA = ("published.py", "sections.py", "schema.py")  # the files that have a recipe's sections


def complete(tree: Mapping[str, Any], section: str = "Recipe") -> dict[str, Any]:
    """Return a right recipe's tree, as TOML gives it, with every key in the order of the schema.

    It is what ``recipe.to_tree`` gives of the same recipe, but nothing is checked or converted:
    numbers and durations stay as they are written. ``section``: the class that ``tree`` is of.
    """
    keys = _sections()[section]
    found = {key: _completed(tree.get(key, keys[key].default), keys[key].section) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _completed(value: Any, section: str) -> Any:
    """Complete the section, or the several, that a value is; others are returned as they are."""
    if isinstance(value, list | tuple):
        return [_completed(each, section) for each in value]
    return complete(value, section) if section and value is not None else value


class _Key(NamedTuple):
    """What the schema says of a key: its default, and the section's class where it holds one."""

    default: Any
    section: str


@cache
def _sections() -> dict[str, dict[str, _Key]]:
    texts = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in SCHEMA]
    nodes = [node for text in texts for node in ast.parse(text).body]
    classes = {node.name: node.body for node in nodes if isinstance(node, ast.ClassDef)}
    return {name: dict(_keys(body, classes)) for name, body in classes.items()}


def _keys(body: Iterable[ast.stmt], sections: Container[str]) -> Iterator[tuple[str, _Key]]:
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            words = [n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)]
            section = next((word for word in words if word in sections), "")
            yield node.target.id, _Key(_default(node.value), section)


def _default(written: ast.expr | None) -> Any:
    """Return what stands behind ``=``: ``Duration(10, "epochs")`` as in a file, a section empty."""
    if not isinstance(written, ast.Call):
        return None if written is None else ast.literal_eval(written)
    arguments = [str(ast.literal_eval(each)) for each in written.args]
    return " ".join(arguments) if arguments else {}


def flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of nested sections with its dotted key."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def settled(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides the figures of a recipe's runs, by dotted key; runs alike in it differ by seed.

    Neither what is told of it, nor the precision, which a record names beside its machine.
    """
    apart = {"train.seed", *BESIDES, *ROUNDED}
    return {k: v for k, v in flat(tree) if not k.startswith(PROSE) and k not in apart}


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two flat trees differ, sorted; a key that one lacks is None there."""
    return sorted(k for k in one.keys() | other.keys() if one.get(k) != other.get(k))


def parse_assignment(text: str) -> tuple[str, Any]:
    """Read ``section.key=value``; the value is TOML, or a bare word taken as text."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"expected section.key=value, got {text!r}; e.g. optim.lr=0.02")
    try:
        return key.strip(), tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()
