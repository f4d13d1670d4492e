"""Augmentations against NumPy, Pillow and torch's resizing, written another way."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import stats
from torch.nn import functional as F

from alexnet.data import augment
from alexnet.data.augment import (
    cut,
    cutout,
    draw_boxes,
    draw_corners,
    draw_holes,
    draw_mirrored,
    draw_shifts,
    resample,
)


def pictures(n=6, height=8, width=10):
    values = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(values)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# --- windows ---------------------------------------------------------------------------------


@given(seed=st.integers(0, 1000), border=st.integers(0, 4), height=st.integers(3, 8))
def test_a_window_is_one_of_the_reflected_picture(seed, border, height):
    draw = generator(seed)
    x = pictures()
    size = (height, 10)
    corners = draw_shifts(len(x), border, draw)
    mirrored = torch.rand(len(x), generator=draw) < 0.5
    got = cut(x, corners, mirrored, size).numpy()
    pads = ((border, border), (border, border), (0, 0))
    for picture, out, (top, left), mirror in zip(
        x.numpy(), got, corners.tolist(), mirrored.tolist(), strict=True
    ):
        padded = np.pad(picture, pads, mode="reflect")
        top, left = top + border, left + border
        window = padded[top : top + size[0], left : left + size[1]]
        assert np.array_equal(out, window[:, ::-1] if mirror else window)


def test_copied_rows_and_gathered_pixels_are_the_same():
    x = pictures(40, 16, 16)
    corners = draw_corners(40, 5, generator())
    mirrored = draw_mirrored("random", torch.arange(40), 0, generator())
    assert 0 < mirrored.sum() < 40
    copied = augment._slices(x, corners, mirrored, (11, 11))
    assert torch.equal(copied, augment._gather(x, corners, mirrored, (11, 11)))
    assert torch.equal(copied, cut(x, corners, mirrored, (11, 11)))


def test_no_shift_and_no_mirror_is_the_picture():
    x = pictures()
    none = torch.zeros(len(x), 2, dtype=torch.int64), torch.zeros(len(x), dtype=torch.bool)
    assert torch.equal(cut(x, *none, (8, 10)), x)


def test_shifts_cover_the_whole_range_evenly():
    shifts = draw_shifts(20_000, 2, generator())
    values, counts = shifts.unique(return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert counts.min() > 0.95 * 8000


def test_2178_windows_at_256_and_224_all_alike():
    """33 x 33 offsets and a reflection: the program of 2012; the paper's 2048 counts 32 x 32."""
    n = 200 * 2178
    corners = draw_corners(n, 256 - 224, generator())
    mirrored = draw_mirrored("random", torch.arange(n), 0, generator(1))
    kinds = (corners[:, 0] * 33 + corners[:, 1]) * 2 + mirrored
    counts = torch.bincount(kinds)
    assert len(counts) == 33 * 33 * 2 == 2178
    assert counts.min() > 0
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3
    assert corners.min() == 0
    assert corners.max() == 32


def test_a_chunk_shares_window_and_reflection():
    corners = draw_corners(1280, 32, generator(), chunk=32)
    mirrored = draw_mirrored("random", torch.arange(1280), 0, generator(), chunk=32)
    for part in corners.split(32):
        assert (part == part[0]).all()
    for part in mirrored.split(32):
        assert (part == part[0]).all()
    assert len(corners.unique(dim=0)) > 30
    assert 5 < mirrored[::32].sum() < 35
    assert len(draw_corners(70, 32, generator(), chunk=32)) == 70


# --- parts that are resized --------------------------------------------------------------------


def one_by_one(side, area, ratio, chance):
    """The definition, a picture at a time: Szegedy et al. (2014), as torchvision writes it."""
    for _ in range(10):
        share = side * side * chance.uniform(*area)
        shape = math.exp(chance.uniform(math.log(ratio[0]), math.log(ratio[1])))
        width, height = round(math.sqrt(share * shape)), round(math.sqrt(share / shape))
        if 0 < width <= side and 0 < height <= side:
            top = chance.integers(0, side - height + 1)
            return top, chance.integers(0, side - width + 1), height, width
    return 0, 0, side, side


@pytest.mark.parametrize("area", [(0.08, 1.0), (0.35, 1.0), (0.9, 1.0)])
def test_parts_have_the_distribution_of_their_definition(area):
    ratio, n = (3 / 4, 4 / 3), 8000
    got = draw_boxes(n, 256, area, ratio, generator()).double().numpy()
    chance = np.random.default_rng(0)
    expected = np.array([one_by_one(256, area, ratio, chance) for _ in range(n)], np.float64)
    for of in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 0] + b[:, 2],
    ):
        assert stats.ks_2samp(of(got), of(expected)).pvalue > 1e-3


