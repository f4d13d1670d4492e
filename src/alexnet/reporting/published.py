"""A recipe beside what was published: its faults, how it is scored, its verdict. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alexnet import recipe as recipes
from alexnet.recipe import Fault, Recipe

KEPT = "-as-published"


def faults_text(recipe: Recipe) -> str:
    """Say, a line each, how a recipe and its sibling that keeps the faults differ; empty if none."""
    base = recipe.name.removesuffix(KEPT)
    corrected = recipes.load(base) if base in recipes.names() else recipe
    if not corrected.fault:
        return ""
    kept = recipe.name != base
    head = (
        f"Keeps the faults of the published program, which {base} corrects:"
        if kept
        else f"Corrects faults of the published program, which {base}{KEPT} keeps:"
    )
    return "\n".join([head, *(f"  {_line(fault)}" for fault in corrected.fault)])


def _line(fault: Fault) -> str:
    where = fault.key or "in neither"
    effect = f"effect: {fault.effect}" if fault.effect else "effect not measured yet"
    return f"{where}: published: {fault.published}; corrected: {fault.corrected}; {effect}"


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


def verdict_text(verdict: dict[str, Any]) -> str:
    """Write what was published, what was measured, and whether the first is met."""
    text = (
        f"  published {verdict['published']:.2%}, measured {verdict['measured']:.2%}"
        f"{_interval(verdict)}, difference {verdict['difference'] * 100:+.2f} points"
        f"{_top3(verdict)}{_tolerance(verdict)}: {_word(verdict)}"
    )
    if verdict["published_loss"] is not None:
        text += f"; loss published {verdict['published_loss']:.4f}, measured {verdict['measured_loss']:.4f}"
    if verdict["published_seconds_per_epoch"] is not None:
        seconds, where = verdict["published_seconds_per_epoch"], verdict["published_hardware"]
        text += f"; published {seconds:.0f} s an epoch{f' on {where}' if where else ''}"
    return text


def _word(verdict: dict[str, Any]) -> str:
    if verdict["met"] is None:
        return "another protocol, so no verdict"
    return "met" if verdict["met"] else "not met"


def _interval(verdict: dict[str, Any]) -> str:
    low, high = verdict["interval"]
    return f" (95 % interval {low:.2%} to {high:.2%})"


def _tolerance(verdict: dict[str, Any]) -> str:
    tolerance = verdict.get("tolerance", 0.0)  # records of 0.1.0 have none
    return f", tolerance {tolerance * 100:.2f} points" if tolerance else ""


def _top3(verdict: dict[str, Any]) -> str:
    theirs, ours = verdict.get("published_top3"), verdict.get("measured_top3")
    if theirs is None:
        return ""
    return f"; top-3 published {theirs:.2%}, measured {'-' if ours is None else f'{ours:.2%}'}"
