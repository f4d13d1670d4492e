"""The chapters about one run; each takes the page and the run and writes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from alexnet import recipe as recipes
from alexnet.data.card import card
from alexnet.data.photos import report_text
from alexnet.models import wiring
from alexnet.reporting import cards, embedding, recipe_card
from alexnet.reporting.confusion import plot_confusion
from alexnet.reporting.curves import plot_curves
from alexnet.reporting.network_picture import plot_network
from alexnet.reporting.published import faults_text, scored_text
from alexnet.reporting.report.material import Material, drawn
from alexnet.reporting.report.page import Page
from alexnet.reporting.run_pictures import published
from alexnet.reporting.samples import draw
from alexnet.reporting.scatter import plot_scatter
from alexnet.reporting.text import MOST_IN_WORDS, confusion_text
from alexnet.reporting.verdict import verdict_text
from alexnet.run.log import minutes

SAMPLES = 24


def result(page: Page, run: Material) -> None:
    """Write what the run reached, what it took, and its verdict."""
    page.head(page.say["result"])
    page.facts(list(_figures(run.record)), page.say["figures"])
    told = [*scored_text(run.record.get("scored", {}))]
    if run.record["verdict"]:
        speed, epochs = run.record["speed"], len(run.result.history)
        told.append(verdict_text(run.record["verdict"], speed, epochs, page.say))
    for line in told:
        text = line.strip()
        page.line(f"{text[:1].upper()}{text[1:]}.")


def _figures(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    test, speed = found["test"], found["speed"]
    low, high = test["interval"]
    yield "test pictures", f"{test['count']:,}"
    for k, share in test["top"].items():
        yield f"top-{k}", f"{share:.2%}"
    yield "95 % interval of top-1", f"{low:.2%} to {high:.2%}"
    yield "loss", f"{test['loss']:.4f}"
    if "balanced_accuracy" in test:
        yield "balanced accuracy", f"{test['balanced_accuracy']:.2%}"
        yield "macro-F1", f"{test['macro_f1']:.4f}"
    yield "calibration error", f"{test['calibration_error']:.2%}"
    yield "views", test["views"]
    yield "training", minutes(speed["training_seconds"])
    yield "pictures trained on", f"{speed['pictures']:,}"
    yield "images/s", f"{speed['images_per_second']:,.0f}"
    yield "multiply-adds", f"{speed['training_multiply_adds'] / 1e12:,.2f} T"
    yield "share of the matrix rate", f"{speed['share_of_matrix_rate']:.2f}"
    yield "peak memory", f"{speed['peak_memory_bytes'] / 2**20:,.0f} MiB"
    if "note" in found:
        yield "note", found["note"]


def data(page: Page, run: Material) -> None:
    """Write the card of the data set, and show pictures that were trained on."""
    page.head(page.say["data"])
    if run.dataset is None:
        page.line(page.say["no_data"].format(run.missing))
        return
    if run.fingerprint in page.seen:
        page.line(page.say["as_before"])
        if told := [*report_text.crossing((run.intake or {}).get("in_two_splits") or ())]:
            page.block("\n".join(told))  # of the run's own cut, not of the data
        return
    page.seen.add(run.fingerprint)
    found = card(run.dataset)
    parts = [_part(name, part) for name, part in found["parts"].items()]
    page.table(parts, page.say["parts"].format(found["name"]))
    page.table(_splits(run), page.say["splits"])
    page.line(f"{found['source']} (sha256 {found['fingerprint']})")
    if "intake" in found:
        page.block(report_text.render(run.intake or found["intake"]))
    elif len(found["classes"]) <= MOST_IN_WORDS:
        page.table(_counts(found), page.say["per_class"])
    shown = run.looked_at("train", SAMPLES, said=False)
    page.figure(drawn(lambda path: draw(shown, path)), page.say["training_samples"])


def _splits(run: Material) -> list[dict[str, str]]:
    """List what the run took for what, by the names that its recipe has for it."""
    plan = run.recipe.data
    named = {"train": plan.train, "validation": plan.validation, "test": plan.test}
    return [
        {"for": role, "pictures": f"{count:,}", "split": named[role]}
        for role, count in run.split_sizes.items()
    ]


def _part(name: str, part: dict[str, Any]) -> dict[str, str]:
    return {
        "part": name,
        "pictures": f"{part['count']:,}",
        "height, width, RGB": " x ".join(map(str, part["shape"])),
        "type": part["dtype"],
        "mean, 0..1": "  ".join(f"{x:.4f}" for x in part["mean"]),
        "deviation, 0..1": "  ".join(f"{x:.4f}" for x in part["std"]),
    }


def _counts(found: dict[str, Any]) -> list[dict[str, str]]:
    return [
        {
            "class": label,
            **{name: f"{part['per_class'][label]:,}" for name, part in found["parts"].items()},
        }
        for label in found["classes"]
    ]


def network(page: Page, run: Material) -> None:
    """Draw the network and list its layers."""
    page.head(page.say["network"])
    built, size = run.model.module.network, run.model.preprocessing.size
    page.line(f"{built.name}: {built.summary}.")
    picture = drawn(lambda path: plot_network(built, path, size))
    page.figure(picture, page.say["drawing"].format(built.name))
    found = cards.network_card(built, size)
    again = wiring.held(built.rows)
    shown = cards.with_activations(found["layers"], again)
    rows = [_layer(layer, wired=bool(again)) for layer in shown]
    page.table(rows, page.say["layers"].format(built.name, size, size))
    page.block(cards.totals_text(found))


def _layer(layer: dict[str, Any], *, wired: bool) -> dict[str, str]:
    return {
        "layer": layer["name"],
        "type": layer["type"],
        "output": " x ".join(map(str, layer["output"])),
        "parameters": f"{layer['parameters']:,}" if layer["parameters"] else "",
        "multiply-adds": f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
        "receptive field": str(layer["receptive_field"] or ""),
        **({"reads": ", ".join(layer["reads"])} if wired else {}),
    }


def recipe(page: Page, run: Material) -> None:
    """Print every key, and how the published program's faults were dealt with."""
    page.head(page.say["recipe_head"])
    plain = run.recipe.model_copy(update={"fault": ()})
    page.line(f"{plain.name}: {plain.summary}.")
    if run.record["changed"]:
        changes = ", ".join(f"{key} = {value}" for key, value in run.record["changed"].items())
        page.line(page.say["changed"].format(changes))
    text = recipes.to_toml(plain).replace("fault = []\n", "").strip()
    page.block(recipe_card.short(text), page.say["settings"], columns=True)
    if told := faults_text(recipes.to_tree(run.recipe)):
        page.head(page.say["faults"], 1)
        first, *lines = told.splitlines()
        page.line(first)
        page.points([line.strip() for line in lines])


