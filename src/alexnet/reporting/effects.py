"""What a fault of a published program costs: from recorded runs with it and without it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import tomli_w

from alexnet import built_in, plain
from alexnet.errors import RecipeError
from alexnet.intervals import newcombe
from alexnet.reporting.recorded import Recorded
from alexnet.reporting.unfinished import Unfinished, furthest

KEPT = "-as-published"


def effect_of(
    corrected: str,
    fault: Mapping[str, Any],
    known: Sequence[Recorded],
    begun: Sequence[Unfinished] = (),
) -> str:
    """Say what a fault does to the test accuracy: what was measured, or how to measure it.

    ``fault``: plain values, of the recipe called ``corrected``. Measured is a run of that against
    runs of it with the fault put in: by name, where its sibling has no other fault, or by ``--set``.
    ``begun``: those that did not end, told in the place of what is missing.
    """
    if fault["effect"] or not fault["key"]:
        return f"effect: {fault['effect']}" if fault["effect"] else "effect not measured yet"
    kept = _kept_settings(corrected)
    wanted = {key: kept[key] for key in (fault["key"], *fault["also"]) if key in kept}
    ways = [(corrected, wanted)]
    if wanted.keys() == kept.keys():
        ways.insert(0, (corrected + KEPT, {}))
    return _between(corrected, ways, known, begun)


def all_together(
    corrected: str,
    faults: Sequence[Mapping[str, Any]],
    known: Sequence[Recorded],
    begun: Sequence[Unfinished] = (),
) -> list[str]:
    """Say what several faults do together; nothing where one fault is all there is."""
    if sum(bool(fault["key"]) for fault in faults) < 2:
        return []
    return [f"all together: {_between(corrected, [(corrected + KEPT, {})], known, begun)}"]


def _kept_settings(corrected: str) -> dict[str, Any]:
    """Return the settings by which the recipe that keeps the faults differs, with its values."""
    if not {corrected, corrected + KEPT} <= {*built_in.names()}:
        return {}
    own, kept = (plain.settled(built_in.tree(n)) for n in (corrected, corrected + KEPT))
    return {key: kept.get(key) for key in plain.differing(own, kept) if key != "name"}


def _between(
    base: str,
    ways: Sequence[tuple[str, Mapping[str, Any]]],
    known: Sequence[Recorded],
    begun: Sequence[Unfinished],
) -> str:
    without = _runs(base, {}, known)
    faulty = [runs for name, changed in ways for runs in [_runs(name, changed, known)] if runs]
    if without and faulty:
        return _measured(faulty[0], without)
    missing = [*([] if without else [(base, {})]), *([] if faulty else [ways[0]])]
    return _not_measured(missing, begun)


def _not_measured(
    missing: Sequence[tuple[str, Mapping[str, Any]]], begun: Sequence[Unfinished]
) -> str:
    """Name the commands that would measure it, and how far a run of each came that did not end."""
    came = [furthest(*way, begun) for way in missing]
    told = [
        _command(*way) + (f" {run.far}" if run else "")
        for way, run in zip(missing, came, strict=True)
    ]
    return f"effect not measured {'to the end' if any(came) else 'yet'}: {' and '.join(told)}"


def _runs(name: str, changed: Mapping[str, Any], known: Sequence[Recorded]) -> list[Recorded]:
    return [r for r in known if r.recipe == name and dict(r.changed) == dict(changed)]


def _measured(faulty: Sequence[Recorded], without: Sequence[Recorded]) -> str:
    """Compare what ran on the same machines, where there are any."""
    if both := {r.hardware for r in faulty} & {r.hardware for r in without}:
        faulty, without = ([r for r in runs if r.hardware in both] for runs in (faulty, without))
    a, b = (_pooled(runs) for runs in (faulty, without))
    of = faulty[0].pictures, without[0].pictures
    low, high = newcombe((a[0] * of[0], of[0]), (b[0] * of[1], of[1]))
    return (
        f"effect: {100 * (a[0] - b[0]):+.2f} points of top-1, with it {a[0]:.2%} (n = {a[1]}), "
        f"without {b[0]:.2%} (n = {b[1]}); 95 % interval {100 * low:+.2f} to {100 * high:+.2f}"
        + _elsewhere(faulty, without)
    )


def _elsewhere(faulty: Sequence[Recorded], without: Sequence[Recorded]) -> str:
    """Name the machines where they are not the same: they round otherwise."""
    with_it, alone = (", ".join(sorted({r.hardware for r in runs})) for runs in (faulty, without))
    return "" if with_it == alone else f"; with it on {with_it}, without on {alone}"


def _pooled(runs: Sequence[Recorded]) -> tuple[float, int]:
    every = [accuracy for each in runs for accuracy in each.accuracies]
    return sum(every) / len(every), len(every)


def _command(name: str, changed: Mapping[str, Any]) -> str:
    sets = [part for item in changed.items() for part in ("--set", _assignment(*item))]
    return f"`{shlex.join(['alexnet', 'train', name, *sets])}`"


def _assignment(key: str, value: Any) -> str:
    """Write ``key=value`` so that ``--set`` reads it back: bare where that is read as the text."""
    bare = f"{key}={value}"
    try:
        if isinstance(value, str) and plain.parse_assignment(bare)[1] == value:
            return bare
    except RecipeError:
        pass
    text = tomli_w.dumps({"v": value}).removeprefix("v = ")
    return f"{key}={' '.join(text.split())}"