@given(
    st.integers(0, 10_000),
    st.integers(16, 300),
    st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)).map(sorted).map(tuple),
    st.tuples(st.floats(0.2, 5), st.floats(0.2, 5)).map(sorted).map(tuple),
)
def test_parts_lie_inside(seed, side, area, ratio):
    boxes = draw_boxes(20, side, area, ratio, generator(seed))
    top, left, height, width = boxes.T
    assert boxes.shape == (20, 4)
    assert (boxes >= 0).all()
    assert (height > 0).all()
    assert (width > 0).all()
    assert (top + height <= side).all()
    assert (left + width <= side).all()


def test_what_never_fits_is_the_whole_picture_cut_to_the_nearest_ratio():
    wide = draw_boxes(3, 100, (1.0, 1.0), (2.0, 2.0), generator())
    tall = draw_boxes(3, 100, (1.0, 1.0), (0.25, 0.5), generator())
    assert wide.tolist() == [[25, 0, 50, 100]] * 3
    assert tall.tolist() == [[0, 25, 100, 50]] * 3


@pytest.mark.parametrize("size", [16, 48, 90])
def test_resampling_is_pillows_bilinear_of_the_part(size):
    x = pictures(8, 64, 64)
    boxes = draw_boxes(8, 64, (0.2, 1.0), (0.5, 2.0), generator())
    mirrored = torch.arange(8) % 2 == 1
    got = resample(x, boxes, mirrored, size).numpy().astype(int)
    for picture, out, (top, left, h, w), mirror in zip(
        x.numpy(), got, boxes.tolist(), mirrored.tolist(), strict=True
    ):
        part = Image.fromarray(picture[top : top + h, left : left + w])
        expected = np.asarray(part.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        expected = expected[:, ::-1] if mirror else expected
        assert np.abs(out - expected).max() <= 1


@pytest.mark.parametrize("size", [16, 48, 90])
def test_resampling_at_once_is_the_same_to_a_rounding(size):
    """What an accelerator does, here on the CPU, beside torch's resizing of floats."""
    x = pictures(8, 64, 64)
    boxes = draw_boxes(8, 64, (0.2, 1.0), (0.5, 2.0), generator())
    mirrored = torch.arange(8) % 3 == 1
    got = augment._resample_at_once(x, boxes, mirrored, size)
    assert got.dtype == torch.uint8
    for picture, out, (top, left, h, w), mirror in zip(
        x, got, boxes.tolist(), mirrored.tolist(), strict=True
    ):
        part = picture[top : top + h, left : left + w].permute(2, 0, 1)[None].float()
        expected = F.interpolate(part, (size, size), mode="bilinear", antialias=True)[0]
        expected = (expected.flip(2) if mirror else expected).permute(1, 2, 0)
        assert (out.float() - expected).abs().max() <= 0.501
    one_by_one = resample(x, boxes, mirrored, size)
    assert (got.int() - one_by_one.int()).abs().max() <= 1


def test_the_whole_picture_at_its_own_size_is_itself():
    x = pictures(2, 32, 32)
    whole = torch.tensor([[0, 0, 32, 32]] * 2)
    assert torch.equal(resample(x, whole, torch.tensor([False, False]), 32), x)
    assert torch.equal(resample(x, whole, torch.tensor([True, True]), 32), x.flip(2))


# --- reflections and squares --------------------------------------------------------------------


def test_alternate_shows_every_picture_both_ways_in_two_epochs():
    indices = torch.arange(50_000)
    draw = torch.Generator()
    even, odd, again = (draw_mirrored("alternate", indices, e, draw) for e in (0, 1, 2))
    assert torch.equal(even, ~odd)
    assert torch.equal(even, again)
    assert 0.48 < even.float().mean() < 0.52
    pairs = (even[:-1] == even[1:]).float().mean()  # neighbours are independent
    assert 0.45 < pairs < 0.55


def test_random_mirrors_half_and_none_mirrors_none():
    indices = torch.arange(10_000)
    assert 0.48 < draw_mirrored("random", indices, 0, generator()).float().mean() < 0.52
    assert not draw_mirrored("none", indices, 0, generator()).any()


def test_cutout_zeroes_one_square_and_leaves_the_rest():
    x = torch.rand(200, 3, 32, 32) + 1
    out = cutout(x, 8, draw_holes(200, 32, generator()))
    hole = (out == 0).all(1)
    assert torch.equal(out.where(~hole[:, None], x), x)
    for picture in hole:
        rows, columns = picture.any(1).sum(), picture.any(0).sum()
        assert 4 <= rows <= 8
        assert 4 <= columns <= 8
        assert picture.sum() == rows * columns
