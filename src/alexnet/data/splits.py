"""Named splits: ``"train[:80%]"`` to the exact list of indices that a run saves."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from alexnet.data.cache import Dataset
from alexnet.errors import UnknownName, UsageError

AUTO = "auto"
SHARE = 15  # percent of the training pictures that a missing part is given
_SYNONYMS = {"validation": "val", "val": "validation"}
METHODS = ("slice", "sklearn", "stratified")
_EXPRESSION = re.compile(r"(?P<part>\w+)(?P<cut>\[(?P<start>-?\d+%?)?:(?P<stop>-?\d+%?)?\])?")


def part_of(expression: str) -> str:
    """Return the part that an expression cuts: ``"train"`` of ``"train[:80%]"``.

    Raises UsageError if it is not of the form ``part``, ``part[start:stop]``.
    """
    return _parse(expression).part


def is_whole(expression: str) -> bool:
    """Say whether an expression takes all of its part. Raises UsageError for a bad expression."""
    return _parse(expression).is_whole


def part_in(dataset: Dataset, expression: str) -> str:
    """Return the part of ``dataset`` that an expression cuts; ``validation`` may be called ``val``.

    Raises UsageError for a bad expression, UnknownName for a part that does not exist.
    """
    name = part_of(expression)
    for part in (name, _SYNONYMS.get(name, name)):
        if part in dataset.parts:
            return part
    raise UnknownName("split", name, dataset.parts)


def settle(asked: Mapping[str, str], parts: Iterable[str]) -> dict[str, str]:
    """Put expressions in the place of ``auto``, for train, validation and test.

    A part that is there is taken whole; for a missing one SHARE percent are cut off the end of
    train. Raises UsageError where something is to be cut off and train is not ``auto`` itself.
    """
    taken = {part_of(text) for text in asked.values() if text and text != AUTO}
    free = {_ROLES[part]: part for part in parts if part in _ROLES and part not in taken}
    missing = [r for r, text in asked.items() if text == AUTO and r != "train" and r not in free]
    if missing and asked["train"] != AUTO:
        raise UsageError(
            f"data.{missing[0]} = 'auto', but the data set has no such part; name a split, or let "
            "data.train be 'auto' too"
        )
    ends = [100 - SHARE * n for n in range(len(missing), -1, -1)]
    cut = {r: f"train[{a}%:{b}%]" for r, a, b in zip(missing, ends, ends[1:], strict=False)}
    whole = f"train[:{ends[0]}%]" if missing else "train"
    answers = {**free, **cut, "train": whole}
    return {role: answers[role] if text == AUTO else text for role, text in asked.items()}


_ROLES = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}


def select(
    dataset: Dataset, expression: str, *, method: str = "slice", seed: int = 0
) -> np.ndarray:
    """Return the (n,) int64 indices into the part that ``expression`` selects.

    Bounds are counts or percentages of the part, negative ones counted from its end; a percentage
    is rounded to the nearest picture. ``method`` says which order is cut:

    - ``"slice"``: the order of the data set; the seed is not used.
    - ``"stratified"``: an order drawn from ``seed`` of which every cut holds the classes in their
      proportions (to one picture); the indices come back ascending.
    - ``"sklearn"``: the lists, in their order, of scikit-learn's ``train_test_split(np.arange(n),
      test_size=q, random_state=seed)``: its train list for ``[:p%]``, its test list for ``[p%:]``,
      q = 1 - p/100. Other cuts are refused.

    Raises UsageError for a bad expression, a bound outside the part or an empty selection;
    UnknownName for a part or a method that does not exist.
    """
    cut = _parse(expression)
    part = part_in(dataset, expression)
    if method not in METHODS:
        raise UnknownName("split method", method, METHODS)
    labels = dataset.parts[part].labels
    if method == "sklearn" and not cut.is_whole:
        chosen = _sklearn(cut, len(labels), seed)
    else:
        start, stop = cut.bounds(len(labels))
        chosen = np.arange(start, stop)
        if method == "stratified":
            chosen = np.sort(_stratified_order(labels, seed)[start:stop])
    if not len(chosen):
        raise UsageError(
            f"split {expression!r} selects none of the {len(labels):,} pictures of {part!r}; take a "
            "larger share, or more pictures"
        )
    return chosen.astype(np.int64)


@dataclass(frozen=True)
class _Cut:
    expression: str
    part: str
    start: str | None
    stop: str | None

    @property
    def is_whole(self) -> bool:
        return self.start is None and self.stop is None

    def bounds(self, count: int) -> tuple[int, int]:
        start = 0 if self.start is None else self.position(self.start, count)
        stop = count if self.stop is None else self.position(self.stop, count)
        return start, stop

    def position(self, bound: str, count: int) -> int:
        limit = 100 if bound.endswith("%") else count
        value = int(bound.rstrip("%"))
        if abs(value) > limit:
            raise UsageError(
                f"split {self.expression!r}: {bound} lies outside {self.part!r}, "
                f"which holds {count:,} pictures"
            )
        position = round(value * count / 100) if bound.endswith("%") else value
        return position + count if bound.startswith("-") else position


def _parse(expression: str) -> _Cut:
    match = _EXPRESSION.fullmatch(expression.replace(" ", ""))
    if match is None:
        raise UsageError(
            f"split {expression!r} is not understood; write 'train', 'train[:80%]', "
            "'train[80%:]' or 'train[100:2000]'"
        )
    return _Cut(expression, match["part"], match["start"], match["stop"])


def _stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of all indices whose every prefix holds each class in proportion, to one picture.

    Raw 64-bit draws and stable sorts only: the same in every version of numpy.
    """
    keys = np.random.PCG64(seed).random_raw(len(labels))
    rank = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        shuffled = members[np.argsort(keys[members], kind="stable")]
        rank[shuffled] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, rank))


def _sklearn(cut: _Cut, count: int, seed: int) -> np.ndarray:
    """scikit-learn 1.x, model_selection/_split.py: ShuffleSplit and _validate_shuffle_split."""
    if (cut.start is None) == (cut.stop is None):
        raise UsageError(
            f"split {cut.expression!r}: the method 'sklearn' knows [:p%] (its train part) "
            "and [p%:] (its test part) only"
        )
    bound = cut.start or cut.stop or ""
    held_out = count - cut.position(bound, count)
    if bound.endswith("%") and not bound.startswith("-"):
        held_out = math.ceil((100 - int(bound[:-1])) / 100 * count)
    order = np.random.RandomState(seed).permutation(count)
    return order[:held_out] if cut.stop is None else order[held_out:]
