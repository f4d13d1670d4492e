"""Networks, recipes, data sets and runs in words and tables. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet import built_in
from alexnet.errors import CheckpointError, UnknownName
from alexnet.models import rows, table, wiring, zoo
from alexnet.models.table import Network, Traced
from alexnet.reporting.layer_text import arithmetic, settings, settings_text, sums_text
from alexnet.reporting.text import figure, machine, summary_table
from alexnet.run.files import read_json
from alexnet.run.log import METRICS, RECIPE, RESULT, minutes, read_metrics, resume_command


def network_card(network: Network, size: int | None = None) -> dict[str, Any]:
    """Return a network's table and totals as plain values. Raises ``TooSmall``."""
    steps = table.trace(network, size)
    total = table.totals(steps)
    return {
        "name": network.name,
        "summary": network.summary,
        "source": network.source,
        "size": network.size if size is None else size,
        "smallest_size": table.smallest_size(network),
        "classes": network.classes,
        "init": network.init,
        "layers": [_layer(step) for step in steps],
        "parameters": total.parameters,
        "trainable": total.trainable,
        "non_trainable": total.buffers,
        "multiply_adds": total.multiply_adds,
        "training_multiply_adds": total.training_multiply_adds,
    }


def _layer(step: Traced) -> dict[str, Any]:
    return {
        "name": step.row.name,
        "type": kind_of(step.row),
        "output": list(step.outputs),
        "parameters": step.parameters + step.buffers,
        "multiply_adds": step.multiply_adds,
        "receptive_field": step.receptive_field,
        "settings": settings(step.row),
        "arithmetic": arithmetic(step),
        "reads": [name or "picture" for name in step.reads],
    }


def kind_of(row: rows.Row) -> str:
    """Return what a Keras user would call a row, and of how many towers it is if of several."""
    towers = table.towers_of(row)
    return f"{row.kind}, {towers} towers" if towers > 1 else row.kind


def network_text(network: Network, card: dict[str, Any], *, sums: bool = False) -> str:
    """Write the table a Keras user knows, with multiply-adds and receptive field, and the settings.

    A ReLU is named with the layer that it follows, unless a later row reads one of the two: there each
    has a line. Such a network has a column of what each layer is connected to. ``card``: that of
    ``network_card``, whose size counts. ``sums``: also the arithmetic of each size.
    """
    again = wiring.held(network.rows)
    rows = [
        {
            "Layer (type)": f"{layer['name']} ({layer['type']})",
            "Output shape": f"(None, {', '.join(map(str, _keras_order(layer['output'])))})",
            "Param #": f"{layer['parameters']:,}",
            "Multiply-adds": f"{layer['multiply_adds']:,}" if layer["multiply_adds"] else "",
            "Receptive field": layer["receptive_field"],
            **({"Connected to": ", ".join(layer["reads"])} if again else {}),
        }
        for layer in with_activations(card["layers"], again)
    ]
    parts = [f"{card['name']}: {card['summary']}", summary_table(rows), settings_text(network)]
    parts.append(f"{totals_text(card)}\nInitialised: {card['init']}\nSource: {card['source']}")
    return "\n\n".join([*parts, sums_text(network, card["size"])] if sums else parts)


def with_activations(
    layers: Sequence[dict[str, Any]], again: frozenset[str]
) -> list[dict[str, Any]]:
    """Name each ReLU or GELU of a card's layers with the layer that it follows, unless it is read ``again``."""
    shown: list[dict[str, Any]] = []
    for layer in layers:
        follows = layer["type"] in ("ReLU", "GELU") and not again & {layer["name"], *layer["reads"]}
        if follows and shown:
            shown[-1] = {**shown[-1], "type": f"{shown[-1]['type']}, {layer['type']}"}
        else:
            shown.append(layer)
    return shown


