"""What a study leaves: study.json, made from the records of its runs, and from nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet import recipe as recipes
from alexnet.run.files import write_text
from alexnet.run.stamp import commit, today
from alexnet.studies.cells import Cell, planned, views_of
from alexnet.studies.estimates import difference, mean
from alexnet.studies.plan import Line, Study
from alexnet.studies.running import finished

RECORD = "study.json"
Shares = dict[int, dict[str, float]]  # seed -> "1" -> share of pictures right, top-1


def record_of(
    study: Study,
    every: Sequence[Cell],
    *,
    command: str,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the record of a study as plain values; rows without a finished run have no figures."""
    done, trained = finished(every), study.trained(study.base_row)
    results = {(cell.row, cell.seed): cell.result() for cell in done}
    return {
        "study": study.name,
        "summary": study.summary,
        "source": study.source,
        "command": command,
        "commit": commit(),
        "date": today(),
        "seconds": sum(r["speed"]["training_seconds"] for r in results.values()),
        "environment": next((r["environment"] for r in results.values()), None),
        "recipe": recipes.to_tree(planned(study, trained, study.seeds[0], changes)),
        "set": _settings(study.set),
        "changes": _settings(changes or {}),
        "seeds": sorted({cell.seed for cell in every}),
        "missing": len(every) - len(done),
        "grid": study.grid.model_dump() if study.grid else None,
        "rows": _rows(study, every, results),
        "cells": [_cell(cell, results[cell.row, cell.seed]) for cell in done],
    }


def _rows(
    study: Study, every: Sequence[Cell], results: Mapping[tuple[str, int], dict[str, Any]]
) -> list[dict[str, Any]]:
    found = []
    for row in study.row:
        shares, pictures = _shares(study, row, every, results)
        base = study.compared_with(row)
        other = _shares(study, base, every, results)[0] if base else {}
        found.append({**_about(study, row), "top": _figures(shares, other, pictures)})
    return found


def _about(study: Study, row: Line) -> dict[str, Any]:
    return {
        "name": row.name,
        "title": row.title or row.name,
        "recipe": row.recipe or study.recipe,
        "set": _settings(row.set),
        "base": base.name if (base := study.compared_with(row)) else None,
        "of": row.of,
        "views": row.views or study.views,
        "at": list(row.at) if row.at else None,
        "published": row.published.model_dump() if row.published else None,
    }


def _settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by dotted key, as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(recipes.flat(tree))))
    return plain


def _shares(
    study: Study,
    row: Line,
    every: Sequence[Cell],
    results: Mapping[tuple[str, int], dict[str, Any]],
) -> tuple[Shares, int]:
    """Return what a row's runs got right, by seed, and of how many pictures."""
    own = [c for c in every if c.row == study.trained(row).name and (c.row, c.seed) in results]
    scored = {
        cell.seed: results[cell.row, cell.seed]["test_views"][views_of(study, row, cell.recipe)]
        for cell in own
    }
    return {seed: s["top"] for seed, s in scored.items()}, max(
        (s["count"] for s in scored.values()), default=0
    )


def _figures(shares: Shares, base: Shares, pictures: int) -> dict[str, Any]:
    """Return mean and difference to the base row for each k of top-k."""
    found: dict[str, Any] = {}
    for k in next(iter(shares.values()), {}):
        own, other = (
            {s: tops[k] for s, tops in each.items() if k in tops} for each in (shares, base)
        )
        gap = difference(own, other, pictures)
        found[k] = {
            **_plain(mean(own, pictures)),
            "by_seed": {str(seed): share for seed, share in own.items()},
            "difference": _plain(gap) if gap else None,
        }
    return found


def _plain(estimate: Any) -> dict[str, Any]:
    return {**asdict(estimate), "interval": list(estimate.interval)}


def _cell(cell: Cell, result: dict[str, Any]) -> dict[str, Any]:
    """Return what a reader wants to know of one run; the whole of it is in its own folder."""
    speed, environment = result["speed"], result["environment"]
    return {
        "row": cell.row,
        "seed": cell.seed,
        "test_views": result["test_views"],
        "training_seconds": speed["training_seconds"],
        "training_multiply_adds": speed["training_multiply_adds"],
        "share_of_matrix_rate": speed["share_of_matrix_rate"],
        "commit": result["commit"],
        "date": result["date"],
        "hardware": environment["hardware"],
        "precision": environment["precision"],
        "torch": environment["packages"].get("torch", ""),
        "changed": result["changed"],
    }


def write(out: Path, record: dict[str, Any], text: str) -> tuple[Path, Path]:
    """Write study.json, and ``text``, the same for people, as study.md; returns both paths."""
    paths = out / RECORD, out / "study.md"
    write_text(paths[0], json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    write_text(paths[1], text + "\n")
    return paths
