"""``keras-lab`` against Keras itself: same weights, same pictures, numbers that Keras gave.

Differences are relative to the largest number of a tensor (torch 2.13.0 CPU, Keras 3.15.1 on
TensorFlow 2.21.0), and each tolerance below is a small factor above what was measured:

                            float32    float64
    logits, inference       9.4e-7     4.7e-15
    logits, training        6.7e-6     4.3e-14
    loss                    4.0e-6     1e-14
    gradients               1.9e-2     1.7e-13
    losses of five steps    6.4e-2     2.3e-12
    weights after five      1.4e-1     1.3e-11

float64 settles the semantics. In float32 nobody can agree: a ReLU or a maximum that changes side on
the last bit moves a gradient by a per cent, and Adam turns the sign of a tiny gradient into a whole
step (the loss jumps from 3.4 to 150 at the first). Keras on one thread differs from Keras on two by
1.6e-2 after five steps, and Keras in float32 from itself in float64 by 1.4e-1.
"""

from __future__ import annotations

from functools import cache

import formula
import pytest
import torch
from compare import apart, far, golden
from torch import Tensor
from torch.nn import functional as F

from alexnet.models import rows, table, zoo
from alexnet.models.build import AlexNet
from alexnet.models.layers import Dropout
from alexnet.recipe import Optim
from alexnet.training import optim

NETWORK = golden("network")
TYPES = {"float32": torch.float32, "float64": torch.float64}
both = pytest.mark.parametrize("kind", TYPES)


@cache
def weights() -> dict[str, Tensor]:
    """Draw every tensor once (233 MB)."""
    return {name: torch.from_numpy(formula.tensor(name)) for name in formula.TENSORS}


def lab(kind: str) -> AlexNet:
    """Build the network with the formula's weights and without dropout, in training mode."""
    model = AlexNet(zoo.network("keras-lab")).to(TYPES[kind])
    state = model.state_dict()
    assert set(formula.TENSORS) == {k for k in state if not k.endswith("num_batches_tracked")}
    with torch.no_grad():
        for name, value in weights().items():
            state[name].copy_(value)
    for layer in model.modules():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    return model.train()


def batch(number: int, kind: str) -> tuple[Tensor, Tensor]:
    """Return pictures (4, 3, 227, 227) and labels (4,)."""
    pictures, labels = formula.batch(number)
    return torch.from_numpy(pictures).to(TYPES[kind]), torch.from_numpy(labels)


def test_the_table_is_the_summary_that_keras_prints() -> None:
    expected = golden("summary")
    steps = table.trace(zoo.network("keras-lab"))
    shown = [s for s in steps if not isinstance(s.row, rows.ReLU)]  # Keras: part of conv and dense
    found = [
        {
            "type": s.row.kind,
            "output_shape": [None, *s.outputs[1:], s.outputs[0]],  # rows, columns, channels
            "parameters": s.parameters + s.buffers,
        }
        for s in shown
    ]
    assert found == [{k: v for k, v in row.items() if k != "name"} for row in expected["rows"]]
    totals = table.totals(steps)
    assert totals.trainable == expected["trainable"]
    assert totals.buffers == expected["untrained"]
    assert totals.parameters == expected["total"]


@both
def test_logits(kind: str) -> None:
    limit = {"float32": 1e-5, "float64": 1e-13}[kind]
    model, (pictures, _) = lab(kind), batch(0, kind)
    with torch.no_grad():
        logits = model.eval()(pictures)
    assert apart(logits, NETWORK[kind]["logits_inference"]) < limit


@both
def test_logits_and_running_statistics_in_training(kind: str) -> None:
    limit = {"float32": 5e-5, "float64": 1e-12}[kind]
    model, (pictures, _) = lab(kind), batch(0, kind)
    with torch.no_grad():
        logits = model(pictures)
    assert apart(logits, NETWORK[kind]["logits_training"]) < limit
    state = model.state_dict()
    for name, expected in NETWORK[kind]["running_after_one"].items():
        assert far(state[name], expected) < limit, name


@both
def test_loss_and_gradients(kind: str) -> None:
    limit = {"float32": 1e-1, "float64": 5e-12}[kind]
    model, (pictures, labels) = lab(kind), batch(0, kind)
    loss = F.cross_entropy(model(pictures), labels)
    loss.backward()
    assert loss.item() == pytest.approx(NETWORK[kind]["loss"], rel=min(limit, 5e-5))
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert far(parameter.grad, NETWORK[kind]["gradients"][name]) < limit, name


@pytest.mark.slow
def test_five_steps_of_adam() -> None:
    kind, limit = "float64", 5e-10
    model = lab(kind)
    rule = optim.make(model, Optim(name="keras-adam", lr=0.001, eps=1e-7))
    losses = [step(model, rule, number, kind) for number in range(formula.STEPS)]
    assert apart(losses, NETWORK[kind]["losses"]) < limit
    state = model.state_dict()
    for name, expected in NETWORK[kind]["after"].items():
        assert far(state[name], expected) < limit, name


def test_one_step_of_adam_in_float32() -> None:
    model = lab("float32")
    rule = optim.make(model, Optim(name="keras-adam", lr=0.001, eps=1e-7))
    losses = [step(model, rule, number, "float32") for number in range(2)]
    assert apart(losses, NETWORK["float32"]["losses"][:2]) < 2e-3  # measured 3.0e-4


def step(model: AlexNet, rule: torch.optim.Optimizer, number: int, kind: str) -> float:
    """Take one step and return the loss before it."""
    pictures, labels = batch(number, kind)
    loss = F.cross_entropy(model(pictures), labels)
    rule.zero_grad(set_to_none=True)
    loss.backward()
    rule.step()
    return loss.item()
