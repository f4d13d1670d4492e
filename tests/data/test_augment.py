"""Augmentations against NumPy written another way."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet.data.augment import crop_and_flip, cutout, draw_mirrored, draw_shifts


def pictures(n=6, height=8, width=10):
    values = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(values)


@given(seed=st.integers(0, 1000), border=st.integers(0, 4))
def test_crop_is_a_window_of_the_reflected_picture(seed, border):
    draw = torch.Generator().manual_seed(seed)
    x = pictures()
    shifts = draw_shifts(len(x), border, draw)
    mirrored = torch.rand(len(x), generator=draw) < 0.5
    got = crop_and_flip(x, shifts, mirrored).numpy()
    pads = ((border, border), (border, border), (0, 0))
    for picture, out, (down, right), mirror in zip(
        x.numpy(), got, shifts.tolist(), mirrored.tolist(), strict=True
    ):
        padded = np.pad(picture, pads, mode="reflect")
        top = down + border
        # Mirroring comes first: the window moves over the mirrored picture.
        if mirror:
            padded = padded[:, ::-1]
        left = border + (-right if mirror else right)
        window = padded[top : top + 8, left : left + 10]
        assert np.array_equal(out, window)


def test_no_shift_and_no_mirror_is_the_picture():
    x = pictures()
    none = torch.zeros(len(x), 2, dtype=torch.int64), torch.zeros(len(x), dtype=torch.bool)
    assert torch.equal(crop_and_flip(x, *none), x)


def test_shifts_cover_the_whole_range_evenly():
    shifts = draw_shifts(20_000, 2, torch.Generator().manual_seed(0))
    values, counts = shifts.unique(return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert counts.min() > 0.95 * 8000


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
    draw = torch.Generator().manual_seed(0)
    assert 0.48 < draw_mirrored("random", indices, 0, draw).float().mean() < 0.52
    assert not draw_mirrored("none", indices, 0, draw).any()


def test_cutout_zeroes_one_square_and_leaves_the_rest():
    x = torch.rand(200, 3, 32, 32) + 1
    out = cutout(x, 8, torch.Generator().manual_seed(0))
    hole = (out == 0).all(1)
    assert torch.equal(out.where(~hole[:, None], x), x)
    for picture in hole:
        rows, columns = picture.any(1).sum(), picture.any(0).sum()
        assert 4 <= rows <= 8
        assert 4 <= columns <= 8
        assert picture.sum() == rows * columns
