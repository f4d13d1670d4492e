"""A run is a TOML file; here it becomes a frozen, checked value, and a TOML file again.

Unknown keys, wrong types, impossible values and unknown names are refused by name, with the closest
match, before anything starts. The sections themselves are in ``alexnet.sections``, what of them must
agree in ``alexnet.schema``. No torch here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import tomli_w
from pydantic import BaseModel, ValidationError

from alexnet import built_in, plain
from alexnet.built_in import names
from alexnet.errors import RecipeError, UnknownName, did_you_mean
from alexnet.plain import BESIDES, ROUNDED, differing, flat, parse_assignment
from alexnet.published import Fault, Published
from alexnet.schema import Recipe
from alexnet.sections import Augment, Group, Input, Model, Optim, Schedule
from alexnet.values import Duration, Section, expected

Kind = TypeVar("Kind", bound=BaseModel)

__all__ = [
    "Augment",
    "Duration",
    "Fault",
    "Group",
    "Input",
    "Model",
    "Optim",
    "Recipe",
    "Schedule",
    "changes",
    "changes_since",
    "check",
    "checked",
    "flat",
    "keys",
    "load",
    "names",
    "override",
    "parse",
    "parse_assignment",
    "read_file",
    "settled",
    "to_toml",
    "to_tree",
]


# Of a published run: what neither changes ours nor is compared with its score.
TOLD = {
    f"published.{key}"
    for key in ("source", "hardware", "seconds_per_epoch", "training_seconds", "claim", "remark")
}
TOLD |= {"summary", "source"}


def load(name: str) -> Recipe:
    """Return a recipe by name, or from a path ending in ``.toml``.

    Raises ``UnknownName`` or ``RecipeError``.
    """
    if name.endswith(".toml"):
        return parse(read_file(Path(name)), origin=name)
    if name not in names():
        raise UnknownName("recipe", name, names())
    return parse(built_in.text(name), origin=f"recipe {name}")


def read_file(path: Path, kind: str = "recipe", listing: str = "alexnet list recipes") -> str:
    """Return the text of a TOML file of somebody's own. Raises ``RecipeError``."""
    if not path.is_file():
        what = f"is a folder, not a {kind}" if path.is_dir() else "does not exist"
        raise RecipeError(f"{path} {what}; `{listing}` names the built-in ones")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"{path} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror or error}") from None


def parse(text: str, *, origin: str = "recipe") -> Recipe:
    """Read a recipe from TOML text; ``origin`` names it in messages. Raises ``RecipeError``."""
    try:
        return check(tomllib.loads(text), origin=origin)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not valid TOML: {error}") from None