def training(page: Page, run: Material) -> None:
    """Draw the curves, the published ones beside them, and list the epochs."""
    page.head(page.say["training"])
    theirs, history = published(run.recipe), run.result.history
    if not run.result.solved:
        curves = drawn(lambda p: plot_curves(history, p, published=theirs, title=run.recipe.name))
        page.figure(curves, page.say["curves"])
    told = theirs.get("val_accuracy", ())
    page.table([_epoch(line, told) for line in history], page.say["epochs"])


def _epoch(line: dict[str, Any], told: Sequence[float]) -> dict[str, str]:
    row = {"epoch": str(line["epoch"]), "training": minutes(line["seconds"])}
    for key in ("train", "left_out", "val"):
        for figure in (f"{key}_loss", f"{key}_accuracy"):
            if figure in line:
                row[figure.replace("_", " ")] = f"{line[figure]:.4f}"
    if len(told) >= line["epoch"]:
        row["published val accuracy"] = f"{told[line['epoch'] - 1]:.4f}"
    solved = "left_out_loss" in line
    return row if solved else {**row, "rate": f"{line['learning_rate']:.3g}"}


def scores(page: Page, run: Material) -> None:
    """Show the confusion matrix, as a picture and in integers, and how each class does."""
    page.head(page.say["scores"])
    matrix, names = np.array(run.record["test"]["confusion"]), run.model.classes
    views = run.record.get("test_views", {})
    page.table([_view(name, found) for name, found in views.items()], page.say["views"])
    page.table(_recall(matrix, names), page.say["recall"])
    picture = drawn(lambda path: plot_confusion(matrix, names, path, title=run.recipe.name))
    page.figure(picture, page.say["confusion"], "narrow")
    if len(names) <= MOST_IN_WORDS:
        page.block(confusion_text(matrix, names), page.say["confusion_numbers"])


