"""Keras's conventions, a few numbers each: update rules, schedules, batch norm, loss, resizing.

The goldens carry their inputs; ``tools/keras_semantics.py`` made them.
"""

from __future__ import annotations

from typing import Any

import formula
import numpy as np
import pytest
import torch
from compare import apart, far, golden
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.models.init import INITIALISATIONS
from alexnet.models.layers import BiasedBatchNorm2d
from alexnet.recipe import Optim
from alexnet.training import groups, optim
from alexnet.training.schedule import EarlyStopping, Plateau

TYPES = {"float32": torch.float32, "float64": torch.float64}
LIMITS = {"float32": 2e-6, "float64": 1e-14}  # relative; measured: 2.4e-7, 1.2e-15 at most
both = pytest.mark.parametrize("kind", TYPES)

RULES = {
    "adam": Optim(name="keras-adam", lr=0.001, eps=1e-7),
    "sgd": Optim(name="keras-sgd", lr=0.1, momentum=0.0),
    "sgd_momentum": Optim(name="keras-sgd", lr=0.1, momentum=0.9),
    "sgd_nesterov": Optim(name="keras-sgd", lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": Optim(name="rmsprop", lr=0.001),
    "rmsprop_centered": Optim(name="rmsprop", lr=0.001, centered=True),
}


def layer_of(start: list[float], dtype: torch.dtype) -> nn.Sequential:
    """Return a network of one kernel, shape (1, 4): decay falls on kernels only."""
    layer = nn.Linear(4, 1, bias=False, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([start], dtype=dtype))
    return nn.Sequential(layer)


def descend(rule: Optim, case: dict[str, Any], lrs: list[float], dtype: torch.dtype) -> list[Any]:
    """Return the weights after each step on given gradients."""
    model, path = layer_of(case["start"], dtype), []
    (weight,) = model.parameters()
    optimizer = optim.make(model, rule)
    for lr, gradient in zip(lrs, case["gradients"], strict=True):
        groups.set_rate(optimizer, lr / rule.lr)
        weight.grad = torch.tensor([gradient], dtype=dtype)
        optimizer.step()
        path.append(weight.detach()[0].tolist())
    return path


@both
@pytest.mark.parametrize("name", RULES)
def test_ten_steps_with_a_change_of_rate(name: str, kind: str) -> None:
    case = golden("optimisers")[kind][name]
    path = descend(RULES[name], case, case["lrs"], TYPES[kind])
    moved, expected = np.subtract(path, case["start"]), np.subtract(case["weights"], case["start"])
    # Measured 3.1e-5 (of a move of 1e-3, so 4e-8 of a weight) and 6e-14. Torch's own rules on the
    # same gradients: Adam 4e-3 where they are 1e-3, and 10 where they are 1e-8; SGD 0.6.
    limit = {"float32": 2e-4, "float64": 1e-12}[kind]
    for column in range(4):  # each on its own scale: Adam's gradients are 1, 1e-3, 1e-6 and 1e-8
        assert apart(moved[:, column], expected[:, column]) < limit


@both
def test_an_l2_penalty_is_a_decay_of_twice_its_coefficient(kind: str) -> None:
    case = golden("optimisers")[kind]["adam_l2"]
    decay = 2 * case["coefficient"]
    rule = Optim(name="keras-adam", lr=case["lr"], eps=1e-7, weight_decay=decay)
    path = descend(rule, case, [case["lr"]] * 10, TYPES[kind])
    assert apart(path, case["weights"]) < LIMITS[kind]
    before = [case["start"], *case["weights"][:-1]]
    assert apart(np.multiply(before, decay), case["penalty_gradients"]) < LIMITS[kind]


@both
def test_batch_norm(kind: str) -> None:
    case = golden("layers")[kind]["batch_norm"]
    layer = BiasedBatchNorm2d(3, eps=case["eps"], momentum=1 - case["momentum"]).to(TYPES[kind])
    state = {"weight": "gamma", "bias": "beta"}
    for name in ("weight", "bias", "running_mean", "running_var"):
        values = torch.tensor(case[state.get(name, name)], dtype=TYPES[kind])
        layer.state_dict()[name].copy_(values)
    for call in case["calls"]:
        x = torch.from_numpy(formula.draw(call["seed"], (4, 3, 5, 5), -2.0, 3.0)).to(TYPES[kind])
        y = layer.train(call["training"])(x)
        assert far(y, call["output"]) < LIMITS[kind]
        assert layer.running_mean is not None
        assert layer.running_var is not None
        assert apart(layer.running_mean, call["running_mean"]) < LIMITS[kind]
        assert apart(layer.running_var, call["running_var"]) < LIMITS[kind]


def test_batch_norm_passes_a_gradient() -> None:
    layer = BiasedBatchNorm2d(3, eps=1e-3, momentum=0.01)
    layer(torch.from_numpy(formula.draw(1, (4, 3, 5, 5), -1.0, 1.0))).square().sum().backward()
    assert layer.weight.grad is not None


@both
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_of_logits(kind: str, smoothing: float) -> None:
    case = golden("layers")[kind]["losses"]
    logits, labels = torch.tensor(case["logits"], dtype=TYPES[kind]), torch.tensor(case["labels"])
    loss = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
    assert apart(loss, case[f"from_logits_smoothing_{smoothing}"]) < LIMITS[kind]


@pytest.mark.parametrize("case", golden("layers")["float32"]["glorot"], ids=lambda c: c["name"])
def test_initial_weights(case: dict[str, Any]) -> None:
    weight = torch.empty(case["shape"])
    with torch.no_grad():
        INITIALISATIONS["keras"]("any", weight, None, torch.Generator().manual_seed(0))
    # Uniform in +-limit: with n draws the largest misses the limit by about limit / n.
    few = 1e-3
    assert weight.abs().max().item() == pytest.approx(case["largest"], rel=few)
    assert weight.std().item() == pytest.approx(case["std"], rel=1e-2)
    assert formula.glorot_limit(tuple(case["shape"])) == pytest.approx(case["largest"], rel=few)


SEQUENCES = golden("callbacks")["sequences"]


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(
    "case", golden("callbacks")["reduce_lr_on_plateau"], ids=lambda c: str(c["options"])
)
def test_plateau(case: dict[str, Any], name: str) -> None:
    plateau, lrs = Plateau(lr=case["start"], **case["options"]), []
    for loss in SEQUENCES[name]:
        plateau.see(loss)
        lrs.append(plateau.lr)
    assert lrs == pytest.approx(case["lrs"][name], rel=1e-5)


@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize(
    "case", golden("callbacks")["early_stopping"], ids=lambda c: str(c["patience"])
)
def test_early_stopping(case: dict[str, Any], name: str) -> None:
    rule = EarlyStopping(patience=case["patience"])
    stops = (epoch for epoch, loss in enumerate(SEQUENCES[name]) if rule.see(loss))
    assert next(stops, None) == case["stopped"][name]


@pytest.mark.parametrize("case", golden("resize")["cases"], ids=lambda c: str(c["target"]))
def test_resize(case: dict[str, Any]) -> None:
    pictures = torch.from_numpy(formula.pixels(case["seed"], *case["source"]))
    found = enlarged(pictures, case)
    assert far(found, case["output"]) < 1e-6  # measured 4.7e-8


def enlarged(pictures: Tensor, case: dict[str, Any]) -> Tensor:
    """Resize as the package does where it does, to a square; elsewhere as torch does."""
    height, width = case["target"]
    if height == width:
        preprocessing = Preprocessing(picture_size=32, size=height, scale="0..255")
        return preprocessing(pictures).contiguous()
    x = pictures.permute(0, 3, 1, 2).float()
    return F.interpolate(
        x, (height, width), mode="bilinear", align_corners=False, antialias=case["antialias"]
    )
