"""Colour noise and jitter against float64 NumPy, written from the paper and from Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from alexnet.data.colour import add_noise, draw_jitter, draw_noise, jitter, noise_of
from alexnet.data.statistics import measure


@pytest.fixture(scope="module")
def images():
    chance = np.random.default_rng(0)
    base = chance.normal(120, 60, (20, 16, 16, 1)) + chance.normal(0, 15, (20, 16, 16, 3))
    return np.clip(base, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("reading", ["variance", "deviation"])
def test_noise_is_that_of_the_paper(images, reading):
    """Section 4.1: [p1 p2 p3][a1 l1, a2 l2, a3 l3]^T, with pixels on the scale 0..1, in float64."""
    values, vectors = np.linalg.eigh(np.cov(images.reshape(-1, 3).T / 255.0, bias=True))
    a = np.random.default_rng(1).normal(size=(20, 3))
    spread = values if reading == "variance" else np.sqrt(values)
    x = images / 255.0
    shifts = {True: [], False: []}
    noise = noise_of(*measure(images, np.arange(20)).principal(), 0.1, reading) / 255.0
    for picture, z in zip(x, a, strict=True):
        expected = picture + vectors @ (0.1 * z[::-1] * spread)  # eigh: the smallest first
        shifts[True].append(expected)
    got = add_noise(
        torch.from_numpy(x).float().permute(0, 3, 1, 2),
        torch.from_numpy(a).float(),
        torch.from_numpy(noise).float(),
    )
    got = got.permute(0, 2, 3, 1).numpy()
    # The sign of an eigenvector is free: compare what does not depend on it, the shift's square
    # along each component.
    along = (got - x)[:, 0, 0] @ vectors
    meant = (np.array(shifts[True]) - x)[:, 0, 0] @ vectors
    np.testing.assert_allclose(np.abs(along), np.abs(meant), atol=1e-6)
    assert np.ptp(got - x, axis=(1, 2)).max() < 1e-6, "the same shift for every pixel"


def test_the_readings_have_the_strength_of_the_facts():
    """ImageNet's eigenvalues on 0..1 are .2115, .0186, .0039: 5.4 levels, or 11.7 by the root."""
    variances = np.array([0.2115, 0.0186, 0.0039]) * 255**2
    by_variance = np.diag(noise_of(variances, np.eye(3), 0.1, "variance"))
    by_deviation = np.diag(noise_of(variances, np.eye(3), 0.1, "deviation"))
    assert by_variance[0] == pytest.approx(0.1 * 0.2115 * 255) == pytest.approx(5.39, abs=0.01)
    assert by_deviation[0] == pytest.approx(11.7, abs=0.05)


def test_shrinking_divides_picture_and_noise(images):
    x = torch.randn(4, 3, 5, 5)
    drawn, noise = draw_noise(4, torch.Generator().manual_seed(0)), torch.randn(3, 3)
    plain = add_noise(x, drawn, noise)
    torch.testing.assert_close(add_noise(x, drawn, noise, 1.1), plain / 1.1)
    torch.testing.assert_close(add_noise(x, torch.zeros(4, 3), noise), x)
    assert add_noise(x, drawn, noise).is_contiguous(memory_format=torch.channels_last)


def test_noise_is_normal():
    drawn = draw_noise(50_000, torch.Generator().manual_seed(0))
    assert drawn.mean(0).abs().max() < 0.02
    assert (drawn.std(0) - 1).abs().max() < 0.02


ENHANCERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.3])
def test_each_factor_is_pillows_enhancement(which, factor):
    values = np.random.default_rng(0).integers(40, 180, (3, 12, 12, 3), dtype=np.uint8)
    factors = torch.ones(3, 3)
    factors[:, which] = factor
    got = jitter(torch.from_numpy(values), factors).numpy()
    for picture, out in zip(values, got, strict=True):
        expected = np.asarray(ENHANCERS[which](Image.fromarray(picture)).enhance(factor))
        assert np.abs(out - expected).max() < 1.6  # Pillow rounds greys and results


def test_jitter_is_its_three_steps_in_order():
    """One after the other in float64, where nothing leaves 0..255."""
    values = np.random.default_rng(0).integers(60, 150, (2, 6, 6, 3), dtype=np.uint8)
    b, c, s = 1.2, 0.7, 1.4
    weights = np.array([0.299, 0.587, 0.114])
    x = values * b
    x = c * x + (1 - c) * (x @ weights).mean((1, 2), keepdims=True)[..., None]
    x = s * x + (1 - s) * (x @ weights)[..., None]
    got = jitter(torch.from_numpy(values), torch.tensor([[b, c, s]] * 2)).numpy()
    np.testing.assert_allclose(got, x, atol=1e-3)


def test_jitter_stays_in_range_and_ones_change_nothing(images):
    x = torch.from_numpy(images)
    torch.testing.assert_close(jitter(x, torch.ones(20, 3)), x.float(), atol=1e-3, rtol=0)
    wild = jitter(x, draw_jitter(20, 0.9, torch.Generator().manual_seed(0)))
    assert wild.min() >= 0
    assert wild.max() <= 255
    drawn = draw_jitter(10_000, 0.4, torch.Generator().manual_seed(0))
    assert 0.6 <= drawn.min() < 0.61
    assert 1.39 < drawn.max() <= 1.4
