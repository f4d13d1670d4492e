"""The kinds of values that stand in a recipe, and what its sections share. No torch here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Unit = Literal["epochs", "steps", "examples"]
UNITS: dict[str, Unit] = {"epoch": "epochs", "step": "steps", "example": "examples"}
_DURATION = re.compile(
    r"\s*([0-9]*\.?[0-9]+(?:e[-+]?[0-9]+)?)\s*(?:(epoch|step|example)s?)?\s*", re.ASCII
)
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(ge=16)]  # of a picture, in pixels
Triple = tuple[float, float, float]
MeanName = Literal["channel", "picture"]


@dataclass(frozen=True)
class Duration:
    """A stretch of training: ``"10 epochs"``, ``"625 steps"`` or ``"500000 examples"``."""

    amount: float
    unit: Unit

    @classmethod
    def parse(cls, text: object) -> Duration:
        """Read a duration; a bare number means epochs. Raises ``ValueError``."""
        if isinstance(text, Duration):
            return text
        match = _DURATION.fullmatch(str(text))
        if isinstance(text, bool) or not match or not math.isfinite(float(match[1])):
            raise ValueError("expected e.g. '10 epochs', '625 steps' or '500000 examples'")
        return cls(float(match[1]), UNITS[match[2] or "epoch"])

    def steps(self, *, steps_per_epoch: int, batch: int) -> int:
        """Convert to optimiser steps, rounded to the nearest whole step."""
        per_unit = {"epochs": steps_per_epoch, "steps": 1.0, "examples": 1 / batch}
        return round(self.amount * per_unit[self.unit])

    def __str__(self) -> str:
        whole = int(self.amount)
        return f"{whole if whole == self.amount else self.amount} {self.unit}"


def some(text: object) -> Duration:
    """Read a duration of more than nothing. Raises ``ValueError``."""
    duration = Duration.parse(text)
    if not duration.amount:
        raise ValueError("a run takes more than no time")
    return duration


def word(value: object) -> object:
    """A name may look like a number: ``optim.name=2012`` on a command line is one to TOML."""
    return str(value) if type(value) is int else value


def mean(value: object) -> object:
    """Take three finite numbers, or the name of a mean that is measured. Raises ``ValueError``."""
    if value in get_args(MeanName):
        return value
    three = value if isinstance(value, tuple) and len(value) == 3 else ()
    if not three or not all(type(v) in (int, float) and math.isfinite(v) for v in three):
        raise ValueError("expected three numbers, 'channel' or 'picture'")
    return tuple(map(float, three))


def ascending(pair: tuple[float, float]) -> tuple[float, float]:
    """Take a range, the smaller value first. Raises ``ValueError``."""
    if pair[0] > pair[1]:
        raise ValueError("expected the smaller value first")
    return pair


Range = Annotated[tuple[Positive, Positive], AfterValidator(ascending)]
ADuration = Annotated[Duration, BeforeValidator(Duration.parse), PlainSerializer(str)]


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no silent conversion of types."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )


_KINDS = {int: "whole number", float: "number", str: "text"}
_BOUNDS = {"ge": "of at least {}", "gt": "above {}", "le": "of at most {}", "lt": "below {}"}
_COUNTS = {2: "two", 3: "three", 4: "four"}


def expected(annotation: Any, bounds: tuple[Any, ...] = (), *, many: bool = False) -> str:
    """Say in words what values a field takes: ``an empty list or two whole numbers of at least 16``.

    ``bounds``: what pydantic keeps beside an annotation. ``many``: of several such values. Knows the
    kinds of fields that sections have; a kind of our own is named by what its reader says.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return expected(arguments[0], (*arguments[1:], *bounds), many=many)
    if origin is tuple:
        return _list(arguments, bounds)
    if origin is Literal:
        return _either([repr(word) for word in arguments])
    if (alternatives := [a for a in arguments if a is not NoneType]) and origin is not dict:
        return _either([expected(a, bounds, many=many) for a in alternatives])
    if annotation is bool:
        return "true or false"
    if annotation in _KINDS:
        noun = _KINDS[annotation]
        words = [f"{noun}s" if many else f"a {noun}", *_limits(bounds)]
        return " and ".join(filter(None, (" ".join(words[:2]), *words[2:])))
    if annotation is Duration:
        return f"{'durations' if many else 'a duration'} such as '10 epochs'"
    return "sections" if many else "a section"


def _list(items: tuple[Any, ...], bounds: tuple[Any, ...]) -> str:
    """Say what a tuple is, which TOML calls an array and its users a list."""
    if items in ((), ((),)):
        return "an empty list"
    each = expected(items[0], many=True)
    if Ellipsis not in items:
        return f"{_COUNTS[len(items)]} {each}"
    least = [b.min_length for b in _parts(bounds) if getattr(b, "min_length", None)]
    return f"a list of {each}{f', at least {max(least)}' if least else ''}"


def _limits(bounds: tuple[Any, ...]) -> list[str]:
    """Say between which values a number lies, from ``Field(ge=1)`` or the parts that it is made of."""
    return [
        text.format(f"{getattr(part, kind):g}")
        for part in _parts(bounds)
        for kind, text in _BOUNDS.items()
        if getattr(part, kind, None) is not None
    ]


def _parts(bounds: tuple[Any, ...]) -> list[Any]:
    return [part for bound in bounds for part in getattr(bound, "metadata", [bound])]


def _either(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
