"""Several runs side by side: what they reached, and where their recipes differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alexnet import recipe as recipes
from alexnet.plain import differing
from alexnet.reporting.report.material import Material
from alexnet.reporting.report.page import Page
from alexnet.run.log import minutes

_TOLD = ("name", "summary", "source")  # and what was published: the runs are compared, not those


def compare(page: Page, runs: Sequence[Material]) -> None:
    """Write the chapter that comes first of several runs."""
    page.head(page.say["comparison"])
    page.table([_reached(run) for run in runs], page.say["scores_beside"])
    page.table(differences(runs), page.say["keys_beside"])


def _reached(run: Material) -> dict[str, str]:
    test, speed, verdict = run.record["test"], run.record["speed"], run.record["verdict"]
    low, high = test["interval"]
    top3 = test["top"].get("3")
    return {
        "run": run.result.folder.name,
        "recipe": run.recipe.name,
        "seed": str(run.record["seed"]),
        "epochs": str(len(run.result.history)),
        "top-1": f"{test['accuracy']:.2%}",
        "95 % interval": f"{low:.2%} to {high:.2%}",
        "top-3": "" if top3 is None else f"{top3:.2%}",
        "loss": f"{test['loss']:.4f}",
        "published": f"{verdict['published']:.2%}" if verdict else "",
        "training": minutes(speed["training_seconds"]),
        "images/s": f"{speed['images_per_second']:,.0f}",
        "hardware": run.record["environment"]["hardware"],
    }


def differences(runs: Sequence[Material]) -> list[dict[str, str]]:
    """Return a row for each recipe key that is not the same in all runs."""
    plans = [_settings(run) for run in runs]
    keys = sorted({key for plan in plans for key in differing(plans[0], plan)})
    return [
        {
            "key": key,
            **{_column(run, runs): _shown(p, key) for run, p in zip(runs, plans, strict=True)},
        }
        for key in keys
    ]


def _settings(run: Material) -> dict[str, Any]:
    every = dict(recipes.flat(recipes.to_tree(run.recipe)))
    apart = ("published.", "fault")
    return {k: v for k, v in every.items() if k not in _TOLD and not k.startswith(apart)}


def _column(run: Material, runs: Sequence[Material]) -> str:
    """Name a run by its folder, by the whole path where two folders have one name."""
    alike = [r for r in runs if r.result.folder.name == run.result.folder.name]
    return run.result.folder.name if len(alike) == 1 else str(run.result.folder)


def _shown(plan: dict[str, Any], key: str) -> str:
    return str(plan[key]) if key in plan else "-"
