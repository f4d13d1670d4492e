"""Masks: whose they are, what share they keep, and what a test does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alexnet.models import layers
from alexnet.models.build import begin_step
from alexnet.models.layers import Dropout


def network(p=0.5, *, classic=False):
    net = nn.Sequential()
    net.add_module("drop6", Dropout(p, classic=classic))
    net.add_module("drop7", Dropout(p, classic=classic))
    return net


def mask(layer, rows=64, units=100, dtype=torch.float32):
    return layer(torch.ones(rows, units, dtype=dtype)) > 0


def masks(net, **told):
    begin_step(net, **told)
    rows = (told.get("total") or 64) - told.get("first", 0)
    return [mask(layer, min(rows, 64)) for layer in net]


def test_a_mask_is_a_function_of_seed_step_and_layer():
    torch.manual_seed(0)
    first = masks(network(), seed=1, step=5)
    torch.manual_seed(99)  # history
    again = masks(network(), seed=1, step=5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    others = [first[1], masks(network(), seed=2, step=5)[0], masks(network(), seed=1, step=6)[0]]
    for other in others:  # as unlike as two masks that know nothing of each other
        assert (other == first[0]).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_nothing_is_drawn_from_the_global_generator():
    before = torch.get_rng_state()
    masks(network(), seed=1, step=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_untold_layer_draws_from_the_global_generator():
    layer = Dropout(0.5)
    torch.manual_seed(0)
    first, second = mask(layer), mask(layer)
    torch.manual_seed(0)
    assert torch.equal(mask(layer), first)
    assert not torch.equal(first, second)


def test_however_a_batch_is_divided_its_pictures_meet_the_same_mask():
    whole = masks(network(), seed=1, step=5, total=64)[0]
    for first, rows in ((0, 64), (0, 32), (32, 32), (10, 1), (63, 1)):
        net = network()
        begin_step(net, seed=1, step=5, first=first, total=64)
        assert torch.equal(mask(net.drop6, rows), whole[first : first + rows])


def test_rows_past_the_batch_are_refused():
    net = network()
    begin_step(net, seed=1, step=5, first=40, total=64)
    with pytest.raises(ValueError, match="rows 40 to 72 of a batch of 64 pictures"):
        mask(net.drop6, 32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_mask_does_not_depend_on_the_precision(dtype):
    net = network(0.3)
    begin_step(net, seed=1, step=5)
    assert torch.equal(mask(net.drop6, dtype=dtype), mask(net.drop6))
    assert net.drop6(torch.ones(2, 3, dtype=dtype)).dtype == dtype


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_share_scale_and_mean(p):
    net = network(p)
    begin_step(net, seed=1, step=5)
    y = net.drop6(torch.full((1000, 999), 3.0))
    assert (y == 0).float().mean().item() == pytest.approx(p, abs=2e-3)
    assert y.max().item() == pytest.approx(3 / (1 - p), rel=1e-4)
    assert y.mean().item() == pytest.approx(3, rel=5e-3)


def test_neighbours_are_independent():
    """Four neighbours share one random word: no pair of places in it may go together."""
    net = network()
    begin_step(net, seed=1, step=5)
    kept = mask(net.drop6, 1000, 400).view(-1, 8).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.02


def test_in_2012_the_test_multiplies_and_training_does_not():
    net = network(0.25, classic=True)
    begin_step(net, seed=1, step=5)
    x = torch.randn(50, 40)
    y = net.drop6(x)
    assert torch.equal(y, torch.where(y == 0, 0.0, x))
    assert torch.equal(net.eval().drop6(x), x * 0.75)


def test_a_test_gives_back_what_entered():
    x = torch.randn(5, 4)
    assert network().eval().drop6(x) is x


def test_gradient_passes_where_the_value_did():
    net = network(0.5)
    begin_step(net, seed=1, step=5)
    x = torch.randn(8, 6, requires_grad=True)
    y = net.drop6(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_maps_in_any_memory_format():
    net = network()
    begin_step(net, seed=1, step=5)
    x = torch.randn(4, 3, 5, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(net.drop6(x), net.drop6(last))


def test_a_compiled_layer_has_the_masks_of_its_seeds():
    import torch._dynamo

    layer = Dropout(0.5).train()
    compiled, x = torch.compile(layer, backend="eager"), torch.ones(3, 40)
    for seed in range(12):  # more than torch compiles one function anew
        layer.begin(seed, 0, 3)
        assert torch.equal(compiled(x), layer(x))
    assert hasattr(Dropout.mask, "_torchdynamo_disable")


def test_a_device_that_draws_no_64_bits_is_given_those_of_the_processor(monkeypatch):
    assert layers._drawn_on(torch.device("mps")) == torch.device("cpu")
    assert layers._drawn_on(torch.device("cuda:1")) == torch.device("cuda:1")
    monkeypatch.setattr(layers, "_drawn_on", lambda device: torch.device("cpu"))
    layer = Dropout(0.5)
    layer.begin(1, 0, None)
    meta = torch.device("meta")  # which has no generator
    assert layer.mask(torch.Size((4, 3)), meta).device == meta
