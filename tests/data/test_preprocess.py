"""Preprocessing against NumPy."""

import numpy as np
import torch

from alexnet.data.preprocess import Preprocessing

PICTURES = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
)


def test_scale_mean_and_deviation():
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)
    got = Preprocessing(32, 32, "0..1", mean, std)(PICTURES)
    expected = (PICTURES.numpy() / 255.0 - mean) / std
    np.testing.assert_allclose(got.numpy().transpose(0, 2, 3, 1), expected, atol=2e-6)


def test_levels_can_be_left_as_they_are():
    got = Preprocessing(32, 32, "0..255")(PICTURES)
    assert torch.equal(got, PICTURES.permute(0, 3, 1, 2).float())


def test_float32_channels_last_of_the_size_asked_for():
    got = Preprocessing(32, 67)(PICTURES)
    assert got.shape == (2, 3, 67, 67)
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_resizing_is_bilinear_between_half_pixel_centres():
    got = Preprocessing(32, 48, "0..255")(PICTURES).numpy()[0, 0]
    at = np.clip((np.arange(48) + 0.5) * 32 / 48 - 0.5, 0, 31)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, 31), at - low
    plane = PICTURES[0, :, :, 0].numpy().astype(float)
    rows = plane[low] * (1 - share)[:, None] + plane[high] * share[:, None]
    expected = rows[:, low] * (1 - share) + rows[:, high] * share
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_json_gives_the_same_object():
    made = Preprocessing(32, 227, "0..1", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert Preprocessing.from_json(made.to_json()) == made
