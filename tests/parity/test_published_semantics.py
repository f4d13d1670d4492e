"""What the published programs lean on: losses, penalties, kept weights, resizing.

``tools/keras_fit.py`` made the goldens, with Keras and OpenCV themselves; scikit-learn's splits are
in ``tests/data/test_splits.py``, update rules and schedules in ``test_keras_semantics.py``.
"""

from __future__ import annotations

import hashlib
import json
from types import SimpleNamespace
from typing import Any

import formula
import numpy as np
import pytest
import torch
from compare import GOLDEN, apart, golden
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet.data.preprocess import Preprocessing
from alexnet.recipe import Optim
from alexnet.training import groups, loop, optim
from alexnet.training.saving import Progress
from alexnet.training.schedule import EarlyStopping

OPENCV = json.loads((GOLDEN / "opencv-resize.json").read_text(encoding="utf-8"))
LOSSES = golden("losses")
RESTORED = golden("restored")


# --- losses ----------------------------------------------------------------------------------


def cross_entropy(p: Tensor, labels: Tensor, smallest: float) -> Tensor:
    """Return each picture's cross-entropy ``(N,)``, float64, from probabilities ``(N, classes)``.

    They are divided by their sum, and the true class's is kept from ``smallest`` to 1 - ``smallest``, as
    Keras does where it is given probabilities alone. Of a network that ends in a softmax its fit and
    evaluate take the logits instead (``keras-losses.json``), as ours do.
    """
    share = p.double() / p.double().sum(1, keepdim=True)
    return -share.gather(1, labels[:, None])[:, 0].clamp(smallest, 1 - smallest).log()


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_the_cross_entropy_of_probabilities(kind: str) -> None:
    """Keras clips at 1e-7 what it knows as probabilities alone, and divides by their sum before."""
    case = golden("layers")[kind]["losses"]
    found = cross_entropy(
        torch.tensor(case["probabilities"], dtype=torch.float64), torch.tensor(case["labels"]), 1e-7
    )
    expected = case["from_probabilities_smoothing_0.0"]
    # A clipped value is 1e-7 or 1 - 1e-7 in Keras's own type: of the latter, half a unit is left.
    assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=3e-8)
    unscaled = case["unscaled"]
    found = cross_entropy(torch.tensor(unscaled["probabilities"]), torch.tensor([0]), 1e-7)
    assert found.tolist() == pytest.approx(unscaled["loss"], rel=1e-6)


def network(kernels: list[Any]) -> nn.Sequential:
    """The golden's network: two dense layers, no biases, a softmax left out."""
    model = nn.Sequential()
    for name, kernel in zip(("body", "head"), kernels, strict=True):
        layer = nn.Linear(len(kernel), len(kernel[0]), bias=False)
        layer.weight.data = torch.tensor(kernel).T.contiguous()
        model.add_module(name, layer)
        if name == "body":
            model.add_module("relu", nn.ReLU())
    return model


@pytest.mark.parametrize("name", LOSSES["cases"])
def test_what_fit_and_evaluate_call_the_loss(name: str) -> None:
    """The mean cross-entropy of the logits, unclipped though the network ends in a softmax, and the
    penalty, of the weights before the step; which its gradient moves."""
    case, inputs = LOSSES["cases"][name], torch.tensor(LOSSES["inputs"])
    labels, model = torch.tensor(LOSSES["labels"]), network(LOSSES["kernels"])
    group = {"match": "body.weight", "weight_decay": 2 * LOSSES["coefficient"]}
    rule = Optim.model_validate(
        {"name": "keras-sgd", "lr": LOSSES["lr"], "momentum": 0.0}
        | ({"group": ({**group},)} if name == "penalised" else {})
    )
    loss = F.cross_entropy(model(inputs), labels)
    ours = loss.item() + float(groups.penalty(model, rule))
    assert ours == pytest.approx(case["evaluate"], rel=2e-6)
    assert ours == pytest.approx(case["train_on_batch"], rel=2e-6)
    loss.backward()  # type: ignore[no-untyped-call]
    optim.make(model, rule).step()
    for kernel, expected in zip(model.parameters(), case["after"], strict=True):
        assert apart(kernel.detach().T, expected) < 2e-6


