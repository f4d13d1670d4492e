"""Convolutions by minimal filtering beside torch's own in float64, and what they are not used for."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from alexnet.models import kernels, zoo
from alexnet.models.build import build
from alexnet.models.kernels import winograd, worth
from alexnet.models.layers import Conv2d, PaperConv2d

TALL = 2e-3  # of the spread: the transforms of tiles of 7, beside the rounding to bf16 itself
CLOSE = 3e-4  # of the spread of what is expected; float32 by direct sums has 1e-5, bf16 1e-2


def layer(inputs, outputs, side, padding, groups=1, overhang=0, bias=True):
    torch.manual_seed(0)
    found = PaperConv2d(inputs, outputs, side, padding=padding, groups=groups, bias=bias)
    found.overhang, found.minimal = overhang, True
    return found


def pictures(*shape):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(*shape, generator=draw)
    return x.to(memory_format=torch.channels_last)


def apart(found, expected):
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.std())


@pytest.mark.parametrize(
    ("built", "height", "width"),
    [
        pytest.param((32, 64, 3, 1), 13, 13, id="tiles of 5 that hang over the edge"),
        pytest.param((64, 32, 3, 1), 6, 6, id="tiles of 3"),
        pytest.param((32, 32, 3, 1), 8, 31, id="tiles of 4, height and width apart"),
        pytest.param((64, 32, 3, 0), 9, 12, id="no padding"),
        pytest.param((32, 32, 3, 2), 10, 10, id="more padding than keeps the size"),
        pytest.param((32, 64, 5, 2), 27, 27, id="filters of 5"),
        pytest.param((64, 64, 5, 2, 2), 11, 11, id="two towers"),
        pytest.param((32, 32, 3, 1, 1, 1), 15, 15, id="a window over the edge"),
    ],
)
def test_outputs_and_gradients_are_those_of_float64(built, height, width):
    compare(built, height, width)


@pytest.mark.parametrize(("side", "groups"), [(3, 1), (5, 1), (5, 2)])
def test_channels_may_end_in_half_a_panel(side, groups, kernel):
    lanes = kernel.lanes()
    compare((3 * lanes * groups, 5 * lanes * groups, side, side // 2, groups), 11, 14)
    compare((5 * lanes * groups, 3 * lanes * groups, side, side // 2, groups), 11, 14)


def compare(built, height, width):
    fast = layer(*built)
    exact = torch.nn.Conv2d(*built[:3], padding=built[3], groups=fast.groups).double()
    exact.load_state_dict(fast.state_dict())
    x = pictures(3, built[0], height, width)
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    assert kernels.fits(fast, x)
    grown = F.pad(theirs, (0, fast.overhang, 0, fast.overhang))
    y, expected = fast(mine), exact(grown)
    gradient = pictures(*expected.shape).double()
    y.backward(gradient.float())
    expected.backward(gradient)
    assert y.shape == expected.shape
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert apart(y, expected) < CLOSE
    assert apart(mine.grad, theirs.grad) < CLOSE
    assert apart(fast.weight.grad, exact.weight.grad) < CLOSE
    assert apart(fast.bias.grad, exact.bias.grad) < CLOSE


@pytest.mark.parametrize(
    ("outputs", "padding", "height", "width"),
    [(96, 0, 227, 227), (64, 2, 224, 200), (96, 0, 99, 67), (64, 0, 224, 224)],
    ids=["2012", "2014, a wide one", "small", "a rest of a stride"],
)
def test_the_first_layer_is_folded_into_filters_of_three(outputs, padding, height, width, kernel):
    torch.manual_seed(0)
    fast = Conv2d(3, outputs, 11, 4, padding)
    exact = torch.nn.Conv2d(3, outputs, 11, 4, padding).double()
    exact.load_state_dict(fast.state_dict())
    fast.minimal = True
    x = pictures(2, 3, height, width)
    assert kernels.folds(fast, x)
    y, expected = fast(x), exact(x.double())
    gradient = pictures(*expected.shape).double()
    y.backward(gradient.float())
    expected.backward(gradient)
    assert y.shape == expected.shape
    assert apart(y, expected) < CLOSE
    assert apart(fast.weight.grad, exact.weight.grad) < 3 * CLOSE  # sums of 3,025 positions
    assert apart(fast.bias.grad, exact.bias.grad) < CLOSE


def test_pictures_whose_gradient_is_asked_for_are_not_folded():
    fast, x = Conv2d(3, 96, 11, 4), pictures(1, 3, 227, 227)
    assert not kernels.folds(fast, x.requires_grad_())
    assert not kernels.folds(Conv2d(3, 96, 7, 2), x.detach())  # four blocks of two: no tiles


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_equal_calls_give_equal_bits(threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    fast, x = layer(32, 32, 3, 1), pictures(40, 32, 13, 13)

    def gradients():
        fast.zero_grad()
        fast(x).square().mean().backward()
        return fast.weight.grad.clone(), fast(x).detach()

    for once, again in zip(gradients(), gradients(), strict=True):
        assert torch.equal(once, again)


def test_the_number_of_threads_changes_no_output(monkeypatch):
    fast, x = layer(32, 32, 3, 1), pictures(40, 32, 13, 13)
    found = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found.append(fast(x))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_any_layout_of_the_input_is_read_aright():
    fast, x = layer(32, 32, 3, 1), pictures(2, 64, 8, 8)
    part = x[:, 16:48]
    assert torch.equal(fast(part), fast(part.contiguous()))
    assert torch.equal(fast(part), fast(part.contiguous(memory_format=torch.channels_last)))
    turned = part.transpose(2, 3)
    assert torch.equal(fast(turned), fast(turned.contiguous()))


@pytest.mark.parametrize(
    ("changes", "x"),
    [
        ({"stride": 2}, {}),
        ({"kernel_size": 7, "padding": 3}, {}),
        ({"in_channels": 3}, {"channels": 3}),
        ({"out_channels": 40}, {}),
        ({}, {"side": 2}),
        ({}, {"dtype": torch.float64}),
    ],
    ids=["stride", "side", "few channels", "odd channels", "tiny map", "float64"],
)
def test_other_convolutions_stay_as_they_are(changes, x):
    how = {"in_channels": 32, "out_channels": 32, "kernel_size": 3, "padding": 1} | changes
    side, dtype = x.get("side", 13), x.get("dtype", torch.float32)
    found = Conv2d(**how).to(dtype)
    given = torch.zeros(1, x.get("channels", 32), side, side, dtype=dtype)
    assert not kernels.fits(found, given)
    found.minimal = True
    expected = F.conv2d(given, found.weight, found.bias, found.stride, found.padding)
    assert torch.equal(found(given), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_of_single_places_is_a_product(layout):
    fast, exact = Conv2d(256, 40, 1), torch.nn.Conv2d(256, 40, 1).double()
    exact.load_state_dict(fast.state_dict())
    fast.minimal = True
    x = pictures(2, 256, 6, 5).contiguous(memory_format=layout)
    assert kernels.is_product(fast, x)
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    found, expected = fast(mine), exact(theirs)
    weights = pictures(2, 40, 6, 5)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    same = {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(found.double(), expected, **same)
    torch.testing.assert_close(mine.grad.double(), theirs.grad, **same)
    for ours, own in zip(fast.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.double(), own.grad, **same)


@pytest.mark.parametrize(
    "changes",
    [{"in_channels": 255}, {"kernel_size": 3}, {"stride": 2}, {"padding": 1}, {"groups": 2}],
    ids=str,
)
def test_other_convolutions_are_no_products(changes):
    how = {"in_channels": 256, "out_channels": 8, "kernel_size": 1} | changes
    assert not kernels.is_product(Conv2d(**how), torch.zeros(1, how["in_channels"], 6, 6))


def test_the_filters_gradient_is_summed_over_all_rounds(monkeypatch):
    fast, x = layer(32, 32, 3, 1), pictures(40, 32, 13, 13)
    assert winograd.SHARED_ROWS < 40 * 9  # tiles of 5
    exact = torch.nn.Conv2d(32, 32, 3, padding=1).double()
    exact.load_state_dict(fast.state_dict())
    gradient = pictures(40, 32, 13, 13)
    exact(x.double()).backward(gradient.double())
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        fast.zero_grad()
        fast(x).backward(gradient)
        assert apart(fast.weight.grad, exact.weight.grad) < CLOSE
        found.append(fast.weight.grad)
    assert torch.equal(*found)  # threads share the sums


def test_no_pictures_give_no_gradient():
    fast, x = layer(32, 32, 3, 1), pictures(0, 32, 13, 13)
    y = fast(x)
    assert y.shape == (0, 32, 13, 13)
    y.sum().backward()
    assert not bool(fast.weight.grad.any())


NARROW = pytest.mark.parametrize(
    ("built", "height", "width"),
    [
        pytest.param((192, 160, 3, 1), 13, 13, id="tiles of 7 that hang over the edge"),
        pytest.param((192, 192, 3, 1), 7, 14, id="tiles of 7"),
        pytest.param((128, 128, 3, 1), 15, 20, id="tiles of 5"),
        pytest.param((64, 64, 5, 2), 27, 27, id="filters of 5"),
        pytest.param((128, 128, 5, 2, 2), 16, 16, id="two towers"),
    ],
)


@NARROW
@pytest.mark.parametrize("how", ["autocast", "bf16"])
def test_maps_of_bf16_are_as_near_to_float64_as_rounding_them(built, height, width, how):
    fast = layer(*built)
    exact = torch.nn.Conv2d(*built[:3], padding=built[3], groups=fast.groups).double()
    exact.load_state_dict({k: v.bfloat16() for k, v in fast.state_dict().items()})
    x = pictures(3, built[0], height, width).bfloat16()
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    if how == "bf16":
        fast.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        assert kernels.fits(fast, x)
        y = fast(mine)
    expected = exact(theirs)
    gradient = pictures(*expected.shape).bfloat16()
    y.backward(gradient)
    expected.backward(gradient.double())
    assert y.dtype == mine.grad.dtype == torch.bfloat16
    assert y.is_contiguous(memory_format=torch.channels_last)
    asked = torch.float32 if how == "autocast" else torch.bfloat16
    assert fast.weight.grad.dtype == fast.bias.grad.dtype == asked
    for ours, own in [
        (y, expected),
        (mine.grad, theirs.grad),
        (fast.weight.grad, exact.weight.grad),
        (fast.bias.grad, exact.bias.grad),
    ]:
        error = (ours.double() - own).detach().abs()
        half = own.detach().abs() * 2**-8 + TALL * own.detach().std()
        assert bool((error <= half).all()), float((error / half).max())


def test_autocast_and_bf16_weights_give_the_same_bits():
    cast, narrow = layer(192, 192, 3, 1), layer(192, 192, 3, 1).bfloat16()
    x = pictures(4, 192, 13, 13)
    with torch.autocast("cpu", torch.bfloat16):
        y = cast(x)
    assert kernels.fits(narrow, x.bfloat16())
    other = narrow(x.bfloat16())
    assert torch.equal(y, other)
    y.square().mean().backward()
    other.square().mean().backward()
    assert torch.equal(cast.weight.grad.bfloat16(), narrow.weight.grad)


@pytest.mark.parametrize(
    ("built", "side", "taken"),
    [
        ((96, 256, 5, 2), 27, True),  # 5.8 times fewer
        ((64, 128, 3, 1), 15, True),  # 4.6
        ((384, 384, 3, 1), 6, True),  # 4.0, in one tile of 7
        ((96, 256, 5, 2), 6, False),  # 3.5, and torch leaves a third of it out
        ((32, 64, 3, 1), 15, False),  # 4.6, but few channels
    ],
)
def test_maps_of_bf16_take_more_to_be_worth_it(built, side, taken):
    fast, x = layer(*built), pictures(1, built[0], side, side)
    assert kernels.fits(fast, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert kernels.fits(fast, x) == taken
        assert kernels.fits(fast, x.bfloat16()) == taken
    assert kernels.fits(fast.bfloat16(), x.bfloat16()) == taken


def test_other_types_are_left_to_torch():
    fast, x = layer(128, 128, 3, 1), pictures(1, 128, 15, 15)
    with torch.autocast("cpu", torch.float16):
        assert not kernels.fits(fast, x)
    assert not kernels.fits(fast, x.bfloat16())  # torch's error tells of the weights' type
    assert kernels.fits(fast.bfloat16(), x.bfloat16())


def test_results_are_rounded_to_bf16_as_torch_rounds():
    narrow, x = layer(160, 128, 3, 1).bfloat16(), pictures(2, 160, 15, 15).bfloat16()
    x[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), 3e38])
    wide = layer(160, 128, 3, 1).bfloat16().float()
    plan = worth.Layer(3, 15, 15, 160, 128)
    assert plan.tile() == plan.tile(narrow=True)
    found, expected = narrow(x), wide(x.float()).bfloat16()
    assert bool(found[0].isnan().any())
    assert not bool(found[1].isnan().any())
    assert torch.equal(found.nan_to_num(), expected.nan_to_num())


def test_fewer_multiplications_by_hand():
    # 13x13 in nine tiles of 5x5, each of 7x7 products: 13*13*9 / (9*49)
    conv4, conv2 = worth.Layer(3, 13, 13, 384, 384), worth.Layer(5, 27, 27, 96, 256)
    assert conv4.tile() == 5
    assert conv4.direct / conv4.products(5) == pytest.approx(1521 / 441)
    # for bf16 in four of 7x7, each of 9x9 products
    assert conv4.tile(narrow=True) == 7
    assert conv4.direct / conv4.products(7) == pytest.approx(1521 / 324)
    # 27x27 in 49 tiles of 4x4, each of 8x8 products: 27*27*25 / (49*64)
    assert conv2.tile() == 4
    assert conv2.direct / conv2.products(4) == pytest.approx(18225 / 3136)
    assert worth.times_fewer(96, 256, 5, 1, (27, 27), 8) == pytest.approx(18225 / 3136)
    assert worth.times_fewer(256, 256, 11, 1, (55, 55), 8) == 1


def test_multiply_adds_that_meet_the_picture_by_hand():
    # of 3x3 places and 3x3 filters: corners meet 4, sides 6, the middle 9
    assert worth.Layer(3, 3, 3, 2, 5).inside(1) == (4 * 4 + 4 * 6 + 9) * 2 * 5
    # of 5x5 filters at 6x6: 3, 4, 5, 5, 4, 3 each way
    assert worth.Layer(5, 6, 6, 1, 1).inside(2) == 24**2
    assert worth.Layer(5, 6, 6, 1, 1).inside(0) == 900


def test_transforms_decide_between_tiles_of_few_channels():
    # 32x32: 64 tiles of 4x4 or 25 of 7x7, 2,304 or 2,025 products each
    assert worth.Layer(3, 32, 32, 64, 128).tile(narrow=True) == 4
    assert worth.Layer(3, 32, 32, 512, 512).tile(narrow=True) == 7


@pytest.mark.parametrize("name", ["keras-lab", "alexnet-2012"])
def test_a_network_learns_the_same(name):
    network = zoo.network(name)
    direct = build(network, 67 if name == "keras-lab" else 99)
    fast = build(network, direct.size)
    kernels.use(fast)
    x, labels = pictures(4, 3, direct.size, direct.size), torch.arange(4)
    losses = []
    for model in (direct.eval(), fast.eval()):
        rule = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
        curve = []
        for _ in range(6):
            loss = F.cross_entropy(model(x), labels)
            rule.zero_grad()
            loss.backward()
            rule.step()
            curve.append(float(loss.detach()))
        losses.append(curve)
    assert losses[0][-1] < losses[0][0]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_a_kernel_that_computes_something_else_is_refused(monkeypatch):
    winograd.check.cache_clear()
    monkeypatch.setattr(winograd, "_slide", lambda x, *_: torch.zeros_like(x))
    with pytest.raises(kernels.Unavailable, match="something else"):
        winograd.check()
    winograd.check.cache_clear()


def odd(kind, **how):
    found = kind(32, 64, **{"kernel_size": 3, "padding": 1, **how})
    found.minimal = True
    return found


@pytest.mark.parametrize(
    ("built", "shape"),
    [
        ({}, (1, 64, 13, 13)),  # torch's error tells of the channels
        ({}, (32, 13, 13)),  # one picture without a batch
        ({"padding": 2}, (1, 32, 0, 13)),
        ({"dilation": 2, "padding": 2}, (1, 32, 13, 13)),
        ({"padding_mode": "reflect"}, (1, 32, 13, 13)),
        ({"padding": "same"}, (1, 32, 13, 13)),
        ({"kernel_size": (3, 5), "padding": 1}, (1, 32, 13, 13)),
        ({"padding": (1, 0)}, (1, 32, 13, 13)),
        ({"stride": (1, 2)}, (1, 32, 13, 13)),
    ],
)
def test_what_no_table_builds_is_left_to_torch(built, shape):
    assert kernels.fits(odd(Conv2d), pictures(1, 32, 13, 13))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    assert not kernels.fits(odd(Conv2d, **built), x)


def test_pictures_of_other_colours_are_not_folded():
    first = Conv2d(3, 96, 11, 4)
    assert kernels.folds(first, pictures(1, 3, 227, 227))
    assert not kernels.folds(first, pictures(1, 4, 227, 227))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_type_that_tensors_have_by_default_changes_nothing(dtype, monkeypatch):
    fast, x = layer(32, 32, 3, 1), pictures(4, 32, 13, 13)
    fast(x).square().sum().backward()
    expected, before = fast.weight.grad.clone(), torch.get_default_dtype()
    fast.zero_grad()
    try:
        torch.set_default_dtype(dtype)
        winograd.check.__wrapped__()
        fast(x).square().sum().backward()
    finally:
        torch.set_default_dtype(before)
    assert torch.equal(fast.weight.grad, expected)


@pytest.mark.parametrize(
    ("pictures_", "tiles", "threads", "chunk", "working"),
    [
        (128, 49, 2, 3, 2),  # 43 rounds: 22 and 21
        (8, 49, 2, 2, 2),  # 4 rounds instead of 3
        (128, 1, 16, 8, 16),  # 128 tiles would be one round
        (1, 49, 16, 1, 1),
        (5, 49, 4, 2, 3),
        (0, 9, 2, 1, 1),
    ],
)
def test_rounds_are_as_many_for_each_thread(pictures_, tiles, threads, chunk, working):
    assert winograd._rounds(pictures_, tiles, threads) == (chunk, working)


@pytest.mark.parametrize(
    ("channels", "side", "taken"),
    [(16, 13, False), (16, 56, False), (48, 27, True), (96, 13, True)],
)
def test_few_channels_are_not_worth_the_transforms(channels, side, taken):
    # two Zen 4 cores, float32, both ways: .54 and .83 times as fast, 1.23 times; not measured for the last
    assert (worth.times_fewer(channels, channels, 3, 1, (side, side), 8) > 1) == taken
