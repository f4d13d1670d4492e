"""A study is a TOML file: a recipe, settings, seeds, and rows that each change something. No torch.

::

    name = "pools"
    summary = "do overlapping pools help?"
    recipe = "alexnet-small"         # a built-in one, or a .toml file beside this one
    seeds = [0, 1, 2]

    [set]                            # for every row, as --set
    train.epochs = "8 epochs"

    [[row]]                          # the first row is what the others are compared with
    name = "overlapping"

    [[row]]
    name = "apart"
    set = { model.network = "alexnet-small-pool2" }
    published = { points = { top1 = -0.4 }, source = "the paper, section 3.4" }
"""

from __future__ import annotations

import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from alexnet import recipe as recipes
from alexnet.errors import RecipeError, UnknownName, did_you_mean
from alexnet.sections import Views
from alexnet.values import Probability, Section


def _folder_name(name: str) -> str:
    """Take a name that can be a folder's on every system. Raises ``ValueError``."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name):
        raise ValueError("expected small letters, digits, dots and dashes, e.g. 'no-lrn'")
    return name


def _figures(found: dict[str, Any]) -> dict[str, Any]:
    """Take figures by ``top1``, ``top5``, ... Raises ``ValueError``."""
    for key in found:
        if not re.fullmatch(r"top[1-9][0-9]*", key):
            raise ValueError(f"expected figures called top1, top3, ...; got {key!r}")
    return found


Slug = Annotated[str, AfterValidator(_folder_name)]
Seed = Annotated[int, Field(ge=0)]


class Claim(Section):
    """What somebody published about a row. Accuracies are fractions."""

    accuracy: Annotated[dict[str, Probability], AfterValidator(_figures)] = Field(
        default_factory=dict
    )
    # Percentage points of accuracy that the row lies above the base row; below it: negative.
    points: Annotated[dict[str, float], AfterValidator(_figures)] = Field(default_factory=dict)
    note: str = ""  # what a figure alone does not say
    source: str = ""


class Line(Section):
    """One row: a name, and what it changes or how it is scored."""

    name: Slug
    title: str = ""  # for people; empty: the name
    recipe: str = ""  # empty: the study's
    set: dict[str, Any] = Field(default_factory=dict)  # recipe keys, as --set
    base: str = ""  # the row that it is compared with; empty: the study's
    of: str = ""  # the row whose runs are scored here in other views; nothing is trained
    views: Views | None = None  # None: the study's
    at: tuple[str, str] | None = None  # its place in the grid: the row's label, the column's
    published: Claim | None = None


class Grid(Section):
    """Names of the two factors whose combinations the rows are."""

    rows: str
    columns: str


class Study(Section):
    """A recipe, rows and seeds."""

    name: Slug
    summary: str
    recipe: str
    source: str = ""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0, 1, 2)
    base: str = ""  # the row that the others are compared with; empty: the first
    views: Views | None = None  # that all rows are compared in; None: those of the recipe
    set: dict[str, Any] = Field(default_factory=dict)
    row: Annotated[tuple[Line, ...], Field(min_length=1)]
    grid: Grid | None = None

    @model_validator(mode="after")
    def _rows_agree(self) -> Study:
        names = [row.name for row in self.row]
        _refuse_twice("seeds", self.seeds)
        _refuse_twice("the names of rows", names)
        for base in filter(None, (self.base, *(row.base for row in self.row))):
            if base not in names:
                raise ValueError(f"base = {base!r} is no row{did_you_mean(base, names)}")
        for row in self.row:
            self._refuse_row(row)
        return self

    def _refuse_row(self, row: Line) -> None:
        trained = [r.name for r in self.row if not r.of]
        if row.of and row.of not in trained:
            raise ValueError(
                f"row {row.name}: of = {row.of!r} is no row that is trained"
                f"{did_you_mean(row.of, trained)}; known: {', '.join(trained)}"
            )
        if row.of and (row.set or row.recipe or row.views is None):
            raise ValueError(
                f"row {row.name} scores the runs of {row.of} again: give it `views`, and neither "
                "`set` nor `recipe`"
            )
        if row.base == row.name:
            raise ValueError(f"row {row.name}: base = {row.base!r} is the row itself")
        if (row.at is None) != (self.grid is None):
            raise ValueError(
                f"row {row.name}: `at` and the study's `grid` belong together; give every row its "
                "place, at = [ROW, COLUMN], or leave out both"
            )

    @property
    def base_row(self) -> Line:
        """Return the row that the others are compared with."""
        return self.line(self.base) if self.base else self.row[0]

    def compared_with(self, row: Line) -> Line | None:
        """Return the row that a row is compared with; None for the base row."""
        if row.base:
            return self.line(row.base)
        return None if row == self.base_row else self.base_row

    def line(self, name: str) -> Line:
        """Return a row by name. Raises ``UnknownName``."""
        known = {row.name: row for row in self.row}
        if name not in known:
            raise UnknownName(f"row of {self.name}", name, known)
        return known[name]

    def trained(self, row: Line) -> Line:
        """Return the row whose runs a row is scored from: mostly itself."""
        return self.line(row.of) if row.of else row


def _refuse_twice(what: str, values: Any) -> None:
    twice = sorted({v for v in values if list(values).count(v) > 1})
    if twice:
        raise ValueError(f"{what} must differ; {', '.join(map(str, twice))} stands there twice")


def names() -> list[str]:
    """Return the names of the studies that come with the package, sorted."""
    files = [f.name for f in _folder().iterdir()]
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def load(name: str) -> Study:
    """Return a study by name, or from a path ending in ``.toml``.

    Recipes in files are looked for beside the study's. Raises ``UnknownName`` or ``RecipeError``.
    """
    if name.endswith(".toml"):
        listing = "alexnet study"
        study = parse(recipes.read_file(Path(name), "study", listing), origin=name)
        return _beside(study, Path(name).parent)
    if name not in names():
        raise UnknownName("study", name, names())
    text = (_folder() / f"{name}.toml").read_text(encoding="utf-8")
    return parse(text, origin=f"study {name}")


def parse(text: str, *, origin: str = "study") -> Study:
    """Read a study from TOML text; ``origin`` names it in messages. Raises ``RecipeError``."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{origin} is not valid TOML: {error}") from None
    return recipes.checked(Study, tree, origin=origin)


def _beside(study: Study, folder: Path) -> Study:
    def found(name: str) -> str:
        return str(folder / name) if name.endswith(".toml") else name

    rows = tuple(row.model_copy(update={"recipe": found(row.recipe)}) for row in study.row)
    return study.model_copy(update={"recipe": found(study.recipe), "row": rows})


def _folder() -> resources.abc.Traversable:
    return resources.files("alexnet") / "studies"
