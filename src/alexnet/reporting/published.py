"""A recipe beside what was published: its faults, how it is scored, its verdict. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alexnet import built_in
from alexnet.reporting.effects import KEPT, all_together, effect_of
from alexnet.reporting.recorded import Recorded, packaged
from alexnet.reporting.unfinished import Unfinished, packaged_unfinished
from alexnet.run.log import minutes


def faults_text(recipe: Mapping[str, Any]) -> str:
    """Say, a line each, how a recipe and its sibling that keeps the faults differ; empty if none.

    ``recipe``: its plain values, complete (``recipe.to_tree``).
    """
    base = recipe["name"].removesuffix(KEPT)
    faults = (built_in.tree(base) if base in built_in.names() else recipe)["fault"]
    if not faults:
        return ""
    kept = recipe["name"] != base
    head = (
        f"Keeps the faults of the published program, which {base} corrects:"
        if kept
        else f"Corrects faults of the published program, which {base}{KEPT} keeps:"
    )
    known, begun = packaged(), packaged_unfinished()
    lines = [_line(base, fault, known, begun) for fault in faults]
    lines += all_together(base, faults, known, begun)
    return "\n".join([head, *(f"  {line}" for line in lines)])


def _line(
    corrected: str,
    fault: Mapping[str, Any],
    known: Sequence[Recorded],
    begun: Sequence[Unfinished],
) -> str:
    said = f"published: {fault['published']}; corrected: {fault['corrected']}"
    effect = effect_of(corrected, fault, known, begun)
    return f"{fault['key'] or 'in neither'}: {said}; {effect}"


def scored_text(scored: dict[str, Any]) -> list[str]:
    """Say what a score leaves out or adds; nothing of a plain one, nor of records of 0.1.0."""
    said = list(_peculiarities(scored)) if scored else []
    return [f"  scored with a difference: {'; '.join(said)}"] if said else []


def _peculiarities(scored: dict[str, Any]) -> Iterator[str]:
    left_out = scored["of"] - scored["pictures"]
    if left_out:
        yield (
            f"{left_out:,} of {scored['of']:,} test pictures, the last partial batch, were left out "
            "(evaluation.drop_last)"
        )
    if scored["dropout"]:
        yield "dropout stayed active (evaluation.dropout)"
    if scored["penalty"]:
        yield (f"the loss includes {scored['penalty']:.4f} of weight penalty (evaluation.penalty)")


def verdict_text(
    verdict: Mapping[str, Any], speed: Mapping[str, Any] | None = None, epochs: int = 0
) -> str:
    """Write what was published, what was measured, and whether the first is met.

    ``speed`` and ``epochs`` of the run: their time beside ours; None: theirs alone.
    """
    text = (
        f"  published {verdict['published']:.2%}, measured {verdict['measured']:.2%}"
        f"{_interval(verdict)}, difference {verdict['difference'] * 100:+.2f} points"
        f"{_top3(verdict)}{_tolerance(verdict)}: {_word(verdict)}"
    )
    if verdict["published_loss"] is not None:
        text += f"; loss published {verdict['published_loss']:.4f}, measured {verdict['measured_loss']:.4f}"
    return text + _times(verdict, speed, epochs)


def _times(verdict: Mapping[str, Any], speed: Mapping[str, Any] | None, epochs: int) -> str:
    """Set their clock beside ours: by the epoch where they did, else over the whole run."""
    each, whole = verdict["published_seconds_per_epoch"], verdict.get("published_training_seconds")
    theirs = f"{minutes(whole)} in all" if whole is not None else ""
    theirs = f"{each:.0f} s an epoch" if each is not None else theirs
    where = f" on {verdict['published_hardware']}" if verdict["published_hardware"] else ""
    if not theirs or not speed or not epochs:
        return f"; published {theirs}{where}" if theirs else ""
    ours, rate = speed["training_seconds"], speed["images_per_second"]
    if each is None and verdict["met"] is None:
        return f"; published {theirs}{where}, here {minutes(ours)} of another length"
    their_rate = speed["pictures"] / (whole if each is None else each * epochs)
    here = f"{minutes(ours)} in all" if each is None else f"{ours / epochs:.0f} s an epoch"
    return f"; published {theirs}{where} ({their_rate:.0f} images/s), here {here} ({rate:.0f} images/s)"


def _word(verdict: Mapping[str, Any]) -> str:
    if verdict["met"] is None:
        return "another protocol, so no verdict"
    return "met" if verdict["met"] else "not met"


def _interval(verdict: Mapping[str, Any]) -> str:
    low, high = verdict["interval"]
    return f" (95 % interval {low:.2%} to {high:.2%})"


def _tolerance(verdict: Mapping[str, Any]) -> str:
    tolerance = verdict.get("tolerance", 0.0)  # records of 0.1.0 have none
    return f", tolerance {tolerance * 100:.2f} points" if tolerance else ""


def _top3(verdict: Mapping[str, Any]) -> str:
    theirs, ours = verdict.get("published_top3"), verdict.get("measured_top3")
    if theirs is None:
        return ""
    return f"; top-3 published {theirs:.2%}, measured {'-' if ours is None else f'{ours:.2%}'}"
