"""The arithmetic of tables, against counting windows one by one and against torch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet.models import zoo
from alexnet.models.rows import AdaptiveAvgPool, Conv, MaxPool, windows
from alexnet.models.table import TooSmall, smallest_size, trace


@given(
    side=st.integers(1, 300),
    kernel=st.integers(1, 15),
    stride=st.integers(1, 6),
    padding=st.integers(0, 7),
)
def test_floor_counts_the_windows_that_fit(side, kernel, stride, padding):
    fitting = [p for p in range(0, side + 2 * padding, stride) if p + kernel <= side + 2 * padding]
    assert windows(side, kernel, stride, padding, ceil=False) == len(fitting)


@given(side=st.integers(3, 64), stride=st.integers(1, 3), ceil=st.booleans())
def test_pool_sizes_are_those_of_torch(side, stride, ceil):
    row = MaxPool("pool", kernel=3, stride=stride, ceil=ceil)
    # torch drops a last window that starts outside the picture; with kernel >= stride none does.
    out = torch.nn.functional.max_pool2d(torch.zeros(1, 1, side, side), 3, stride, ceil_mode=ceil)
    assert row.out((1, side, side)) == tuple(out.shape[1:])


def test_the_2012_program_rounds_up():
    assert windows(224, 11, 4, 0, ceil=True) == 55
    assert windows(224, 11, 4, 0, ceil=False) == 54
    assert windows(227, 11, 4, 0, ceil=False) == 55


def test_sums_in_words():
    assert Conv("c", channels=96, kernel=11, stride=4).sum_in_words(227) == "(227-11+0)/4+1 = 55"
    assert (
        Conv("c", channels=96, kernel=11, stride=4).sum_in_words(224)
        == "floor((224-11+0)/4)+1 = 54"
    )
    assert MaxPool("p", kernel=3, stride=2).sum_in_words(55) == "(55-3+0)/2+1 = 27"


def test_grouped_convolution_has_half_the_weights():
    shape = (96, 27, 27)
    assert Conv("c", channels=256, kernel=5, padding=2, groups=2).parameters(shape) == 307_456
    assert Conv("c", channels=256, kernel=5, padding=2).parameters(shape) == 614_656


@pytest.mark.parametrize(
    ("name", "row", "side"),
    [
        ("keras-lab", "pool2", 227),
        ("alexnet-2012-source", "conv3", 224),
        ("cuda-convnet-18pct", "mapnorm1", 24),
        ("cuda-convnet-18pct", "mapnorm2", 64),
    ],
)
def test_receptive_field_is_where_a_gradient_reaches(name, row, side):
    """The table's receptive field against the pixels whose gradient is not zero."""
    from alexnet.models.build import build

    network = zoo.network(name)
    field = {s.row.name: s.receptive_field for s in trace(network, side)}[row]
    model = build(network, side).double().eval()
    picture = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
    found = model.activations(picture, [row])[row]
    middle = found.shape[-1] // 2
    found[0, :, middle, middle].sum().backward()
    touched = (picture.grad[0].abs().sum(0) > 0).nonzero()
    extent = (touched.max(0).values - touched.min(0).values + 1).tolist()
    assert extent == [field, field]


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_smallest_size_is_legal_and_one_less_is_not(name):
    network = zoo.network(name)
    smallest = smallest_size(network)
    trace(network, smallest)
    with pytest.raises(TooSmall, match=f"smallest legal picture is {smallest}x{smallest}"):
        trace(network, smallest - 1)


def test_too_small_names_the_layer():
    with pytest.raises(TooSmall, match="64x64 vanishes at layer 'pool5' of keras-lab"):
        trace(zoo.network("keras-lab"), 64)


@pytest.mark.parametrize("side", range(1, 16))
def test_an_adaptive_pool_sees_what_torch_averages(side):
    """The widest window, counted where a gradient reaches."""
    row = AdaptiveAvgPool("pool", side=6)
    x = torch.zeros(1, 1, side, side, requires_grad=True)
    out = torch.nn.functional.adaptive_avg_pool2d(x, 6)
    assert row.out((1, side, side)) == tuple(out.shape[1:])
    widths = []
    for position in range(6):
        (gradient,) = torch.autograd.grad(out[0, 0, position, 0], x, retain_graph=True)
        widths.append(int((gradient[0, 0].abs().sum(1) > 0).sum()))
    assert row.widest(side) == max(widths)
