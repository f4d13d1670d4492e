"""What feeds a training: decoding, reading the cache, augmenting, and the wait that is left."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alexnet import recipe as recipes
from alexnet.benchmark.intake import by_rounds, intake_speed
from alexnet.benchmark.record import Row, Spread
from alexnet.benchmark.stream import stream_rows
from alexnet.data import shapes
from alexnet.data.loader import Source, generator
from alexnet.data.sources import default_root
from alexnet.errors import UsageError
from alexnet.recipe import Recipe
from alexnet.run.device import Device
from alexnet.run.log import Console
from alexnet.training import augmentation, measured
from alexnet.training.loop import fit

PHOTOGRAPH = (500, 375)  # pixels: ImageNet's most frequent width and height
BARE = "Pillow alone: decode"
STORED = 256  # side of the stored pictures of photographs
_CALLS_OF_A_ROUND = 4


def input_rows(
    recipe: Recipe,
    device: Device,
    *,
    photographs: Path | None = None,
    pictures: int = 512,
    rounds: int = 5,
    steps: int = 20,
    root: Path | None = None,
) -> list[Row]:
    """Measure all that stands before a step of a recipe.

    ``photographs``: a folder or a .tar to decode (None: made-up JPEG files); ``pictures``: how many
    of them, and how many the cache holds; ``rounds``: of augmenting a batch; ``steps``: of training.
    Raises ``UsageError`` for counts below 1.
    """
    if min(pictures, rounds, steps) < 1:
        raise UsageError(
            f"pictures, rounds and steps must be at least 1, got {pictures}, {rounds} and {steps}"
        )
    with tempfile.TemporaryDirectory() as folder:
        return [
            *decoding(photographs or _photographs(Path(folder) / "made-up", pictures), pictures),
            cache(root or default_root(), pictures),
            augmenting(recipe, rounds),
            waiting(recipe, device, Path(folder) / "run", steps, root),
        ]


def _photographs(folder: Path, count: int) -> Path:
    """Write JPEG files of two classes, drawn figures with grain, as large as a photograph."""
    some = shapes.draw(8, size=max(PHOTOGRAPH)).images[:, : PHOTOGRAPH[1]]
    for n in range(count):
        path = folder / f"class{n % 2}" / f"{n}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.roll(some[n % len(some)], 7 * n, 1)).save(path, quality=90)
    return folder


def decoding(path: Path, pictures: int) -> list[Row]:
    """Set taking photographs in, all of it, beside two bare loops of the same library.

    What its process takes to start stands apart from the rate at which pictures then follow.
    """
    found = intake_speed(path, size=STORED, pictures=pictures)

    def row(what: str, seconds: Sequence[float], beside: str, ratio: float | None) -> Row:
        return Row(what, "pictures/s a core", Spread.of(found.rates(seconds)), beside, ratio)

    what, fit = f"taking photographs in, to {STORED}x{STORED}", f"{BARE}, resize, crop"
    steady = row(what, found.steady, fit, by_rounds(found.fitted, found.steady))
    beside = {"ratio to decode alone": by_rounds(found.decoded, found.steady)}
    more = {"mean of files, kB": found.mean_bytes / 1e3, **beside}
    spent, all_ = by_rounds(found.start, found.whole), f"taking {found.pictures:,} photographs in"
    return [
        replace(steady, more=more, headline=True),
        row("the same, with its start", found.whole, fit, by_rounds(found.fitted, found.whole)),
        row(fit, found.fitted, BARE, by_rounds(found.decoded, found.fitted)),
        row(BARE, found.decoded, "", None),
        Row(
            "starting a process that decodes",
            "s of a processor",
            Spread.of(found.start),
            all_,
            spent,
        ),
    ]


def cache(folder: Path, pictures: int) -> Row:
    """Set reading stored pictures in random order beside what the disk gives of that (``stream``).

    Where it cannot be measured, as of a folder that lies in memory, the row says so.
    """
    try:
        return stream_rows(folder, pictures=pictures, size=STORED)[0]
    except UsageError as error:
        return Row("reading in random order", note=str(error), headline=True)


def augmenting(recipe: Recipe, rounds: int) -> Row:
    """Set a recipe's augmentation beside its preprocessing alone, on drawn pictures, on the CPU."""
    side = recipe.data.size or (STORED if recipe.input.size > shapes.SIZE else shapes.SIZE)
    batch = recipe.train.batch
    drawn = shapes.draw(batch, size=side)
    source = Source(drawn.images, drawn.labels, np.arange(batch))
    found = measured.statistics_of(recipe, source, None, Console(quiet=True))
    prepared = measured.preprocessing(recipe, side, found)
    noise = measured.noise(recipe.augment, prepared, found)
    pictures, indices = torch.from_numpy(drawn.images), torch.arange(batch)

    def augment() -> None:
        draw = generator(0, "bench")
        draws = augmentation.draw(recipe.augment, prepared, indices, 1, draw)
        augmentation.apply(recipe.augment, prepared, noise, pictures, draws)

    ours, bare = (_rates(work, batch, rounds) for work in (augment, lambda: prepared(pictures)))
    return Row(
        f"augmenting {side}x{side} as {recipe.name}",
        "pictures/s a core",
        ours,
        "preprocessing alone",
        ours.median / bare.median,
        headline=True,
    )


def _rates(work: Callable[[], object], count: int, rounds: int) -> Spread:
    """Return pictures a second of a processor's time, of all threads together."""
    work()
    rates = []
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(_CALLS_OF_A_ROUND):
            work()
        spent = max(time.process_time() - start, 1e-9)
        rates.append(_CALLS_OF_A_ROUND * count / spent)
    return Spread.of(rates)


def waiting(recipe: Recipe, device: Device, folder: Path, steps: int, root: Path | None) -> Row:
    """Train some steps of a recipe on its own data; which share of the time is spent waiting for it."""
    short = {"train.epochs": f"{steps} steps", "schedule.warmup": "0 epochs"}
    plan = recipes.override(recipe, short)
    speed = fit(plan, folder, device=device, root=root, console=Console(quiet=True)).record["speed"]
    waited = speed["waiting_share"] * speed["training_seconds"]
    return Row(
        f"waiting for pictures, in {steps} steps of {recipe.name}",
        "s",
        Spread.of([waited]),
        "the training",
        speed["waiting_share"],
        {"pictures/s": speed["images_per_second"]},
    )
