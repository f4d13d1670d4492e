"""What became of a published number: in one word, and in a sentence. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alexnet.reporting.words import words
from alexnet.run.log import minutes


def word(met: bool | None, low: float, published: float) -> str:
    """Return ``beaten``, ``met``, ``not met`` or ``another protocol``.

    ``met``: whether ours falls short by no more than the tolerance, None for another protocol. Beaten
    is a number that the whole interval, which begins at ``low``, lies above.
    """
    if met is None:
        return "another protocol"
    beaten = "beaten" if low > published else "met"
    return beaten if met else "not met"


def told_word(verdict: Mapping[str, Any], say: Mapping[str, str]) -> str:
    """Return the word for a run's own verdict, in the language of ``say``."""
    found = word(verdict["met"], verdict["interval"][0], verdict["published"])
    return say[found.replace(" ", "_")]


def verdict_text(
    verdict: Mapping[str, Any],
    speed: Mapping[str, Any] | None = None,
    epochs: int = 0,
    say: Mapping[str, str] | None = None,
) -> str:
    """Write what was published, what was measured, and what became of the first.

    ``speed`` and ``epochs`` of the run: their time beside ours; None: theirs alone. ``say``: the
    words of a language (``reporting.words``), by default English.
    """
    say = words("en") if say is None else say
    ours, theirs, tolerance = (verdict.get(k) for k in ("measured", "published", "tolerance"))
    shares = (f"{share:.2%}" for share in (theirs, ours, *verdict["interval"]))
    text = say["measured"].format(*shares, f"{verdict['difference'] * 100:+.2f}")
    text += _top3(verdict, say)
    if tolerance:  # 0: none is given; runs of before 26 November 2026 do not say
        text += say["tolerance"].format(f"{tolerance * 100:.2f}")
    text += f": {told_word(verdict, say)}"
    if verdict["published_loss"] is not None:
        losses = (verdict["published_loss"], verdict["measured_loss"])
        text += say["losses"].format(*(f"{loss:.4f}" for loss in losses))
    return text + _times(verdict, speed, epochs, say)


def _top3(verdict: Mapping[str, Any], say: Mapping[str, str]) -> str:
    theirs, ours = verdict.get("published_top3"), verdict.get("measured_top3")
    if theirs is None:
        return ""
    return say["measured_top3"].format(f"{theirs:.2%}", "-" if ours is None else f"{ours:.2%}")


def _times(
    verdict: Mapping[str, Any],
    speed: Mapping[str, Any] | None,
    epochs: int,
    say: Mapping[str, str],
) -> str:
    """Set their clock beside ours: by the epoch where they did, else over the whole run."""
    each, whole = verdict["published_seconds_per_epoch"], verdict.get("published_training_seconds")
    if each is None and whole is None:
        return ""
    where = verdict["published_hardware"]
    took = (
        say["an_epoch"].format(f"{each:.0f}")
        if whole is None or each is not None
        else say["in_all"].format(minutes(whole))
    )
    theirs = say["took_on"].format(took, where) if where else say["took"].format(took)
    if not speed or not epochs:
        return theirs
    ours, rate = speed["training_seconds"], speed["images_per_second"]
    if each is None and verdict["met"] is None:
        return say["another_length"].format(theirs, minutes(ours))
    their_rate = speed["pictures"] / (whole if each is None else each * epochs)
    here = (
        say["in_all"].format(minutes(ours))
        if each is None
        else say["an_epoch"].format(f"{ours / epochs:.0f}")
    )
    return say["at_rates"].format(theirs, f"{their_rate:.0f}", here, f"{rate:.0f}")
