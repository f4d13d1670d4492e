"""Recorded runs as tables: a row for each recipe and machine, over its seeds.

README carries the short one, RESULTS.md the full one; a test holds them to it. Nothing here imports
torch.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from alexnet import recipe as recipes
from alexnet.published import Published, epoch_seconds
from alexnet.reporting.recorded import Recorded, grouped, summaries
from alexnet.reporting.verdict import word
from alexnet.run.log import minutes


def short_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the short table's rows, by recipe and machine."""
    groups = grouped(records)
    found = summaries(record for group in groups for record in group)
    return [_short(runs, group[0]) for runs, group in zip(found, groups, strict=True)]


def _short(runs: Recorded, first: Mapping[str, Any]) -> dict[str, str]:
    verdict = first.get("verdict")
    return {
        "recipe": runs.title,
        "test top-1": measured(runs),
        "n": str(runs.n),
        "published": f"{100 * verdict['published']:.2f} %" if verdict else "",
        "training": minutes(runs.seconds),
        "images/s": f"{runs.images_per_second:,.0f}",
        "T multiply-adds": f"{runs.multiply_adds / 1e12:,.1f}",
        "share of matrix rate": f"{runs.share:.2f}",
        "precision": runs.precision,
        "hardware": runs.hardware,
    }


def view_rows(records: Iterable[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return a row for each recipe, machine and way of looking that its runs were scored in.

    Means over the seeds; the views of the recipe itself come first. A cell is empty where a record
    of that time did not hold it.
    """
    return [row for group in grouped(records) for row in _view_rows(group)]


def _view_rows(group: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    scored = [{r["test"].get("views", ""): r["test"], **r.get("test_views", {})} for r in group]
    waited = [record["speed"].get("waiting_share") for record in group]
    for views in dict.fromkeys(views for found in scored for views in found):
        tests = [found[views] for found in scored if views in found]
        tops = {f"top-{k}": _share([t["top"].get(k) for t in tests]) for k in ("1", "3", "5")}
        yield {
            "recipe": summaries(group)[0].title,
            "views": views,
            "n": str(len(tests)),
            **tops,
            "balanced accuracy": _share([t.get("balanced_accuracy") for t in tests]),
            "macro-F1": _share([t.get("macro_f1") for t in tests]),
            "waiting for pictures": _share(waited),
        }


def _share(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{100 * statistics.mean(known):.2f} %" if known and len(known) == len(values) else ""


def measured(runs: Recorded) -> str:
    """Write the mean accuracy, and its standard deviation over the seeds where there are several."""
    accuracies = [100 * accuracy for accuracy in runs.accuracies]
    spread = f" ± {statistics.stdev(accuracies):.2f}" if runs.n > 1 else ""
    return f"{statistics.mean(accuracies):.2f}{spread} %"


def full_rows(found: Sequence[Recorded]) -> list[dict[str, str]]:
    """Return the rows that set every run beside what was published: scores, times, verdict."""
    return [_full(runs) for runs in found]


def _full(runs: Recorded) -> dict[str, str]:
    published = published_of(runs)
    low, high = runs.interval
    theirs = published.test_accuracy if published else None
    return {
        "recipe": runs.title,
        "n": str(runs.n),
        "measured": measured(runs),
        "95 % interval": f"{100 * low:.2f} to {100 * high:.2f} %",
        "published": "" if theirs is None else f"{100 * theirs:.2f} %",
        "difference": "" if theirs is None else f"{100 * (runs.accuracy - theirs):+.2f}",
        "verdict": verdict(runs) + _because(runs, published),
        **_times(runs, published),
        "precision": runs.precision,
        "hardware": runs.hardware,
    }


def _because(runs: Recorded, published: Published | None) -> str:
    """Name the top-3 where a published one alone is what a run falls short of."""
    if verdict(runs) != "not met" or published is None or published.test_top3 is None:
        return ""
    first, third = _shortfalls(runs, published)
    if runs.top3 is None or not first <= published.tolerance < third:
        return ""
    return f": top-3 {100 * runs.top3:.2f} %, published {100 * published.test_top3:.2f} %"


def _times(runs: Recorded, published: Published | None) -> dict[str, str]:
    """Write our times, and theirs of as many epochs; empty where their source gives none."""
    each = their_epoch(runs)
    where = f" ({published.hardware})" if published and published.hardware and each else ""
    rate = runs.trained / runs.epochs / each if each else 0.0
    return {
        "training": minutes(runs.seconds),
        "published training": f"{minutes(each * runs.epochs)}{where}" if each else "",
        "images/s": f"{runs.images_per_second:,.0f}",
        "published images/s": f"{rate:,.0f}" if each else "",
    }


def published_of(runs: Recorded) -> Published | None:
    """Return what was published beside a recipe of this package, of the same data."""
    known = runs.recipe in recipes.names() and "data.name" not in runs.changed
    return recipes.load(runs.recipe).published if known else None


def their_epoch(runs: Recorded) -> float | None:
    """Return the seconds of a published epoch; None where the source gives none."""
    if (published := published_of(runs)) is None:
        return None
    length = recipes.load(runs.recipe).train.epochs
    if length.unit != "epochs":
        return None
    return epoch_seconds(published, length.amount)


def verdict(runs: Recorded) -> str:
    """Say what runs make of the published number: beaten, met, not met; empty where there is none.

    Met is what falls short by no more than the recipe's tolerance, top-3 as well where it was
    published; beaten what lies above it with the whole interval.
    """
    published = published_of(runs)
    if published is None or published.test_accuracy is None:
        return ""
    met = None if runs.changed else max(_shortfalls(runs, published)) <= published.tolerance
    return word(met, runs.interval[0], published.test_accuracy)


def _shortfalls(runs: Recorded, published: Published) -> list[float]:
    pairs = [(published.test_accuracy, runs.accuracy), (published.test_top3, runs.top3 or 0.0)]
    return [theirs - ours for theirs, ours in pairs if theirs is not None]
