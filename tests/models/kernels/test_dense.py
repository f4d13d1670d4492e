"""Dense layers by rows beside torch in float64, and the sparse sums beside the whole ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from alexnet.models.kernels import ByRows, dense, native
from alexnet.models.layers import Linear

SHAPES = [
    pytest.param(1, 32, 1, id="one picture, one row"),
    pytest.param(3, 64, 5, id="fewer than a tile"),
    pytest.param(32, 1024, 50, id="a batch of 32"),
    pytest.param(7, 4096, 13, id="more inputs than are near at a time"),
    pytest.param(300, 288, 9, id="more pictures than inputs"),
]


def drawn(*shape, seed=0, share=1.0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=draw) * (torch.rand(shape, generator=draw) < share)


def numbers(count):
    return torch.arange(count, dtype=torch.int32)


def close(found, expected):
    assert float((found - expected).abs().max()) < 3e-6 * max(1, float(expected.abs().max()))


@pytest.mark.parametrize(("pictures", "inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_forward_is_that_of_float64(pictures, inputs, outputs, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    x, weight, bias = drawn(pictures, inputs), drawn(outputs, inputs, seed=1), drawn(outputs)
    found = dense.forward(x, weight, bias, numbers(outputs))
    close(found, nn.functional.linear(x.double(), weight.double(), bias.double()))
    assert torch.equal(
        dense.forward(x, weight, None, numbers(outputs)),
        dense.forward(x, weight, torch.zeros(outputs), numbers(outputs)),
    )


def test_a_result_has_the_same_bits_whatever_else_is_computed(monkeypatch):
    x, weight, bias = drawn(30, 2304), drawn(40, 2304, seed=1), drawn(40)
    whole = dense.forward(x, weight, bias, numbers(40))
    some = torch.tensor([3, 4, 11, 12, 13, 14, 39], dtype=torch.int32)
    part = dense.forward(x, weight, bias, some)
    assert torch.equal(part[:, some.long()], whole[:, some.long()])
    others = [row for row in range(40) if row not in some.tolist()]
    assert not part[:, others].any()
    assert not dense.forward(x, weight, bias, numbers(0)).any()
    assert torch.equal(dense.forward(x[5:12], weight, bias, numbers(40))[2], whole[7])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert torch.equal(dense.forward(x, weight, bias, numbers(40)), whole)


@pytest.mark.parametrize(("pictures", "rows", "columns"), [(1, 5, 8), (7, 64, 24), (32, 200, 1040)])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_product_across_is_that_of_float64(pictures, rows, columns, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    columns *= native.ready().lanes() // 8 or 1
    x, matrix, bias = drawn(pictures, rows), drawn(rows, columns, seed=1), drawn(columns)
    found = dense.across(x, matrix, bias)
    close(found, bias.double() + x.double() @ matrix.double())
    assert torch.equal(dense.across(x, matrix), dense.across(x, matrix, torch.zeros(columns)))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    assert torch.equal(dense.across(x, matrix, bias), found)


@pytest.mark.parametrize(("pictures", "inputs", "outputs"), SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_gradients_are_those_of_float64(pictures, inputs, outputs, share):
    layer = Linear(inputs, outputs)
    layer.by_rows = ByRows(awake=numbers(outputs))
    exact = nn.Linear(inputs, outputs).double()
    exact.load_state_dict(layer.state_dict())
    x = drawn(pictures, inputs, seed=2)
    mine, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    gradient = drawn(pictures, outputs, seed=3, share=share)
    layer(mine).backward(gradient)
    exact(theirs).backward(gradient.double())
    factors = layer.by_rows.take()
    close(mine.grad, theirs.grad)
    close(layer.bias.grad, exact.bias.grad)
    assert layer.weight.grad is None
    close(factors[1].T @ factors[0], exact.weight.grad)
    assert torch.equal(layer.by_rows.gradient(factors), factors[1].T @ factors[0])
    assert layer.by_rows.take() is None


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5], ids=["none", "few", "many"])
@pytest.mark.parametrize("threads", [1, 2])
def test_columns_give_what_rows_do(share, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer, exact = Linear(600, 96), nn.Linear(600, 96).double()
    exact.load_state_dict(layer.state_dict())
    layer.by_rows = ByRows(columns=True)
    dense.lay_out(layer.weight)
    before = drawn(13, 600, seed=2) - (0 if share > 0.1 else 2 - share * 10)  # few above zero
    if not share:
        before = -before.abs()
    mine, theirs = before.clone().requires_grad_(), before.double().requires_grad_()
    gradient = drawn(13, 96, seed=3)
    y, expected = layer(mine.relu()), exact(theirs.relu())
    assert dense.sparse(before.relu(), dense.FEW) == (share < 0.1)
    y.backward(gradient)
    expected.backward(gradient.double())
    factors = layer.by_rows.take()
    close(y.detach(), expected.detach())
    close(mine.grad, theirs.grad)
    close(layer.bias.grad, exact.bias.grad)
    whole = layer.by_rows.gradient(factors)
    close(whole, exact.weight.grad)
    assert whole.stride() == layer.weight.stride() == (1, 96)


def test_few_pictures_are_multiplied_by_rows_and_many_by_torch(monkeypatch):
    seen = []
    real = dense.forward
    monkeypatch.setattr(dense, "forward", lambda *given: seen.append(len(given[0])) or real(*given))
    layer = Linear(32, 4)
    layer.by_rows = ByRows()
    for count in (1, dense.SMALL, dense.SMALL + 1):
        x = drawn(count, 32)
        close(layer(x).detach(), nn.functional.linear(x, layer.weight, layer.bias).detach())
    assert seen == [1, dense.SMALL]


def test_two_passes_leave_one_gradient():
    layer = Linear(32, 4)
    layer.by_rows = ByRows()
    for seed in (1, 2):
        layer(drawn(3, 32, seed=seed)).sum().backward()
    x, gradient = layer.by_rows.take()
    assert (x.shape, gradient.shape) == ((6, 32), (6, 4))


def test_what_the_products_do_not_take_is_torchs():
    layer, plain = Linear(32, 4), nn.Linear(32, 4)
    plain.load_state_dict(layer.state_dict())
    layer.by_rows = ByRows()
    for wrong in (drawn(3, 16), drawn(3, 32).bfloat16()):
        with pytest.raises(RuntimeError):
            layer(wrong)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(drawn(3, 32)), plain(drawn(3, 32)))
    three = drawn(6, 32).reshape(2, 3, 32)
    assert torch.equal(layer(three), plain(three))
    assert layer.by_rows.taken == []


def test_what_fired_is_told_and_scoring_computes_all_rows():
    layer = Linear(32, 6)
    layer.by_rows = ByRows(awake=torch.tensor([1, 4], dtype=torch.int32))
    x = drawn(5, 32)
    y = layer(x)
    assert torch.equal(layer.by_rows.fired, (y > 0).any(0))
    assert not y[:, [0, 2, 3, 5]].any()
    layer.eval()
    assert layer(x).all()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (lambda layer: layer, True),
        (lambda layer: layer.requires_grad_(False), False),
        (lambda layer: layer.double(), False),
        (lambda layer: nn.Linear(8, 8), False),
        (lambda layer: nn.Linear(521, 521), False),
        (lambda layer: nn.Conv2d(512, 512, 1), False),
    ],
    ids=["large", "frozen", "double", "small", "odd", "convolution"],
)
def test_which_layers_are_worth_it(changed, expected):
    assert dense.suits(changed(Linear(512, 512))) is expected


@pytest.mark.parametrize("name", ["forward", "across"])
def test_a_kernel_that_computes_something_else_is_not_used(name, monkeypatch):
    dense.check()
    wrong = {"forward": lambda x, w: x @ w.T + 0.01, "across": lambda x, w: x @ w * 1.01}
    monkeypatch.setattr(dense, name, wrong[name])
    with pytest.raises(native.Unavailable, match="something else"):
        dense.check()


@pytest.mark.parametrize("owed", [0, 1, 500, 20_000])
def test_decays_made_together_have_the_bits_of_those_made_one_by_one(owed):
    torch.set_flush_denormal(True)
    squares = drawn(3, 96).square() * torch.logspace(-38, 0, 96)
    expected = squares.clone()
    for _ in range(owed):
        expected[1] *= torch.tensor(0.99)
    counts = torch.tensor([0, owed, 0], dtype=torch.int32)
    dense.settle(0.99, squares, counts)
    assert torch.equal(squares, expected)
    assert not counts.any()
