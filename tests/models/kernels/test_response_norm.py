"""Response norm in one pass beside the sums of the paper, written out in float64."""

from __future__ import annotations

import pytest
import torch

from alexnet.models import kernels
from alexnet.models.response_norms import LocalResponseNorm


def written_out(x, layer):
    """The denominator of each channel summed over its window, one channel after the other."""
    width, rows = x.shape[1] // layer.towers, []
    for channel in range(x.shape[1]):
        first = channel // width * width
        low = max(first, channel - layer.size // 2)
        high = min(first + width, channel - layer.size // 2 + layer.size)
        total = x[:, low:high].square().sum(1)
        rows.append(x[:, channel] / (layer.k + layer.alpha / layer.size * total) ** 0.75)
    return torch.stack(rows, 1)


@pytest.mark.parametrize("towers", [1, 2])
@pytest.mark.parametrize("size", [1, 4, 5, 9])
@pytest.mark.parametrize("threads", [1, 3])
def test_values_and_gradients(size, towers, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer = LocalResponseNorm(size, alpha=0.7, beta=0.75, k=1.5, towers=towers)
    layer.minimal = True
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 24, 5, 3, generator=draw)
    mine = x.to(memory_format=torch.channels_last).requires_grad_()
    exact = x.double().requires_grad_()
    y, expected = layer(mine), written_out(exact, layer)
    gradient = torch.randn(x.shape, generator=draw)
    y.backward(gradient)
    expected.backward(gradient.double())
    torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(mine.grad.double(), exact.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("channels", [96, 38], ids=["whole vectors", "and a rest"])
def test_maps_of_bf16_are_rounded_once(channels):
    layer = LocalResponseNorm(5, alpha=0.7, beta=0.75, k=1.5, towers=2)
    layer.minimal = True
    draw = torch.Generator().manual_seed(0)
    x, gradient = (torch.randn(2, channels, 5, 3, generator=draw).bfloat16() for _ in range(2))
    mine, wide = x.clone().requires_grad_(), x.float().requires_grad_()
    y, expected = layer(mine), layer(wide)
    y.backward(gradient)
    expected.backward(gradient.float())
    assert y.dtype == mine.grad.dtype == torch.bfloat16
    assert torch.equal(y, expected.bfloat16())
    assert torch.equal(mine.grad, wide.grad.bfloat16())
    x[0, 0] = float("nan")
    assert bool(layer(x)[0, :3].isnan().all())


def test_it_is_the_layer_that_torch_operations_make():
    layer = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0, towers=2)
    x = 100 * torch.randn(3, 96, 7, 7, generator=torch.Generator().manual_seed(1))
    before = layer(x)
    kernels.use(layer)
    torch.testing.assert_close(layer(x), before)
    assert layer(x).grad_fn is None


def test_other_norms_stay_as_they_are():
    assert kernels.normalises(torch.zeros(1, 4, 2, 2), 0.75, 2)
    assert not kernels.normalises(torch.zeros(1, 4, 2, 2), 0.5, 2)
    assert kernels.normalises(torch.zeros(1, 4, 2, 2).bfloat16(), 0.75, 2)
    assert not kernels.normalises(torch.zeros(1, 4, 2, 2).half(), 0.75, 2)
    assert not kernels.normalises(torch.zeros(1, 5, 2, 2), 0.75, 2), "a channel would be left over"
    assert not kernels.normalises(torch.zeros(4, 2, 2), 0.75, 2)
