"""Copies of pictures, augmented once for frozen rows: their features, their turns, their folders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import HEAD, KILLED, dies, resume, trace, train

from alexnet import recipe as recipes
from alexnet.data.augment import in_turn
from alexnet.data.loader import generator, read_portion
from alexnet.errors import RecipeError
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import augmentation, features, loop
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
COPIES = HEAD | {
    "augment.flip": "random",
    "augment.area": [0.3, 1.0],
    "augment.copies": 3,
    "evaluation.views": "flip",
}


def plan(weights, **changes):
    return recipes.override(
        recipes.load("cifar10-quick"), COPIES | {"model.weights": str(weights)} | changes
    )


def staged(root, weights, **changes):
    return set_up(plan(weights, **changes), CPU, root, HUSH)


def folders(root, part):
    return {folder.name for folder in (root / "features").glob(f"shapes-{part}-*")}


@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_copy_has_its_turn(count):
    indices = torch.arange(1000)
    turns = np.stack([in_turn(indices, epoch, count).numpy() for epoch in range(count)])
    assert (np.sort(turns, 0) == np.arange(count)[:, None]).all()
    shares = np.bincount(turns[0], minlength=count) / 1000
    assert shares.min() > 0.7 / count, "within an epoch all copies are seen"


def test_features_are_those_of_augmented_pictures(root, weights):
    stage = staged(root, weights)
    source = set_up(plan(weights, **{"augment.copies": 0}), CPU, root, HUSH).train
    assert not features.hold(source), "an area is drawn anew in every step"
    pictures, kept = (s.read(np.arange(40), CPU.torch) for s in (source, stage.train))
    assert kept.pictures.shape[:2] == (40, 3)
    assert torch.equal(kept.labels, pictures.labels)
    stage.model.eval()
    for copy in range(3):
        draws = augmentation.draw(
            stage.recipe.augment,
            stage.preprocessing,
            pictures.indices,
            copy,
            generator(0, "copies", copy, 0),
        )
        x = augmentation.apply(
            stage.recipe.augment, stage.preprocessing, None, pictures.pictures, draws
        )
        with torch.inference_mode():
            expected = stage.model.activations(x, ["flatten"])["flatten"]
        torch.testing.assert_close(kept.pictures[:, copy], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(kept.pictures[:, 0], kept.pictures[:, 1], atol=1e-2)


def test_a_step_takes_the_copy_of_its_epoch(root, weights):
    stage = staged(root, weights)
    batch = read_portion(stage.train, np.arange(7, 17), 0, 1, CPU.torch)
    for epoch in (0, 1, 5):
        step = epoch * stage.steps_per_epoch + 2
        seen = loop.prepare(stage, batch, generator(0, "augment", step), step)
        for row, (index, x) in enumerate(zip(batch.indices.tolist(), seen, strict=True)):
            copy = (index * 2654435761 // 65536 + epoch) % 3
            assert torch.equal(x, batch.pictures[row, copy])


def test_what_is_scored_is_not_augmented(root, weights):
    staged(root, weights, **{"augment.copies": 0, "augment.area": [1.0, 1.0]})
    before = {part: folders(root, part) for part in ("validation", "test", "train")}
    stage = staged(root, weights)
    assert features.hold(stage.test)
    assert {part: folders(root, part) for part in ("validation", "test")} == {
        part: before[part] for part in ("validation", "test")
    }
    assert len(folders(root, "train") - before["train"]) == 1


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ({"train.seed": 1}, True),
        ({"augment.area": [0.4, 1.0]}, True),
        ({"augment.copies": 2}, True),
        ({"augment.colour": 0.1}, True),
        ({"augment.mixup": 0.4, "optim.lr": 0.1, "model.head": []}, False),
    ],
    ids=["seed", "area", "count", "colour", "mixup and head"],
)
def test_copies_are_used_again_where_nothing_of_them_changes(root, weights, change, again):
    staged(root, weights)
    before = folders(root, "train")
    staged(root, weights, **change)
    assert len(folders(root, "train") - before) == again


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.frozen": []}, "needs model.frozen"),
        ({"train.sides": [16, 32]}, "neither train.sides"),
        ({"augment.colour": 0.1, "augment.colour_until": "1 epoch"}, "colour_until"),
        ({"augment.copies": -1}, "copies"),
    ],
    ids=["nothing frozen", "sides", "colour", "negative"],
)
def test_a_recipe_whose_copies_cannot_stay_is_refused(weights, change, message):
    with pytest.raises(RecipeError, match=message):
        plan(weights, **change)


def test_frozen_rows_that_do_not_begin_the_network_are_refused(root, weights):
    with pytest.raises(RecipeError, match=r"augment\.copies = 3 .* freeze its norms too"):
        staged(root, weights, **{"model.frozen": ["conv*"]})
    assert not (root / "features").exists()


def test_killed_and_resumed_is_never_killed(tmp_path, root, weights):
    override = COPIES | {"model.weights": str(weights), "checkpoint.every": "3 steps"}
    override |= {"augment.mixup": 0.4}
    assert train(tmp_path / "whole", root, override) == 0
    death = dies("training.loop.train_step", 6)
    assert train(tmp_path / "run", root, override, death) == KILLED
    assert resume(tmp_path / "run", root) == 0
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")