def _view(name: str, found: dict[str, Any]) -> dict[str, str]:
    tops = {f"top-{k}": f"{share:.2%}" for k, share in found["top"].items()}
    return {"views": name, **tops, "loss": f"{found['loss']:.4f}"}


def _recall(matrix: np.ndarray, names: Sequence[str]) -> list[dict[str, str]]:
    """Return right answers by class, and how many of the answers of that name are right."""
    right, true, said = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    return [
        {
            "class": name,
            "pictures": f"{true[i]:,}",
            "right": f"{right[i]:,}",
            "recall": f"{right[i] / true[i]:.2%}" if true[i] else "-",
            "precision": f"{right[i] / said[i]:.2%}" if said[i] else "-",
        }
        for i, name in enumerate(names)
    ]


def predictions(page: Page, run: Material) -> None:
    """Show test pictures with what the model says, right or wrong as chance has it."""
    if run.dataset is None:
        return
    page.head(page.say["predictions"])
    shown = run.looked_at("test", SAMPLES, said=True)
    page.figure(drawn(lambda path: draw(shown, path)), page.say["test_samples"])
    page.figure(drawn(lambda path: draw(shown[:1], path)), page.say["one"], "narrow")


def features(page: Page, space: embedding.View) -> None:
    """Show where test pictures lie by the network's last features, and how far classes lie apart."""
    found, within = space.projection, space.space
    points = found.points, within.labels, within.classes
    picture = drawn(
        lambda path: plot_scatter(*points, path, shares=found.shares, title=space.title)
    )
    page.figure(picture, page.say["scatter"].format(within.layer, f"{len(within):,}"))
    for line in embedding.text(space, page.say).splitlines():
        page.line(line)


def environment(page: Page, run: Material, packages: dict[str, str]) -> None:
    """List what the run was measured on, and the ``packages`` of the machine that writes."""
    page.head(page.say["environment"])
    found = {**run.record["environment"]}
    versions = found.pop("packages", {})
    page.facts(
        [(key, str(value)) for key, value in {**found, **versions}.items()], page.say["run_on"]
    )
    pinned = "\n".join(f"{name}=={version}" for name, version in packages.items())
    page.block(pinned, page.say["packages"], columns=True)


def repeat(page: Page, run: Material, command: str) -> None:
    """Say how to get the same again: the run by its command, this report by ``command``."""
    page.head(page.say["repeat"])
    found = run.record
    on_gpu = str(found["environment"].get("device", "")).startswith("cuda")
    bits = page.say["repeat_gpu" if on_gpu else "repeat_cpu"]
    page.line(page.say["repeat_text"].format(found["commit"] or "-", found["seed"], bits))
    page.block(found["command"] or f"alexnet train {run.recipe.name}")
    page.line(page.say["repeat_data"].format(run.fingerprint))
    if command:
        page.block(command, page.say["repeat_report"])


BEFORE: tuple[Callable[[Page, Material], None], ...] = (
    *(result, data, network, recipe, training, scores, predictions),
)
