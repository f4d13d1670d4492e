"""The kinds of values that stand in a recipe, and what its sections share. No torch here."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

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
