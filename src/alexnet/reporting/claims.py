"""What recorded runs say about each published claim, a short paragraph each. No torch here.

A recipe with ``published.claim`` has one, and its relatives (``NAME-...``) stand in it. Every figure
comes from a record or from what the recipe says was published; what was not run is said so, with its
command.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet import recipe as recipes
from alexnet.recipe import Recipe
from alexnet.reporting.effects import KEPT, all_together, effect_of
from alexnet.reporting.recorded import Recorded
from alexnet.reporting.results import measured, published_of, their_epoch, verdict
from alexnet.reporting.text import sentence
from alexnet.reporting.unfinished import Unfinished
from alexnet.run.log import minutes
from alexnet.studies import estimates

FEW = 3  # of fewer runs Student's t says nothing of use: t is 12.7
NOT_RUN, NOT_ENDED = "not run yet", "not run to its end yet"


@dataclass(frozen=True)
class Claim:
    """A published claim beside our runs: what became of it, and the sentences that say why."""

    name: str
    word: str
    sentences: tuple[str, ...]
    effects: tuple[str, ...]

    @property
    def text(self) -> str:
        """Write it for a terminal."""
        lines = [f"  {line}" for line in (*self.sentences, *self.effects)]
        return "\n".join([f"{self.name}: {self.word}", *lines])

    def markdown(self, picture: str = "") -> str:
        """Write it for RESULTS.md, with the address of its curves where they are drawn."""
        parts = [f"### {self.name}: {self.word}", " ".join(self.sentences)]
        parts += [f"![loss and accuracy over the epochs, published dashed]({picture})"] * bool(
            picture
        )
        parts += ["\n".join(f"- {line}" for line in self.effects)] * bool(self.effects)
        return "\n\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "recipe": self.name,
            "verdict": self.word,
            "sentences": [*self.sentences, *self.effects],
        }


def claims(known: Sequence[Recorded], begun: Sequence[Unfinished] = ()) -> list[Claim]:
    """Return every published claim with what ``known`` runs and those that did not end say about it."""
    every = {name: recipes.load(name) for name in recipes.names()}
    claimed = [r for r in every.values() if r.published and r.published.claim]
    return [_claim(recipe, every, known, begun) for recipe in claimed]


def _claim(
    recipe: Recipe,
    every: Mapping[str, Recipe],
    known: Sequence[Recorded],
    begun: Sequence[Unfinished],
) -> Claim:
    published = recipe.published
    assert published is not None
    beside = [name for name in every if name.startswith(f"{recipe.name}-")]
    told = [f"The claim: {published.claim} ({published.source}; {published.protocol})."]
    told += [sentence(published.remark)] * bool(published.remark)
    told += _runs_of([every[name] for name in (recipe.name, *beside)], known, begun)
    word = _word(recipe.name, known, begun)
    faulty = [recipe, *(every[name] for name in beside if every[name].fault)]
    return Claim(recipe.name, word, tuple(told), tuple(_effects(faulty, known, begun)))


def _effects(
    family: Sequence[Recipe], known: Sequence[Recorded], begun: Sequence[Unfinished]
) -> Iterator[str]:
    """Tell each fault and what it does; those of a relative are headed by its name."""
    for recipe in family:
        whose = "" if recipe is family[0] else f"{recipe.name}: "
        faults = recipes.to_tree(recipe)["fault"]
        for fault in faults:
            key = f"{fault['key']}: " if fault["key"] else ""
            effect = effect_of(recipe.name, fault, known, begun)
            yield f"{whose}{key}{fault['published']}; {effect}"
        yield from (f"{whose}{line}" for line in all_together(recipe.name, faults, known, begun))


def _word(name: str, known: Sequence[Recorded], begun: Sequence[Unfinished]) -> str:
    """Judge by the program as it was published where that was run, else by the corrected one."""
    for candidate in (name + KEPT, name):
        whole = [r for r in known if r.recipe == candidate and not r.changed]
        words = [verdict(r) for r in whole]
        if words:
            return words[0] or "the first result"
    told = {*(runs.recipe for runs in known), *(run.recipe for run in begun)}
    return NOT_ENDED if name in told else NOT_RUN


def _runs_of(
    family: Sequence[Recipe], known: Sequence[Recorded], begun: Sequence[Unfinished]
) -> Iterator[str]:
    """Tell every run of the recipes, then which of them have none to their end."""
    for recipe in family:
        yield from (_sentence(recipe, runs) for runs in known if runs.recipe == recipe.name)
        yield from (run.sentence for run in begun if run.recipe == recipe.name)
    ended = {runs.recipe for runs in known if not runs.changed}
    missing = [f"`alexnet train {r.name}`" for r in family if r.name not in ended]
    if missing:
        yield f"Not run to the end yet: {', '.join(missing)}."


def _sentence(recipe: Recipe, runs: Recorded) -> str:
    low, high = runs.interval
    parts = [
        f"`{runs.title}` reached {measured(runs)} of {runs.pictures:,} test pictures (n = {runs.n}, "
        f"95 % interval {100 * low:.2f} to {100 * high:.2f} %)",
        *_scores_beside(runs),
        *_one_more(runs),
        f"training took {minutes(runs.seconds)} at {runs.images_per_second:,.0f} images/s on "
        f"{runs.hardware}{f' ({runs.note})' if runs.note else ''}{_time_beside(runs)}",
    ]
    return f"{'; '.join(parts)}."


def _scores_beside(runs: Recorded) -> Iterator[str]:
    published = published_of(runs)
    if published is None:
        return
    if published.test_accuracy is not None and not runs.changed:
        gap = 100 * (runs.accuracy - published.test_accuracy)
        yield f"{gap:+.2f} points from the published {100 * published.test_accuracy:.2f} %"
    if published.test_top3 is not None and runs.top3 is not None:
        beside = "" if runs.changed else f", published {100 * published.test_top3:.2f} %"
        yield f"top-3 {100 * runs.top3:.2f} %{beside}"
    yield from (f"by views {views!r} {100 * share:.2f} %" for views, share in runs.besides.items())
    if runs.val_accuracy and runs.epochs <= len(published.val_accuracy):
        theirs = published.val_accuracy[runs.epochs - 1]
        yield (
            f"validation after epoch {runs.epochs}: {100 * runs.val_accuracy:.2f} %, published "
            f"{100 * theirs:.2f} %"
        )


def _one_more(runs: Recorded) -> Iterator[str]:
    """Tell where one more run would lie, beside a published figure that is of one run."""
    published = published_of(runs)
    compared = published is not None and published.test_accuracy is not None and not runs.changed
    if runs.n < FEW or not compared:
        return
    low, high = estimates.next_of(runs.accuracies)
    yield f"one more run of it would reach {100 * low:.2f} to {100 * high:.2f} % (95 %, Student's t)"


def _time_beside(runs: Recorded) -> str:
    each, published = their_epoch(runs), published_of(runs)
    if each is None or published is None:
        return ""
    where = f" on {published.hardware}" if published.hardware else ""
    rate = runs.trained / runs.epochs / each
    return (
        f", the published program's {minutes(each * runs.epochs)} at {rate:,.0f} images/s{where}, "
        "scoring included"
    )
