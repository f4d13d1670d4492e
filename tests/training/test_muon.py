"""Many kernels in one product are each of them alone; few launches, and nothing asked of a GPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tape import ASKING
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from alexnet.recipe import Optim
from alexnet.training import groups, muon, optim

SHAPES = [(6, 4, 3, 3), (6, 4, 3, 3), (5, 3, 1, 1), (40, 5), (17, 90), (16, 64), (1, 7)]


@pytest.fixture(autouse=True)
def exactly(monkeypatch):
    """In float32, as on hardware without units for bf16: its rounding would hide what is compared."""
    monkeypatch.setattr(muon, "fast_bf16", lambda device: False)


class Kernels(nn.Module):
    """Kernels wide and tall, alike and not, of channels last where they have places; and a head."""

    def __init__(self) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(0)
        for n, shape in enumerate(SHAPES):
            layer = nn.Module()
            layer.weight = nn.Parameter(torch.randn(shape, generator=draw))
            layer.bias = nn.Parameter(torch.randn(shape[0], generator=draw))
            self.add_module(f"row{n}", layer)
        self.add_module("head", nn.Linear(3, 2))


def moved(*, together: bool, tensor_rate: bool = False, steps: int = 4) -> dict[str, Tensor]:
    """Return weights and memory after some steps; gradients of even ones are contiguous."""
    torch.manual_seed(0)
    model = Kernels().to(memory_format=torch.channels_last)
    rule = optim.make(model, Optim(name="muon", lr=0.05, momentum=0.6, aux_lr=0.01))
    assert isinstance(rule, muon.Muon)
    assert not rule.together  # on a CPU
    rule.together = together
    for step in range(steps):
        draw = torch.Generator().manual_seed(step)
        groups.set_rate(rule, 1 - step / 8)
        for group in rule.param_groups:
            group["lr"] = torch.tensor(group["lr"]) if tensor_rate else group["lr"]
        for p in model.parameters():
            drawn = torch.randn(p.shape, generator=draw)
            p.grad = torch.empty_like(p).copy_(drawn) if step % 2 else drawn
        model.row1.weight.grad = None if step == 2 else model.row1.weight.grad
        rule.step()
    return {**model.state_dict(), **optim.memory_of(rule, model)}


@pytest.mark.parametrize("small", [1, muon.SMALL], ids=["equal shapes", "similar ones"])
@pytest.mark.parametrize("tensor_rate", [False, True])
def test_together_is_one_by_one(tensor_rate, small, monkeypatch):
    monkeypatch.setattr(muon, "SMALL", small)
    ours, theirs = (moved(together=one, tensor_rate=tensor_rate) for one in (True, False))
    assert [*ours] == [*theirs]
    for name, value in theirs.items():
        assert ours[name].stride() == value.stride(), name
        torch.testing.assert_close(ours[name], value, rtol=2e-5, atol=2e-5, msg=name)


def test_in_bf16_it_is_as_near_to_float32_as_one_by_one(monkeypatch):
    exact = moved(together=False)
    monkeypatch.setattr(muon, "fast_bf16", lambda device: True)
    ours, theirs = (moved(together=one) for one in (True, False))
    for name in (f"row{n}.weight" for n in range(len(SHAPES) - 1)):
        off, allowed = ((of[name] - exact[name]).norm() for of in (ours, theirs))
        assert 0 < off < 1.5 * allowed, name


def test_matrices_that_are_alike_are_one_batch():
    sides = [
        (64, 576),
        (16, 64),
        (256, 2304),
        (65, 70),
        (512, 512),
        (600, 900),
        (600, 901),
        (600, 900),
    ]
    assert muon._batches(sides) == [[0], [1], [2, 3], [4], [5, 7], [6]]


def test_zeros_around_a_matrix_change_nothing():
    draw = torch.Generator().manual_seed(0)
    small, large = torch.randn(17, 30, generator=draw), torch.randn(90, 64, generator=draw)
    assert muon._batches([(17, 30), (64, 90)]) == [[0, 1]]
    for found, matrix in zip(muon.orthogonalise_all([small, large]), (small, large), strict=True):
        torch.testing.assert_close(found, muon.orthogonalise(matrix), rtol=1e-5, atol=1e-5)


class Counts(TorchDispatchMode):
    """Counts what a GPU would be told to do; of lists, one launch for all."""

    def __init__(self) -> None:
        super().__init__()
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in ASKING
        views = func.is_view or name.startswith(("empty", "new_empty"))
        self.launches += 0 if views else 1 + (name == "_foreach_norm")
        return func(*args, **(kwargs or {}))


def launches(*, together: bool) -> int:
    """Count those of a step of six hidden kernels, biases, norms and head: alexnet-cifar's, in small."""
    model = nn.Sequential()
    shapes = [(24, 16), (40, 24), (40, 40), (40, 40), (128, 360), (128, 128), (10, 128)]
    for n, shape in enumerate(shapes):
        layer = nn.Linear(*shape[::-1]) if n > 3 else nn.Conv2d(*shape[::-1], 3)
        model.add_module(f"row{n}", layer)
    rule = optim.make(model, Optim(name="muon", lr=0.1, momentum=0.6, aux_lr=0.01))
    rule.together = together
    for group in rule.param_groups:
        group["lr"] = torch.tensor(0.1)
    for _ in range(2):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        with Counts() as counted:
            rule.step()
    return counted.launches


def test_few_launches_and_no_questions():
    found = {together: launches(together=together) for together in (True, False)}
    print(found)
    assert found[True] < 60
    assert found[False] > 120
