"""Modules against their tables."""

import math

import pytest
import torch
from torch import nn

from alexnet.errors import UnknownName
from alexnet.models import table, zoo
from alexnet.models.build import build
from alexnet.models.init import initialise, whiten


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_module_has_what_the_table_counts(name):
    network = zoo.network(name)
    model = build(network)
    total = table.totals(table.trace(network))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    kept = sum(t.numel() for k, t in model.state_dict().items() if "num_batches" not in k) - trained
    assert (trained, kept) == (total.trainable, total.buffers)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_every_row_gives_the_shape_of_its_table(name):
    network = zoo.network(name)
    size = table.smallest_size(network) + 3
    model = build(network, size).eval()
    names = [row.name for row in network.rows]
    found = model.activations(torch.rand(2, 3, size, size), names)
    expected = {s.row.name: (2, *s.outputs) for s in table.trace(network, size)}
    assert {name: tuple(value.shape) for name, value in found.items()} == expected


@pytest.mark.parametrize(
    "name", [n for n in zoo.NETWORKS if n.startswith("cuda-") or n == "alexnet-bn"]
)
def test_forward_and_backward_reach_every_weight(name):
    network = zoo.network(name, classes=10)
    size = table.smallest_size(network) + 8
    model = build(network.changed(init="he"), size).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(4, 3, size, size))
    assert logits.shape == (4, 10)
    logits.float().logsumexp(1).sum().backward()
    trained = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert [n for n, grad in trained.items() if grad is None or not grad.any()] == []


def test_activations_are_not_changed_by_later_rows_and_agree_with_forward():
    model = build(zoo.network("alexnet-cifar")).eval()
    x = torch.randn(4, 3, 32, 32)
    found = model.activations(x, ["norm3", "fc8"])
    assert found["norm3"].min() < 0  # the ReLU behind it works in place
    assert torch.equal(found["fc8"], model(x))


def test_unknown_layer_is_refused_by_name():
    model = build(zoo.network("alexnet-cifar"))
    with pytest.raises(UnknownName, match="did you mean 'conv5'"):
        model.activations(torch.zeros(1, 3, 32, 32), ["konv5"])


def test_same_seed_same_weights_other_seed_others():
    network = zoo.network("alexnet-cifar")
    first, again, other = (build(network, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["conv2.weight"], other["conv2.weight"])


@pytest.mark.parametrize(
    ("init", "deviation", "bias"),
    [
        # Glorot uniform: variance 2 / (fan_in + fan_out), fans with the kernel's area.
        ("keras", math.sqrt(2 / (9 * 64 + 9 * 96)), 0.0),
        # U(-1/sqrt(n), 1/sqrt(n)) has variance 1/(3n).
        ("torch", math.sqrt(1 / (3 * 9 * 64)), math.sqrt(1 / (3 * 9 * 64))),
        ("he", math.sqrt(2 / (9 * 64)), 0.0),
    ],
)
def test_initialisations_have_their_deviation(init, deviation, bias):
    net = nn.Sequential()
    net.add_module("conv2", layer := nn.Conv2d(64, 96, 3))
    initialise(net, init, torch.Generator().manual_seed(0))
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(layer.weight.mean().item()) < 0.02 * deviation
    assert layer.bias.std().item() == pytest.approx(bias, rel=0.25)


@pytest.mark.parametrize("inputs", [24, 64, 96])
def test_the_first_filters_pass_their_inputs_on(inputs):
    """The written-out rule: filter i of the first ``inputs`` is 1 at the centre of map i, else 0."""
    net = nn.Sequential()
    net.add_module("conv2", layer := nn.Conv2d(inputs, 64, 3, padding=1, bias=False))
    initialise(net, "dirac", torch.Generator().manual_seed(0))
    for i in range(min(inputs, 64)):
        expected = torch.zeros(inputs, 3, 3)
        expected[i, 1, 1] = 1
        assert torch.equal(layer.weight[i], expected)
    x = torch.randn(2, inputs, 5, 5)
    torch.testing.assert_close(layer(x)[:, : min(inputs, 64)], x[:, :64])
    bound = 1 / math.sqrt(9 * inputs)
    rest = layer.weight[inputs:]
    assert inputs >= 64 or 0.9 * bound < rest.abs().max() <= bound


def test_a_head_beside_identities_starts_as_one_of_deviation_1_whose_logits_are_divided():
    net = nn.Sequential()
    net.add_module("fc8", layer := nn.Linear(256, 10, bias=False))
    initialise(net, "dirac", torch.Generator().manual_seed(0))
    assert (256 * layer.weight).std().item() == pytest.approx(1.0)


def test_a_whitening_layer_learns_its_bias_alone():
    """Its gradient is the sum over places of what flows back, as autograd has it of a plain layer."""
    model = build(zoo.network("cifar-eight-gelu")).train()
    assert [n for n, p in model.conv1.named_parameters() if p.requires_grad] == ["bias"]
    assert model.conv1.bias.abs().max() <= 1 / math.sqrt(12)  # torch's own start
    seen = []
    model.conv1.register_full_backward_hook(lambda layer, given, left: seen.append(left[0]))
    x = torch.randn(4, 3, 32, 32, requires_grad=True)
    model(x).square().sum().backward()
    assert model.conv1.weight.grad is None
    torch.testing.assert_close(model.conv1.bias.grad, seen[0].sum((0, 2, 3)), rtol=1e-4, atol=1e-6)


def test_gelu_is_x_times_the_normal_distribution():
    model = build(zoo.network("cifar-eight-gelu")).eval()
    found = model.activations(torch.randn(1, 3, 32, 32), ["conv1", "gelu1"])
    x = found["conv1"].double()
    expected = x * (1 + torch.erf(x / math.sqrt(2))) / 2
    torch.testing.assert_close(found["gelu1"].double(), expected, atol=1e-6, rtol=1e-5)


def test_unknown_initialisation_is_refused():
    with pytest.raises(UnknownName, match="unknown initialisation 'glorot'; known: 2012"):
        initialise(nn.Linear(2, 2), "glorot", torch.Generator())


def test_whitened_patches_are_decorrelated_with_unit_variance():
    model = build(zoo.network("alexnet-cifar"))
    smooth = torch.nn.functional.avg_pool2d(torch.randn(50, 3, 36, 36), 5, 1)  # correlated pixels
    whiten(model.conv1, smooth, eps=1e-9)
    filters = model.conv1.weight
    assert not filters.requires_grad
    out = torch.nn.functional.conv2d(smooth, filters)[:, :27].transpose(0, 1).flatten(1).double()
    covariance = out @ out.T / out.shape[1]
    torch.testing.assert_close(covariance, torch.eye(27).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(filters[27:54], -filters[:27])
