"""Preprocessing against NumPy."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.errors import UnknownName, UsageError

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


def test_levels_may_be_floats_and_are_left_alone():
    made, levels = Preprocessing(32, 48, "0..1", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), PICTURES.float()
    assert torch.equal(made(levels), made(PICTURES))
    assert torch.equal(levels, PICTURES.float())


# --- windows and mean pictures ---------------------------------------------------------------

MEAN = np.random.default_rng(1).uniform(0, 255, (32, 32, 3)).astype(np.float32)


def test_the_central_window():
    got = Preprocessing(32, 21, "0..255", fit="crop")(PICTURES)
    np.testing.assert_array_equal(
        got.numpy(), PICTURES.numpy()[:, 5:26, 5:26].transpose(0, 3, 1, 2)
    )
    assert got.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("corner", [(0, 0), (3, 8), (4, 4)])
def test_the_central_window_of_the_mean_wherever_a_window_was_cut(corner):
    """Facts of the program of 2012, in float64; Caffe takes the mean at the window's own place."""
    std = (0.2, 0.25, 0.5)
    made = Preprocessing(32, 24, "0..1", std=std, fit="crop", mean_picture=torch.from_numpy(MEAN))
    top, left = corner
    window = PICTURES[:, top : top + 24, left : left + 24]
    levels = window.numpy().astype(np.float64) - MEAN[4:28, 4:28]
    got = made(window).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, levels / 255 / np.array(std), atol=1e-5)
    if corner == (4, 4):
        assert torch.equal(made(window), made(PICTURES))


@pytest.mark.parametrize("size", [16, 32, 48])
def test_a_mean_picture_is_resized_with_its_pictures(size):
    made = Preprocessing(32, size, "0..255", mean_picture=torch.from_numpy(MEAN))
    less = (PICTURES.double() - torch.from_numpy(MEAN)).permute(0, 3, 1, 2)
    expected = F.interpolate(less, (size, size), mode="bilinear")
    torch.testing.assert_close(made(PICTURES).double(), expected, atol=2e-3, rtol=0)


def test_a_resampled_part_has_the_resized_mean_subtracted():
    made = Preprocessing(32, 16, "0..255", mean_picture=torch.from_numpy(MEAN))
    mean = F.interpolate(torch.from_numpy(MEAN).permute(2, 0, 1)[None], (16, 16), mode="bilinear")
    part = PICTURES[:, 3:19, 7:23]
    torch.testing.assert_close(made(part), part.permute(0, 3, 1, 2) - mean, atol=1e-4, rtol=0)


def test_a_window_larger_than_the_picture_is_refused():
    with pytest.raises(UsageError, match=r"input\.size = 33 is more than the 32 pixels"):
        Preprocessing(32, 33, fit="crop")
    with pytest.raises(UnknownName, match="did you mean 'crop'"):
        Preprocessing(32, 32, fit="corp")


def test_json_and_tensors_give_the_same_object():
    made = Preprocessing(32, 227, "0..1", (0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert Preprocessing.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made.tensors() == {}
    made = Preprocessing(32, 24, fit="crop", mean_picture=torch.from_numpy(MEAN))
    plain = json.loads(json.dumps(made.to_json()))
    again = Preprocessing.from_json(plain, made.tensors())
    assert again == made
    assert torch.equal(again(PICTURES), made(PICTURES))
    with pytest.raises(KeyError, match="mean_picture"):
        Preprocessing.from_json(plain)


def test_the_fit_of_photographs_travels_along_and_is_left_out_where_it_is_the_old_one():
    stretched = Preprocessing(32, 24, square_fit="stretch")
    assert Preprocessing.from_json(json.loads(json.dumps(stretched.to_json()))) == stretched
    assert stretched != Preprocessing(32, 24)
    assert "square_fit" not in Preprocessing(32, 24).to_json()
    with pytest.raises(UnknownName, match=r"data\.fit 'strech'; did you mean 'stretch'"):
        Preprocessing(32, 24, square_fit="strech")


def test_what_the_first_version_saved_is_still_read():
    first = {
        "picture_size": 32,
        "size": 48,
        "scale": "0..1",
        "mean": [0.5, 0.4, 0.3],
        "std": [1.0, 1.0, 1.0],
    }
    assert Preprocessing.from_json(first) == Preprocessing(32, 48, "0..1", (0.5, 0.4, 0.3))


@pytest.mark.parametrize(
    "how",
    [
        Preprocessing(32, 48),
        Preprocessing(32, 24, fit="crop"),
        Preprocessing(32, 48, resize="uint8"),
        Preprocessing(32, 32, "0..255", mean_picture=torch.rand(32, 32, 3)),
    ],
    ids=["resize", "crop", "uint8", "mean picture"],
)
def test_no_picture_is_none(how):
    """A rank of several may have none of a batch's pictures."""
    assert how(PICTURES[:0]).shape == (0, 3, how.size, how.size)
