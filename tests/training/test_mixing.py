"""mixup against its formulas in NumPy, in a step of a run, from features, and over processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import TINY
from torch.nn import functional as F

from alexnet import recipe as recipes
from alexnet.data.loader import generator, read_portion
from alexnet.errors import RecipeError
from alexnet.models import zoo
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.run.ranks import Ranks
from alexnet.training import features, lines, loop, losses, mixing, parallel
from alexnet.training.saving import Progress
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
MIXED = TINY | {
    "data.train": "train[:40]",
    "train.batch": 9,
    "train.label_smoothing": 0.1,
    "augment.mixup": 0.4,
    "model.dropout": 0.0,
}


def plan(**override):
    keys = {key.replace("__", "."): value for key, value in override.items()}
    return recipes.override(recipes.load("cifar10-quick"), MIXED | keys)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_what_is_kept_is_the_larger_share_of_a_beta_distribution(alpha):
    """Its squared distance from one half is the variance of Beta(alpha, alpha)."""
    drawn = np.array([mixing.share(alpha, 3, step) for step in range(4000)])
    assert drawn.min() >= 0.5
    assert drawn.max() <= 1.0
    squares = (drawn - 0.5) ** 2
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(squares.mean() - variance) < 4 * squares.std() / np.sqrt(len(squares))


def test_a_share_is_a_function_of_seed_and_step():
    assert mixing.share(0.4, 0, 7) == mixing.share(0.4, 0, 7)
    assert len({mixing.share(0.4, seed, step) for seed in (0, 1) for step in range(5)}) == 10
    assert mixing.share(0.0, 0, 7) == 1.0
    assert all(0.5 <= mixing.share(alpha, 0, 1) <= 1 for alpha in (1e-300, 1e300))


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_neighbours_are_mixed_with_each_other(count):
    draw = np.random.default_rng(count)
    x = draw.normal(size=(count, 3, 2, 5)).astype(np.float32)
    expected = x.copy()
    for first in range(0, count - 1, 2):
        expected[first] = 0.7 * x[first] + 0.3 * x[first + 1]
        expected[first + 1] = 0.7 * x[first + 1] + 0.3 * x[first]
    given = torch.from_numpy(x.copy()).contiguous(memory_format=torch.channels_last)
    found = mixing.mixed(given, 0.7)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-6)
    assert found.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(given.numpy(), x)
    assert mixing.mixed(given, 1.0) is given


def soft(labels, classes, share, smoothing):
    """What a batch is to be, as probabilities ``(N, classes)``."""
    own = np.eye(classes)[labels]
    other = own.copy()
    even = len(labels) // 2 * 2
    other[:even:2], other[1:even:2] = own[1:even:2], own[:even:2]
    mixed = share * own + (1 - share) * other
    return (1 - smoothing) * mixed + smoothing / classes


def test_the_loss_is_that_of_the_mixed_labels():
    draw = np.random.default_rng(0)
    logits, labels = draw.normal(size=(7, 4)), draw.integers(0, 4, 7)
    shifted = logits - logits.max(1, keepdims=True)
    p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    expected = -(soft(labels, 4, 0.8, 0.1) * p).sum(1).mean()
    given = (torch.from_numpy(logits), torch.from_numpy(labels), 0.1)
    found = losses.batch_loss(parallel.Parallel(), *given, None, 7, 0.8)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_each_of_two_labels_has_the_weight_of_its_class():
    logits = torch.tensor([[2.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    labels, weights = torch.tensor([0, 1]), torch.tensor([1.0, 3.0], dtype=torch.float64)
    p = logits.log_softmax(1)
    expected = -(0.9 * 1 * p[0, 0] + 0.1 * 3 * p[0, 1] + 0.9 * 3 * p[1, 1] + 0.1 * 1 * p[1, 0]) / 2
    found = losses.batch_loss(parallel.Parallel(), logits, labels, 0.0, weights, 2, 0.9)
    torch.testing.assert_close(found, expected)


def expected_of(stage, batch, step):
    """Return loss and right answers of a step, from what it sees before anything is mixed."""
    draw = generator(stage.recipe.train.seed, "augment", step)
    x = loop.prepare(stage, batch, draw, step)
    kept = mixing.share(stage.recipe.augment.mixup, stage.recipe.train.seed, step)
    assert 0.5 < kept < 1
    swap = [1, 0, 3, 2, 5, 4, 7, 6, 8]
    logits = stage.forward(kept * x + (1 - kept) * x[swap]).detach()
    target = torch.from_numpy(soft(batch.labels.numpy(), 10, kept, 0.1)).float()
    return F.cross_entropy(logits, target), (logits.argmax(1) == batch.labels).sum()


def test_a_step_trains_on_mixtures(data_root):
    stage = set_up(plan(), CPU, data_root, HUSH)
    batch = read_portion(stage.train, np.arange(9), 0, 1, CPU.torch)
    expected, right = expected_of(stage, batch, 5)
    found, counted = loop.train_step(stage, batch, 5)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert counted == right, "against each picture's own label, the heavier one"


def test_a_head_trains_on_mixed_features(root):
    frozen = {"model__frozen": ["conv*", "norm*"], "model__head": [12], "augment__crop": 0}
    stage = set_up(plan(**frozen, augment__flip="random"), CPU, root, HUSH)
    assert features.hold(stage.train)
    assert stage.first > 0
    batch = read_portion(stage.train, np.arange(9), 0, 1, CPU.torch)
    expected, _ = expected_of(stage, batch, 2)
    assert loop.train_step(stage, batch, 2)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_it_is_said_what_the_training_figures_are_of(data_root):
    for alpha in (0.0, 0.4):
        stage = set_up(plan(augment__mixup=alpha), CPU, data_root, HUSH)
        said = lines.beforehand(stage, Progress(), 0.1)
        assert ("the heavier of two labels" in said) == bool(alpha)


def test_a_negative_alpha_is_refused():
    with pytest.raises(RecipeError, match=r"augment\.mixup"):
        plan(augment__mixup=-0.1)


@pytest.mark.parametrize(
    ("batch", "drop_last", "world", "fits"),
    [(8, True, 2, True), (8, False, 1, True), (8, False, 2, False), (6, True, 2, False)],
)
def test_processes_that_would_part_a_pair_are_refused(batch, drop_last, world, fits):
    recipe = plan(train__batch=batch, train__drop_last=drop_last)
    network = zoo.network("alexnet-cifar")
    if fits:
        assert parallel.of(recipe, Ranks(0, world), network).ranks.world == world
        return
    with pytest.raises(RecipeError, match=r"multiple of 4 and train\.drop_last = true"):
        parallel.of(recipe, Ranks(0, world), network)