def _keras_order(shape: Sequence[int]) -> Sequence[int]:
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def totals_text(card: dict[str, Any]) -> str:
    """Write what a network holds and computes, and the smallest picture it takes."""
    lines = [
        (f"{label} params: {card[key]:,}", f"({megabytes(card[key])})")
        for label, key in (
            ("Total", "parameters"),
            ("Trainable", "trainable"),
            ("Non-trainable", "non_trainable"),
        )
    ]
    text = "\n".join(" ".join(line) for line in lines)
    return (
        f"{text}\nMultiply-adds: {card['multiply_adds']:,} a picture forward, "
        f"{card['training_multiply_adds']:,} in training\nSmallest picture: {card['smallest_size']}x{card['smallest_size']}"
    )


def megabytes(values: int) -> str:
    """Write the size of float32 values as Keras does: 222.49 MB, 4.75 KB (units of 1024)."""
    size, unit = values * 4 / 1024, "KB"
    if size >= 1024:
        size, unit = size / 1024, "MB"
    return f"{size:.2f} {unit}"


@dataclass(frozen=True)
class Card:
    """One thing to show: as text for a person, as plain values for a program."""

    text: str
    values: dict[str, Any]


def show(
    name: str,
    *,
    size: int | None = None,
    sums: bool = False,
    drawing: bool = False,
    root: Path | None = None,
) -> Card:
    """Return the card of a run's folder, a network, a recipe (both, if they share a name), a data set.

    ``sums`` adds a network's arithmetic, ``drawing`` its drawing in plain text. Raises
    ``UnknownName`` with everything that could have been meant.
    """
    drawn = ""  # above a recipe, which is long
    if drawing:
        from alexnet.reporting.drawing import draw, network_of

        drawn = f"\n\n{draw(*network_of(name, size))}"
    if (Path(name) / RECIPE).is_file():
        return run_card(Path(name))
    cards = []
    if name in zoo.NETWORKS:
        network = zoo.network(name)
        values = network_card(network, size)
        cards.append(Card(network_text(network, values, sums=sums) + drawn, values))
    if name in built_in.names() or name.endswith(".toml"):
        cards.append(_recipe_card(name, size, drawn, sums=sums, table_too=not cards))
    if not cards:
        return _data_card(name, size, root)
    return Card(
        "\n\n".join(c.text for c in cards), {k: v for c in cards for k, v in c.values.items()}
    )


def _recipe_card(name: str, size: int | None, drawn: str, *, sums: bool, table_too: bool) -> Card:
    from alexnet.reporting import recipe_card

    tree = recipe_card.tree(name)
    if not table_too:
        return Card(recipe_card.text(tree), {"recipe": tree})
    network, side = recipe_card.network_of(tree), tree["input"]["size"] if size is None else size
    values = recipe_card.trained(network_card(network, side), network, tree["model"]["frozen"])
    text = network_text(network, values, sums=sums)
    if tree["model"]["kernel"]:
        text += "\nIts head keeps a vector of every training picture; the table is of one."
    return Card(f"{text}{drawn}\n\n{recipe_card.text(tree)}", {**values, "recipe": tree})


def _data_card(name: str, size: int | None, root: Path | None) -> Card:
    from alexnet.data import arrays
    from alexnet.data.card import card, render  # numpy, which the other cards can do without
    from alexnet.data.sources import DATASETS, open_dataset

    if name in DATASETS or arrays.is_kept(Path(name)):
        values = card(open_dataset(name, root=root, size=size))
        return Card(render(values), values)
    if Path(name).is_dir():
        return run_card(Path(name))
    known = {*zoo.NETWORKS, *built_in.names(), *DATASETS}
    raise UnknownName("network, recipe, data set or run", name, known)


def beside(first: str, second: str) -> Card:
    """Return two networks side by side. Raises ``UnknownName``."""
    from alexnet.reporting.compare import compare

    text, values = compare(zoo.network(first), zoo.network(second))
    return Card(text, values)


