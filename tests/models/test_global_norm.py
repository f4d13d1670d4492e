"""Batch norm over a divided batch against torch's over the whole one."""

import copy

import pytest
import torch
from pair import Pair
from tape import Tape
from torch import nn

from alexnet.models.global_norm import globalise
from alexnet.models.layers import BiasedBatchNorm2d

CASES = {
    "maps": (nn.BatchNorm2d, (7, 5, 4, 3)),
    "maps, biased": (BiasedBatchNorm2d, (7, 5, 4, 3)),
    "vectors": (nn.BatchNorm1d, (7, 5)),
}


def divided(layer, x, gradient, cut):
    """What two processes make of rows ``[:cut]`` and ``[cut:]``: outputs, gradients, layers."""
    pair = Pair()

    def work(rank):
        model = nn.Sequential(copy.deepcopy(layer)).train()
        globalise(model, pair.total(rank))
        rows = slice(0, cut) if rank == 0 else slice(cut, len(x))
        own = x[rows].clone().requires_grad_(True)
        y = model(own)
        y.backward(gradient[rows])
        return y.detach(), own.grad, model[0]

    return pair.run(work)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [3, 7], ids=["3 and 4 rows", "7 and no rows"])
def test_two_processes_give_the_numbers_of_one(case, cut):
    kind, shape = CASES[case]
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw, dtype=torch.float64) * 3 + 2
    gradient = torch.randn(shape, generator=draw, dtype=torch.float64)
    layer = kind(5, momentum=0.3, eps=1e-3).double().train()
    with torch.no_grad():
        layer.weight.uniform_(0.5, 2, generator=draw)
        layer.bias.uniform_(-1, 1, generator=draw)
    (y0, g0, first), (y1, g1, second) = divided(layer, x, gradient, cut)
    alone = copy.deepcopy(layer)
    own = x.clone().requires_grad_(True)
    y = alone(own)
    y.backward(gradient)
    close = {"rtol": 1e-9, "atol": 1e-10}
    torch.testing.assert_close(torch.cat([y0, y1]), y.detach(), **close)
    torch.testing.assert_close(torch.cat([g0, g1]), own.grad, **close)
    torch.testing.assert_close(first.weight.grad + second.weight.grad, alone.weight.grad, **close)
    torch.testing.assert_close(first.bias.grad + second.bias.grad, alone.bias.grad, **close)
    assert list(first.state_dict()) == list(alone.state_dict())
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first.state_dict()[name], value, **close)
        assert torch.equal(first.state_dict()[name], second.state_dict()[name])


def test_an_evaluation_uses_the_running_statistics_and_asks_nobody():
    model = nn.Sequential(nn.BatchNorm2d(3)).eval()
    x = torch.randn(2, 3, 4, 4)
    expected = model(x)
    globalise(model, lambda _: pytest.fail("an exchange"))
    assert torch.equal(model(x), expected)


def test_a_scale_that_is_not_learned_gets_no_gradient():
    layer = nn.BatchNorm2d(3)
    layer.weight.requires_grad_(False)
    model = nn.Sequential(layer)
    globalise(model, lambda tensor: tensor)
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    assert model[0].weight.grad is None
    assert model[0].bias.grad is not None


def test_bf16_stays_bf16_and_sums_in_float32():
    model = nn.Sequential(nn.BatchNorm2d(3))
    globalise(model, lambda tensor: tensor)
    x = torch.randn(64, 3, 16, 16).bfloat16().requires_grad_(True)
    y = model(x)
    y.float().square().mean().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert y.float().mean().abs() < 1e-3


def test_a_step_reads_no_number_from_its_device():
    """It would wait for a GPU there: the number of rows stays a tensor."""
    model = nn.Sequential(nn.BatchNorm2d(3))
    globalise(model, lambda tensor: tensor)
    x = torch.randn(2, 3, 4, 4)
    with Tape():
        model(x)
    alone = nn.BatchNorm2d(3)
    alone(x)
    torch.testing.assert_close(model[0].running_var, alone.running_var)
