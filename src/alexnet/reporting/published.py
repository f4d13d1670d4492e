"""A recipe beside what was published: its faults, and how it is scored. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from alexnet import built_in
from alexnet.reporting.effects import KEPT, all_together, effect_of
from alexnet.reporting.recorded import Recorded, packaged
from alexnet.reporting.unfinished import Unfinished, packaged_unfinished


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
    """Say what a score leaves out or adds; nothing of a plain one.

    Runs of before 26 November 2026 have nothing of it.
    """
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
