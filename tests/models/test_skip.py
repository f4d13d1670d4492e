"""Skip connections: which row reads what, and owt's published one against an independent writing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import skipping
import torch
from torch.nn import functional as F

from alexnet.errors import UsageError
from alexnet.models import packing, split, table, transfer, wiring, zoo
from alexnet.models.build import build
from alexnet.models.rows import AdaptiveAvgPool, Conv, Dense, Flatten, MaxPool, ReLU
from alexnet.models.table import Network, TooSmall

READINGS = ["owt-skip", "owt-skip-as-published"]


# --- what the published program computes, written with torch's functions and NumPy ------------


def mean_to_6x6(maps):
    """Means over the windows floor(13 i / 6) to ceil(13 (i + 1) / 6), in float64."""
    side = maps.shape[-1]
    edges = [(i * side // 6, -(-(i + 1) * side // 6)) for i in range(6)]
    rows = [[maps[..., a:b, c:d].mean((-2, -1)) for c, d in edges] for a, b in edges]
    return np.moveaxis(np.array(rows), (0, 1), (-2, -1))


def conv(x, weights, name, **how):
    return F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **how)


def features(name, weights, x):
    """The 9216 features of torchvision's alexnet with the skip, in the order of the program."""
    x = F.max_pool2d(F.relu(conv(x, weights, "conv1", stride=4, padding=2)), 3, 2)
    x = F.max_pool2d(F.relu(conv(x, weights, "conv2", padding=2)), 3, 2)
    x = F.relu(conv(x, weights, "conv3", padding=1))
    before = conv(x, weights, "conv4", padding=1)
    last = F.max_pool2d(F.relu(conv(F.relu(before), weights, "conv5", padding=1)), 3, 2)
    skip = conv(F.relu(before), weights, "skipconv") if name == "owt-skip" else before
    return last.double().numpy() + mean_to_6x6(skip.double().numpy())


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize("side", [224, 227])
def test_the_features_are_those_of_the_program(name, side):
    network = transfer.with_head(zoo.network(name, classes=10), ())
    model = build(network, side).eval()
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    weights = model.state_dict()
    expected = features(name, weights, x).reshape(2, 9216)
    with torch.inference_mode():
        found = model.activations(x, ["conv4", "flatten"])
        logits = model(x)
    np.testing.assert_allclose(found["flatten"].numpy(), expected, rtol=1e-4, atol=1e-5)
    head = expected @ weights["head1.weight"].double().numpy().T + weights["head1.bias"].numpy()
    np.testing.assert_allclose(logits.numpy(), head, rtol=1e-4, atol=1e-5)
    assert found["conv4"].min() < 0, "not overwritten by the ReLU behind it"
    assert found["flatten"].min() < 0, "either reading adds signed values"


def test_the_program_reads_conv4_before_its_relu_and_the_correction_behind():
    read = {n: [r.reads for r in zoo.network(n).rows if r.reads] for n in READINGS}
    assert read == {"owt-skip": ["relu4"], "owt-skip-as-published": ["conv4"]}


@pytest.mark.parametrize("name", READINGS)
def test_a_gradient_flows_both_ways_and_is_that_of_autograd_over_the_program(name):
    model = build(transfer.with_head(zoo.network(name, classes=4), ())).train()
    x = torch.randn(1, 3, 224, 224)
    model(x).logsumexp(1).sum().backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    w = dict(model.named_parameters())
    y = F.max_pool2d(F.relu(conv(x, w, "conv1", stride=4, padding=2)), 3, 2)
    y = F.max_pool2d(F.relu(conv(y, w, "conv2", padding=2)), 3, 2)
    before = conv(F.relu(conv(y, w, "conv3", padding=1)), w, "conv4", padding=1)
    last = F.max_pool2d(F.relu(conv(F.relu(before), w, "conv5", padding=1)), 3, 2)
    skip = conv(F.relu(before), w, "skipconv") if name == "owt-skip" else before
    flat = (last + F.adaptive_avg_pool2d(skip, 6)).flatten(1)
    F.linear(flat, w["head1.weight"], w["head1.bias"]).logsumexp(1).sum().backward()
    for key, gradient in ours.items():
        torch.testing.assert_close(gradient, w[key].grad, rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize("make", skipping.NETWORKS.values(), ids=skipping.NETWORKS)
def test_both_layouts_in_memory_give_the_same(make):
    model = build(make()).eval()
    x = torch.randn(3, 3, 32, 32)
    plain = model(x)
    last = model.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last)
    )
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)


# --- counts ----------------------------------------------------------------------------------


def test_the_skip_costs_one_small_convolution():
    """256 x 256 weights and 256 biases, each weight used at 36 places."""
    plain, kept, trained = (
        table.totals(table.trace(zoo.network(n))) for n in ("owt", READINGS[1], READINGS[0])
    )
    assert kept == plain
    assert trained.trainable - plain.trainable == 65_792
    assert trained.multiply_adds - plain.multiply_adds == 256 * 256 * 36


def test_the_head_of_the_program_on_the_skip():
    """41,958,410 trained values of 9216-4096-1024-10, and those of the 1x1 convolution."""
    network = transfer.with_head(zoo.network("owt-skip", classes=10), (4096, 1024))
    assert table.totals(table.trace(network)).trainable == 2_469_696 + 41_958_410 + 65_792


