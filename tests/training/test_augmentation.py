"""A recipe's augmentation: draws of a batch, a row for each picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from alexnet import recipe as recipes
from alexnet.data.loader import generator
from alexnet.data.preprocess import Preprocessing
from alexnet.training import augmentation
from alexnet.training.augmentation import Draws

STORED, SIZE = 20, 16
PICTURES = torch.from_numpy(
    np.random.default_rng(0).integers(0, 256, (70, STORED, STORED, 3), dtype=np.uint8)
)
INDICES = torch.arange(70) * 3
NOISE = torch.tensor([[0.05, 0.0, 0.01], [0.05, 0.01, 0.0], [0.05, -0.01, -0.01]])
CROP = Preprocessing(STORED, SIZE, "0..1", (0.5,) * 3, (0.25,) * 3, "crop")
RESIZE = Preprocessing(STORED, SIZE, "0..1", (0.5,) * 3, (0.25,) * 3)


def plan(**keys):
    own = recipes.load("cifar10-quick")
    none = {"augment.flip": "none", "augment.crop": 0, "input.fit": "crop"}
    return recipes.override(own, none | {f"augment.{k}": v for k, v in keys.items()}).augment


def draw(asked, prepared=CROP, step=0):
    return augmentation.draw(asked, prepared, INDICES, 0, generator(0, "augment", step))


EVERYTHING = {"jitter": 0.4, "colour": 0.1, "cutout": 5, "flip": "random"}
PLANS = {
    "window": ({"window": "random", **EVERYTHING}, CROP),
    "chunk": ({"window": "chunk", **EVERYTHING}, CROP),
    "area": ({"area": [0.3, 1.0], **EVERYTHING}, CROP),
    "area, resized": ({"area": [0.3, 1.0], **EVERYTHING}, RESIZE),
    "border": ({"crop": 2, **EVERYTHING}, RESIZE),
    "border of a window": ({"crop": 2, **EVERYTHING}, CROP),
    "jitter alone": ({"jitter": 0.4}, CROP),
    "nothing": ({}, RESIZE),
}


@pytest.mark.parametrize("name", PLANS)
def test_part_of_a_batch_comes_out_as_within_the_whole(name):
    keys, prepared = PLANS[name]
    asked = plan(**keys)
    noise = NOISE if asked.colour else None
    draws = draw(asked, prepared)
    whole = augmentation.apply(asked, prepared, noise, PICTURES, draws)
    assert whole.shape == (70, 3, SIZE, SIZE)
    assert whole.dtype == torch.float32
    assert whole.is_contiguous(memory_format=torch.channels_last)
    for rows in (slice(0, 30), slice(30, 70), slice(13, 14)):
        part = augmentation.apply(asked, prepared, noise, PICTURES[rows], draws.rows(rows))
        torch.testing.assert_close(part, whole[rows], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", list(PLANS)[:-1])
def test_draws_are_a_function_of_the_step(name):
    asked, prepared = plan(**PLANS[name][0]), PLANS[name][1]
    noise = NOISE if asked.colour else None
    one, same, other = (
        augmentation.apply(asked, prepared, noise, PICTURES, draw(asked, prepared, step))
        for step in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_nothing_asked_draws_nothing():
    assert draw(plan(), RESIZE) == Draws()
    got = augmentation.apply(plan(), RESIZE, None, PICTURES, Draws())
    assert torch.equal(got, RESIZE(PICTURES))


def test_windows_cover_the_stored_picture_and_a_border_moves_the_centre():
    anywhere = draw(plan(window="random")).corners
    assert sorted(set(anywhere.flatten().tolist())) == [0, 1, 2, 3, 4]
    about = draw(plan(crop=1)).corners
    assert sorted(set(about.flatten().tolist())) == [1, 2, 3]
    moved = draw(plan(crop=1), RESIZE).corners
    assert sorted(set(moved.flatten().tolist())) == [-1, 0, 1]


def test_chunks_share_window_and_reflection():
    draws = draw(plan(window="chunk", flip="random"))
    for first in (0, 32, 64):
        assert len(draws.corners[first : first + 32].unique(dim=0)) == 1
        assert len(draws.mirrored[first : first + 32].unique()) == 1
    assert len(draws.corners.unique(dim=0)) > 1


def test_colour_noise_is_added_to_the_mirrored_window_and_all_is_divided():
    asked = plan(window="random", flip="random", colour=0.1, colour_shrink=1.1)
    draws = draw(asked)
    got = augmentation.apply(asked, CROP, NOISE, PICTURES, draws)
    for n in range(70):
        top, left = draws.corners[n].tolist()
        window = PICTURES[n, top : top + SIZE, left : left + SIZE].double().numpy()
        window = window[:, ::-1] if draws.mirrored[n] else window
        x = (window / 255 - 0.5) / 0.25 + NOISE.double().numpy() @ draws.noise[n].double().numpy()
        np.testing.assert_allclose(got[n].permute(1, 2, 0).numpy(), x / 1.1, atol=1e-5)


def test_colour_noise_ends_and_with_it_its_shrinking():
    asked = plan(colour=0.1, colour_shrink=1.1, colour_until="2 epochs")
    steps = [augmentation.noise_at(asked, NOISE, n, steps_per_epoch=4, batch=10) for n in (0, 7, 8)]
    assert steps[0] is NOISE
    assert steps[1] is NOISE
    assert steps[2] is None
    plain = augmentation.apply(asked, CROP, steps[2], PICTURES, draw(asked))
    assert torch.equal(plain, CROP(PICTURES)), "neither noise nor the division by 1.1"


def test_jitter_of_a_window_does_not_see_the_border_around_it():
    asked = plan(jitter=0.4)
    framed = PICTURES.clone()
    framed[:, :2], framed[:, -2:], framed[:, :, :2], framed[:, :, -2:] = 0, 0, 255, 255
    seen = [augmentation.apply(asked, CROP, None, p, draw(asked)) for p in (PICTURES, framed)]
    assert torch.equal(*seen)