def check(tree: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Turn a plain tree into a ``Recipe``; raises ``RecipeError`` naming the first fault."""
    return checked(Recipe, tree, origin=origin)


def checked(kind: type[Kind], tree: Mapping[str, Any], *, origin: str) -> Kind:
    """Turn a plain tree, as TOML gives it, into a section; raises as ``check`` does."""
    try:
        return kind.model_validate(_tuples(tree))
    except ValidationError as error:
        raise RecipeError(f"{origin}: {_explain(error, kind, tree)}") from None


def override(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """Return a recipe with dotted keys replaced, e.g. ``{"optim.lr": 0.02}``.

    Raises ``RecipeError`` for a key that does not exist or a value that does not fit.
    """
    tree = to_tree(recipe)
    for key, value in changes.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            if not isinstance(node.get(part, {}), dict):
                raise RecipeError(f"unknown recipe key {key!r}: {part!r} is a value, not a section")
            node = node.setdefault(part, {})
        node[last] = value
    return check(tree, origin="override")


def to_tree(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as nested plain values, without the keys that are None."""
    plain = _plain(recipe.model_dump())
    assert isinstance(plain, dict)
    return plain


def changes(recipe: Recipe) -> dict[str, Any]:
    """Return the dotted keys that differ from the built-in recipe of that name.

    The seed, the precision, what a run saves and says or scores besides, and what is only told of a
    published program do not count. Empty where there is none of that name. A key that the recipe has and
    the other has not counts.
    """
    if recipe.name not in names():
        return {}
    own, built_in = (dict(flat(to_tree(r))) for r in (recipe, load(recipe.name)))
    apart = {"train.seed", "fault", *BESIDES, *ROUNDED, *TOLD}
    return {key: own.get(key) for key in differing(own, built_in) if key not in apart}


def compared(recipe: Recipe) -> Published | None:
    """Return what was published of a recipe's data; None where other data was put in, of which it says nothing."""
    other = "data.name" in changes(recipe) and recipe.published == load(recipe.name).published
    return None if other else recipe.published


def settled(recipe: Recipe) -> dict[str, Any]:
    """Return what decides the figures of a recipe's runs, by dotted key (``plain.settled``)."""
    return plain.settled(to_tree(recipe))


def changes_since(was: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the keys in which ``settled`` of another day differs from the recipe of that name today.

    Empty where there is none of that name.
    """
    if name not in names():
        return {}
    return {key: was.get(key) for key in differing(was, settled(load(name)))}


def to_toml(recipe: Recipe) -> str:
    """Return a recipe as TOML text; ``parse`` of it gives the same recipe."""
    return tomli_w.dumps(to_tree(recipe))


def keys() -> list[str]:
    """Return every dotted key that a recipe may have, sorted."""
    return sorted(_keys(Recipe, ""))


def _keys(section: type[BaseModel], prefix: str) -> Iterable[str]:
    for name, info in section.model_fields.items():
        inner = [a for a in (info.annotation, *get_args(info.annotation)) if _is_section(a)]
        yield from _keys(inner[0], f"{prefix}{name}.") if inner else (prefix + name,)


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _tuples(value: Any) -> Any:
    """TOML has arrays only; the strict schema has tuples, and floats where a file says ``1``."""
    if isinstance(value, Mapping):
        return {k: _tuples(v) for k, v in value.items()}
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    return value


def _explain(error: ValidationError, kind: type[BaseModel], tree: Mapping[str, Any]) -> str:
    fault = error.errors()[0]
    key, value, what = ".".join(map(str, fault["loc"])), fault["input"], fault["type"]
    if what == "extra_forbidden":
        known = sorted(_keys(kind, "")) if "." in key else kind.model_fields
        return f"unknown key {key!r}{did_you_mean(key, known)}"
    if what == "missing" and not isinstance(fault["loc"][-1], int):
        return f"key {key!r} is missing"
    if what == "literal_error":
        known = re.findall(r"'([^']*)'", fault["ctx"]["expected"])
        return str(UnknownName(key, str(value), known))
    message = fault["msg"].removeprefix("Value error, ")
    if what == "finite_number":
        message = "expected a finite number"
    if what in ("value_error", "finite_number"):
        return message if not key else f"{key} = {_shown(value)}: {message}"
    return _misfit(kind, fault["loc"], tree)


def _misfit(kind: type[BaseModel], path: tuple[int | str, ...], tree: Mapping[str, Any]) -> str:
    """Say which value at ``path`` is of another kind than its field, and what the field takes."""
    wanted: tuple[Any, tuple[Any, ...]] = (kind, ())
    value: Any = tree
    keys: list[str] = []
    for step in path:
        inner = _within(wanted[0], step, value)
        if inner is None:  # one value is missing, or none of several alternatives fits the whole
            break
        wanted, value = inner, value[step]
        keys.append(str(step))
    return f"{'.'.join(keys)} = {_shown(value)}: expected {expected(*wanted)}"


def _within(annotation: Any, step: int | str, value: Any) -> tuple[Any, tuple[Any, ...]] | None:
    """Return what stands at a key of a section or a place of a list, with its bounds."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    some = [a for a in get_args(annotation) if a is not NoneType]
    if get_origin(annotation) is tuple and isinstance(step, int):
        return (some[0], ()) if step < len(value) else None
    if _is_section(annotation):
        info = annotation.model_fields[step]
        return info.annotation, tuple(info.metadata)
    if get_origin(annotation) is dict:
        return some[1], ()
    return _within(some[0], step, value) if len(some) == 1 else None


def _shown(value: Any) -> str:
    """Write a value as Python does, but a list as the list that TOML has."""
    return repr(_plain(value))