def test_a_penalty_is_there_and_counts() -> None:
    plain, penalised = (LOSSES["cases"][name]["evaluate"] for name in ("plain", "penalised"))
    squares = float(np.square(LOSSES["kernels"][0]).sum())
    assert penalised - plain == pytest.approx(LOSSES["coefficient"] * squares, rel=1e-4)
    assert max(cross_entropy_of_the_golden()) > 16.2  # 1e-7 would clip at 16.12


def cross_entropy_of_the_golden() -> list[float]:
    logits = network(LOSSES["kernels"])(torch.tensor(LOSSES["inputs"]))
    found: list[float] = F.cross_entropy(
        logits, torch.tensor(LOSSES["labels"]), reduction="none"
    ).tolist()
    return found


# --- which weights are kept ------------------------------------------------------------------


@pytest.mark.parametrize("name", RESTORED["sequences"])
@pytest.mark.parametrize("case", RESTORED["cases"], ids=lambda c: f"{c['patience']}-{c['best']}")
def test_the_weights_that_a_run_ends_with(case: dict[str, Any], name: str) -> None:
    """``evaluation.keep`` = last or best, with early stopping, is ``restore_best_weights``."""
    stage = SimpleNamespace(plateau=None, stopping=EarlyStopping(case["patience"]), is_best=False)
    progress, last, best = Progress(), -1, -1
    for epoch, loss in enumerate(RESTORED["sequences"][name]):
        loop._let_rules_see(stage, progress, loss)  # type: ignore[arg-type]
        last, best = epoch, epoch if stage.is_best else best
        if progress.stopped:
            break
    assert (best if case["best"] else last) == case["kept"][name]


# --- resizing --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", OPENCV["cases"], ids=lambda c: f"{c['source']}-{c['size']}")
def test_resizing_of_bytes_is_that_of_opencv_to_the_last_bit(case: dict[str, Any]) -> None:
    pictures = torch.from_numpy(formula.pixels(case["seed"], *case["source"]))
    prepared = Preprocessing(
        picture_size=case["source"][0], size=case["size"], scale="0..255", resize="uint8"
    )
    found = prepared(pictures)[0].permute(1, 2, 0).to(torch.uint8).contiguous()
    assert found[0, :8].flatten().tolist() == case["first"]
    assert hashlib.sha256(found.numpy().tobytes()).hexdigest() == case["sha256"]


def test_bytes_are_rounded_before_they_are_scaled() -> None:
    pictures = torch.from_numpy(formula.pixels(1, 32, 32))
    whole, real = (Preprocessing(32, 128, resize=kind)(pictures) for kind in ("uint8", "float"))
    off = [((x * 255) - (x * 255).round()).abs().max().item() for x in (whole, real)]
    assert off[0] < 1e-4 < 0.4 < off[1]
    assert (whole - real).abs().max() < 1.01 / 255


def test_torchs_resizing_of_tensors_is_tensorflows_when_it_enlarges() -> None:
    """Antialiased or not, before or after Normalize(.5, .5): one enlargement (Keras's is a golden)."""
    pictures = torch.from_numpy(formula.pixels(2, 32, 32))
    prepared = Preprocessing(32, 227, mean=(0.5,) * 3, std=(0.5,) * 3)(pictures)
    x = pictures.permute(0, 3, 1, 2).float() / 255
    for antialias in (False, True):
        larger = F.interpolate(
            x, (227, 227), mode="bilinear", align_corners=False, antialias=antialias
        )
        assert (prepared - (larger - 0.5) / 0.5).abs().max() < 3e-6
