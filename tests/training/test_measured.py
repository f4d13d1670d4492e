"""Statistics of a training split in a run: what uses them, where they are kept, what a resume reads."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet import recipe as recipes
from alexnet.data.loader import Source
from alexnet.data.statistics import measure
from alexnet.errors import CheckpointError
from alexnet.run.log import Console
from alexnet.training import measured

HUSH = Console(quiet=True)
IMAGES = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
SPLIT = Source(IMAGES, np.zeros(30, np.int64), np.arange(5, 25))


def plan(**keys):
    changes = {key.replace("__", "."): value for key, value in keys.items()}
    return recipes.override(recipes.load("cifar10-quick"), changes)


def test_nothing_is_measured_that_is_not_needed(tmp_path):
    assert measured.statistics_of(plan(), SPLIT, tmp_path, HUSH) is None
    for keys in ({"input__mean": "channel"}, {"input__mean": "picture"}, {"augment__colour": 0.1}):
        found = measured.statistics_of(plan(**keys), SPLIT, tmp_path, HUSH)
        assert found is not None
        assert found.count == 20


@pytest.mark.parametrize(("scale", "unit"), [("0..1", 255.0), ("0..255", 1.0)])
def test_channel_means_are_those_of_the_split(scale, unit):
    asked = plan(input__mean="channel", input__scale=scale)
    made = measured.preprocessing(asked, 16, measure(IMAGES, SPLIT.chosen))
    assert made.mean == pytest.approx(tuple(IMAGES[5:25].mean((0, 1, 2)) / unit))
    assert made.mean_picture is None


@pytest.mark.parametrize("scale", ["0..1", "0..255"])
def test_the_mean_picture_is_that_of_the_split(scale):
    keys = {"input__mean": "picture", "input__scale": scale, "input__std": [1.0, 1.0, 1.0]}
    asked = plan(**keys, input__size=16)
    made = measured.preprocessing(asked, 16, measure(IMAGES, SPLIT.chosen))
    x = made(torch.from_numpy(IMAGES[5:25]))
    assert x.mean(0).abs().max() < 1e-4 * made.levels
    assert x.std() > 0.1


def test_noise_is_in_the_units_of_the_network():
    """Deviation reading: over many draws the noise has 0.1 squared of the pixels' covariance."""
    found = measure(IMAGES, SPLIT.chosen)
    asked = plan(augment__colour=0.1, input__std=[0.2, 0.3, 0.4])
    made = measured.preprocessing(asked, 16, found)
    noise = measured.noise(asked.augment, made, found)
    assert noise is not None
    scale = np.array([0.2, 0.3, 0.4]) * 255
    expected = 0.01 * found.covariance / np.outer(scale, scale)
    np.testing.assert_allclose((noise @ noise.T).numpy(), expected, atol=1e-7)
    assert measured.noise(plan().augment, made, None) is None


def test_kept_statistics_are_read_to_the_bit_and_nothing_is_measured_again(tmp_path):
    found = measure(IMAGES, SPLIT.chosen)
    measured.keep(tmp_path, found)
    nothing = Source(IMAGES, SPLIT.labels, SPLIT.chosen[:0])  # would not be measured
    again = measured.statistics_of(plan(input__mean="channel"), nothing, tmp_path, HUSH)
    assert again is not None
    for name in ("count", "mean_picture", "mean", "covariance"):
        assert np.array_equal(getattr(found, name), getattr(again, name)), name


def test_a_changed_bit_is_found(tmp_path):
    measured.keep(tmp_path, measure(IMAGES, SPLIT.chosen))
    path = tmp_path / measured.STATISTICS
    whole = path.read_bytes()
    for at in range(len(whole) - 200, len(whole), 17):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(CheckpointError, match="is damaged: its sha256"):
            measured.read(path)
    for cut in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(CheckpointError, match="is damaged"):
            measured.read(path)
