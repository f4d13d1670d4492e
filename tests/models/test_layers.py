"""Layers of 2012 against loops in NumPy, in float64."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet.models import pools, zoo
from alexnet.models.build import AlexNet, build, unfilled
from alexnet.models.layers import (
    LocallyConnected2d,
    PaperConv2d,
)
from alexnet.models.pools import AdaptiveAvgPool2d
from alexnet.models.response_norms import LocalResponseNorm, MapResponseNorm
from alexnet.models.rows import AvgPool, Local
from alexnet.models.table import Network

X = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 8, 5, 6)) * 20).float()


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8, 9])
@pytest.mark.parametrize("towers", [1, 2])
def test_lrn_is_the_sum_over_clipped_windows_of_each_tower(size, towers):
    """The kernel of 2012: window [i - size//2, i - size//2 + size), clipped at the tower's edges."""
    alpha, beta, k = 1e-2, 0.75, 2.0
    x = X.double().numpy()
    expected, width = np.empty_like(x), 8 // towers
    for channel in range(8):
        tower = channel // width * width
        first = max(tower, channel - size // 2)
        last = min(tower + width, channel - size // 2 + size)
        total = (x[:, first:last] ** 2).sum(1)
        expected[:, channel] = x[:, channel] / (k + alpha / size * total) ** beta
    got = LocalResponseNorm(size, alpha, beta, k, towers)(X)
    np.testing.assert_allclose(got.numpy(), expected, rtol=2e-6)


def test_lrn_agrees_with_torch_and_its_gradient():
    x = X.clone().requires_grad_()
    twin = X.clone().requires_grad_()
    ours = LocalResponseNorm(5, 1e-2, 0.75, 2.0, 1)(x)
    theirs = F.local_response_norm(twin, 5, 1e-2, 0.75, 2.0)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    (ours * weights).sum().backward()
    (theirs * weights).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)


@pytest.mark.parametrize(("size", "towers", "beta"), [(5, 1, 0.75), (4, 2, 0.75), (3, 2, 0.5)])
def test_lrn_has_the_gradient_of_finite_differences(size, towers, beta):
    x = (X[:1, :, :2, :3].double() / 10).requires_grad_()
    layer = LocalResponseNorm(size, 0.5, beta, 2.0, towers)
    assert torch.autograd.gradcheck(layer, (x,))


def test_lrn_in_bf16_is_the_rounded_float32():
    layer = LocalResponseNorm(5, 1e-2, 0.75, 2.0, 2)
    narrow = X.bfloat16()
    assert torch.equal(layer(narrow), layer(narrow.float()).bfloat16())


def test_lrn_does_not_depend_on_the_memory_format():
    layer = LocalResponseNorm(5, 1e-2, 0.75, 2.0, 2)
    assert torch.equal(layer(X), layer(X.contiguous(memory_format=torch.channels_last)))


def test_towers_are_grouped_convolution():
    layer = PaperConv2d(8, 6, 3, padding=1, groups=2)
    expected = F.conv2d(X, layer.weight, layer.bias, padding=1, groups=2)
    torch.testing.assert_close(layer(X), expected)


def test_an_overhanging_window_reads_zeros_right_and_below():
    model = build(zoo.network("alexnet-2012")).eval()
    picture = torch.randn(1, 3, 224, 224)
    found = model.activations(picture, ["conv1"])["conv1"]
    assert found.shape == (1, 96, 55, 55)
    expected = F.conv2d(F.pad(picture, (0, 3, 0, 3)), model.conv1.weight, model.conv1.bias, 4)
    torch.testing.assert_close(found, expected)


def test_the_paper_and_the_program_differ_where_they_should():
    """Same weights, same picture: other outputs; and the program's order puts ReLU behind the pool."""
    said, ran = (build(zoo.network(n)).eval() for n in ("alexnet-2012", "alexnet-2012-source"))
    ran.load_state_dict(said.state_dict())
    picture = torch.randn(1, 3, 224, 224) * 50
    layers = ["norm1", "pool1"]
    of_said, of_ran = said.activations(picture, layers), ran.activations(picture, layers)
    assert of_said["norm1"].min() == 0
    assert of_ran["norm1"].min() < 0
    assert not torch.allclose(of_said["pool1"], of_ran["pool1"].relu())


@pytest.mark.parametrize(
    ("name", "deviations", "biases"),
    [
        (
            "alexnet-2012",
            {"conv3": 0.01, "fc6": 0.01},
            {"conv1": 0, "conv2": 1, "fc7": 1, "fc8": 0},
        ),
        ("alexnet-2012-source", {"conv1": 0.01, "conv3": 0.03}, {"conv3": 0, "conv5": 1}),
        ("bvlc-alexnet", {"fc6": 0.005, "fc8": 0.01}, {"conv2": 0.1, "fc6": 0.1, "fc8": 0}),
        ("caffenet", {"fc7": 0.005, "conv3": 0.01}, {"conv4": 1, "conv3": 0}),
        ("cuda-convnet-80sec", {"conv1": 1e-4, "conv2": 0.01, "fc64": 0.1}, {"conv2": 0}),
        ("cuda-convnet-18pct", {"conv1": 1e-4, "conv3": 0.01, "fc10": 0.01}, {"fc10": 0}),
        ("cuda-convnet-11pct", {"conv2": 0.01, "local3": 0.04, "fc10": 0.01}, {"local4": 0}),
    ],
)
def test_weights_start_as_published(name, deviations, biases):
    state = build(zoo.network(name, classes=10)).state_dict()
    for row, deviation in deviations.items():
        assert state[f"{row}.weight"].std().item() == pytest.approx(deviation, rel=0.02), row
    for row, value in biases.items():
        assert (state[f"{row}.bias"] == value).all(), row


# --- locally connected, average pools ----------------------------------------------------------


@pytest.mark.parametrize(("stride", "padding"), [(1, 1), (1, 0), (2, 1)])
def test_every_position_has_filters_of_its_own(stride, padding):
    torch.manual_seed(0)
    shape = Local("local", channels=3, kernel=3, stride=stride, padding=padding).out((8, 5, 6))
    layer = LocallyConnected2d((8, 5, 6), shape, 3, stride, padding)
    for p in layer.parameters():
        torch.nn.init.normal_(p)
    weight, bias = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    padded = np.pad(X.double().numpy(), ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2))
    expected = np.empty((2, *shape))
    for number, (row, column) in enumerate(np.ndindex(*shape[1:])):
        y, x = row * stride, column * stride
        patch = padded[:, :, y : y + 3, x : x + 3].reshape(2, -1)
        own = bias[number * 3 : number * 3 + 3]
        expected[:, :, row, column] = patch @ weight[number].T + own
    np.testing.assert_allclose(layer(X).detach().numpy(), expected, rtol=2e-5, atol=1e-4)


def test_equal_filters_everywhere_are_a_convolution():
    layer = LocallyConnected2d((8, 5, 6), (4, 5, 6), 3, 1, 1)
    conv = torch.nn.Conv2d(8, 4, 3, padding=1)
    layer.weight.data[:] = conv.weight.data.flatten(1)
    layer.bias.data.view(30, 4)[:] = conv.bias.data
    torch.testing.assert_close(layer(X), conv(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [32, 24, 16, 13, 8, 7])
def test_an_average_counts_only_what_lies_inside(side):
    """cuda-convnet's local average: the last window of an even side overhangs by one."""
    network = Network(
        "n", (AvgPool("pool", kernel=3, stride=2, ceil=True),), side, "torch", "", "no one"
    )
    x = np.random.default_rng(side).normal(size=(2, 3, side, side))
    positions = -(-(side - 3) // 2) + 1
    expected = np.empty((2, 3, positions, positions))
    for row, column in np.ndindex(positions, positions):
        window = x[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected[:, :, row, column] = window.mean((2, 3))
    got = AlexNet(network, side)(torch.from_numpy(x))
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 6), (6, 7), (13, 13), (3, 3)])
def test_a_mean_over_parts_is_torchs_and_a_map_of_its_size_passes_as_it_is(shape):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, expected = AdaptiveAvgPool2d(6)(ours), F.adaptive_avg_pool2d(theirs, 6)
    assert torch.equal(found, expected)
    assert (found is ours) == (shape == (6, 6))
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize(("shape", "fetched"), [((7, 7), 1), ((6, 5), 1), ((6, 9), 0), ((2, 2), 1)])
def test_a_mean_that_a_device_refuses_is_taken_on_the_cpu(monkeypatch, shape, fetched):
    asked, cpu = [], torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: asked.append(x.shape) or cpu(x))
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    expected = F.adaptive_avg_pool2d(x, 3)
    assert torch.equal(AdaptiveAvgPool2d(3)(x), expected)
    assert asked == []  # this device takes any
    monkeypatch.setattr(pools, "EVEN_PARTS_ONLY", {"cpu"})
    found = AdaptiveAvgPool2d(3)(x)
    assert len(asked) == fetched
    assert torch.equal(found, expected)
    ours, theirs = (torch.autograd.grad(y.square().sum(), x)[0] for y in (found, expected))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_map_norm_has_the_window_of_2012_at_any_size(size):
    x, alpha, before = X.double().numpy(), 1e-2, size // 2
    expected = np.empty_like(x)
    for row, column in np.ndindex(5, 6):
        rows = slice(max(0, row - before), row - before + size)
        columns = slice(max(0, column - before), column - before + size)
        total = (x[:, :, rows, columns] ** 2).sum((2, 3))
        expected[:, :, row, column] = x[:, :, row, column] / (1 + alpha / size**2 * total) ** 0.75
    got = MapResponseNorm(size, alpha, 0.75)(X)
    np.testing.assert_allclose(got.numpy(), expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ("alexnet-2012", "(norm1): LocalResponseNorm(size=5, alpha=0.0005 (divided by size),"),
        ("alexnet-2012", "size), beta=0.75, k=2)"),
        ("alexnet-2012", "(drop6): Dropout(p=0.5, classic=True)"),
        ("alexnet-2012-source", "k=2, towers=2)"),
        ("alexnet-2012-source", "size=5, alpha=0.001 (divided by size**2), beta=0.75, k=1)"),
        ("alexnet-2012-source", "stride=(4, 4), overhang=3)"),
        ("owt", "(drop6): Dropout(p=0.5)"),
        ("keras-bn5", "track_running_stats=True, biased_var=True)"),
        (
            "cuda-convnet-18pct",
            "(pool2): AvgPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)",
        ),
        (
            "cuda-convnet-11pct",
            "LocallyConnected2d(outputs=(64, 6, 6), kernel=3, stride=1, padding=1)",
        ),
    ],
)
def test_a_printed_module_says_its_constants(network, said):
    assert said in str(unfilled(zoo.network(network)))