def test_a_sum_sees_as_far_as_the_farther_of_its_two():
    fields = {s.row.name: s.receptive_field for s in table.trace(zoo.network("owt-skip"))}
    assert fields["skip"] == fields["pool5"] == 195
    assert fields["skippool"] == fields["relu4"] + 2 * 16  # three neighbours of 13, 16 pixels apart


# --- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READINGS)
@pytest.mark.parametrize(("side", "last"), [(64, 1), (128, 3), (222, 5), (255, 7)])
def test_sizes_at_which_the_maps_differ_are_refused(name, side, last):
    said = (
        rf"{side}x{side} does not fit {name}: layer 'skip' would add 256x6x6 \(skip\w+\) and "
        rf"256x{last}x{last} \(pool5\); the smallest legal picture is 223x223, the largest 254x254"
    )
    with pytest.raises(TooSmall, match=said):
        table.trace(zoo.network(name), side)


@pytest.mark.parametrize("side", [223, 224, 227, 254])
def test_sizes_at_which_they_agree_are_taken(side):
    steps = {s.row.name: s.outputs for s in table.trace(zoo.network("owt-skip"), side)}
    assert steps["pool5"] == steps["skipconv"] == steps["skip"] == (256, 6, 6)


def test_a_sum_that_no_picture_fits():
    rows = (
        AdaptiveAvgPool("a", side=2),
        AdaptiveAvgPool("b", side=3),
        wiring.Add("c", other="a"),
        Flatten("f"),
        Dense("d", units=2),
    )
    with pytest.raises(ValueError, match="never takes no square picture"):
        table.trace(Network("never", rows, 8, "torch", "", ""))


# --- which row reads what --------------------------------------------------------------------


def test_who_reads_what():
    rows = skipping.trained().rows
    read = dict(zip((r.name for r in rows), wiring.sources(rows), strict=True))
    assert read["conv1"] == ("",)
    assert (read["skippool"], read["skipconv"]) == (("relu2",), ("skippool",))
    assert read["skip"] == ("skipconv", "pool3")
    assert wiring.held(rows) == {"relu2", "pool3"}
    assert wiring.held(zoo.network("owt").rows) == frozenset()


@pytest.mark.parametrize("row", [ReLU("r", reads="x"), wiring.Add("r", other="fc8")])
def test_a_row_reads_only_what_stands_before_it(row):
    owt = zoo.network("owt")
    with pytest.raises(ValueError, match=r"'r' reads '(x|fc8)', which is no row before it"):
        table.trace(replace(owt, rows=(*owt.rows[:4], row, *owt.rows[4:])))


def test_what_enters_behind_the_frozen_rows():
    """All that the rest reads: of the trained branch two maps, of the plain one the sum."""
    for make, expected in (
        (skipping.trained, ["pool3", "skippool"]),
        (skipping.plain, ["flatten"]),
    ):
        network = make()
        frozen = transfer.frozen_rows(network, ("conv*",))
        first = transfer.fixed_rows(table.trace(network), frozen)
        assert wiring.entering(network.rows, first) == expected
    assert wiring.entering(skipping.trained().rows, 5) == ["relu2"]
    assert wiring.entering(skipping.trained().rows, 6) == ["relu2", "conv3"]
    assert wiring.entering(skipping.trained().rows, 0) == [wiring.PICTURE]


@pytest.mark.parametrize("make", skipping.NETWORKS.values(), ids=skipping.NETWORKS)
def test_a_network_goes_on_from_any_row(make):
    """From what ``packing`` lays side by side of the maps that enter, to the same logits."""
    model = build(make()).eval()
    x = torch.randn(3, 3, 32, 32)
    rows = model.network.rows
    for first in range(1, len(rows)):
        names = wiring.entering(rows, first)
        found = model.activations(x, names)
        again = model(packing.pack([found[n] for n in names]), first)
        torch.testing.assert_close(
            again, model(x), rtol=1e-4, atol=1e-4
        )  # another layout in memory


def test_maps_side_by_side_and_apart_again():
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 7), torch.randn(2, 1, 2, 2)]
    shapes = [tuple(m.shape[1:]) for m in maps]
    packed = packing.pack(maps)
    assert tuple(packed.shape[1:]) == packing.packed_shape(shapes) == (60 + 7 + 4,)
    assert packed[0, :3].tolist() == maps[0][0, :, 0, 0].tolist(), "channels last"
    for back, one in zip(packing.unpack(packed, shapes), maps, strict=True):
        assert torch.equal(back, one)
    assert packing.pack(maps[:1]) is maps[0]


def test_two_devices_do_not_divide_a_skip():
    rows = (
        Conv("conv1", channels=4, kernel=3, padding=1, groups=1),
        ReLU("relu1"),
        Conv("conv2", channels=4, kernel=3, padding=1, groups=2),
        wiring.Add("skip", other="relu1"),
        MaxPool("pool", kernel=3, stride=2),
        Flatten("flatten"),
        Dense("fc", units=2),
    )
    with pytest.raises(UsageError, match=r"'relu1' of n is read by a row further down"):
        split.halves(Network("n", rows, 8, "torch", "", ""))