def run_card(folder: Path) -> Card:
    """Return what a run reached, or how far it is. Raises ``CheckpointError`` for another folder."""
    history = read_metrics(folder / METRICS)
    if (folder / RESULT).is_file():
        record = read_json(folder / RESULT)
        return Card(result_text(folder, record), {**record, "history": history})
    if not (folder / RECIPE).is_file():
        raise CheckpointError(
            f"{folder} holds no run: it has no {RECIPE}; what pictures are in a folder is said by "
            f"`alexnet data {folder}`"
        )
    rows = [{k: figure(v) for k, v in line.items()} for line in history]
    text = f"{folder} is not finished; `{resume_command(folder)}` goes on with it"
    table_ = summary_table(rows) if rows else "no epoch is finished yet"
    return Card(f"{table_}\n\n{text}", {"history": history})


def result_text(folder: Path, record: dict[str, Any]) -> str:
    """Write a finished run's figures for a terminal."""
    from alexnet.reporting.published import scored_text
    from alexnet.reporting.verdict import verdict_text
    from alexnet.run.memory import record_text

    test, speed, verdict = record["test"], record["speed"], record["verdict"]
    low, high = test["interval"]
    others = "".join(f", top-{k} {v:.2%}" for k, v in test["top"].items() if str(k) != "1")
    lines = [
        f"{record['recipe']}, seed {record['seed']}: {test['accuracy']:.2%} of {test['count']:,} test "
        f"pictures (95 % interval {low:.2%} to {high:.2%}){others}, loss {test['loss']:.4f}",
        f"  training {minutes(speed['training_seconds'])}, {speed['images_per_second']:.0f} images/s, "
        f"{speed['training_multiply_adds'] / 1e12:.1f} T multiply-adds, "
        f"{speed['share_of_matrix_rate']:.2f} of the {record['environment']['precision']} matrix rate "
        f"({speed['matrix_rate_flops'] / 1e12:.2f} TFLOP/s), "
        f"peak memory {speed['peak_memory_bytes'] / 2**20:.0f} MiB{_of_ranks(speed)}",
        f"  on {record['environment']['hardware']}, torch {record['environment']['packages']['torch']}",
    ]
    lines += [f"  trained on {machine(each)}" for each in record.get("machines", ())]
    if "memory" in record:  # runs of before 26 November 2026 have it not
        lines.append(record_text(record["memory"]))
    lines += scored_text(record.get("scored", {}))
    lines += _balance_text(test) + _views_text(record.get("test_views", {}), test["views"])
    if verdict:
        lines.append(f"  {verdict_text(verdict, speed, len(record.get('history', [])))}")
    if "note" in record:
        lines.append(f"  note: {record['note']}")
    if record["changed"]:
        changes = ", ".join(f"{key} = {value}" for key, value in record["changed"].items())
        lines.append(f"  changed from the recipe of that name: {changes}")
    return "\n".join([*lines, f"  in {folder}"])


def _balance_text(test: dict[str, Any]) -> list[str]:
    """Write what rare classes count in as much as frequent ones; runs of before 26 November 2026 lack it."""
    if "balanced_accuracy" not in test:
        return []
    return [
        f"  balanced accuracy {test['balanced_accuracy']:.2%}, macro-F1 {test['macro_f1']:.4f}, "
        f"views {test['views']}"
    ]


def _views_text(found: dict[str, Any], own: str) -> list[str]:
    others = {views: scores for views, scores in found.items() if views != own}
    tops = {v: [f"top-{k} {share:.2%}" for k, share in s["top"].items()] for v, s in others.items()}
    return [
        f"  views {views}: {', '.join(tops[views])}, loss {scores['loss']:.4f}"
        for views, scores in others.items()
    ]


def _of_ranks(speed: dict[str, Any]) -> str:
    """Write what records from before read-ahead and several processes do not hold."""
    waited = f", {speed['waiting_share']:.1%} waiting for data" if "waiting_share" in speed else ""
    many = speed.get("ranks", 1)
    return waited + (f", {many} processes" if many > 1 else "")
