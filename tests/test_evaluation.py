"""Scores against scikit-learn and against formulas written another way."""

import math
import re

import numpy as np
import pytest
import torch
from sklearn import metrics

from alexnet.data.loader import Source
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import DataError, NotFinite
from alexnet.evaluation import calibration_error, evaluate, score
from alexnet.run.device import Device

CPU = Device(torch.device("cpu"), "float32")


@pytest.fixture(scope="module")
def case():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(7, (500,), generator=draw)
    logits = torch.randn(500, 7, generator=draw)
    logits[torch.arange(500), labels] += 1.0
    return logits.double().softmax(1), labels


def test_against_scikit_learn(case):
    p, labels = case
    found = score(p.log(), labels, "centre", (1, 3, 5))
    guess = p.argmax(1)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(labels, guess))
    assert np.array_equal(found.confusion, metrics.confusion_matrix(labels, guess))
    assert found.loss == pytest.approx(metrics.log_loss(labels, p.numpy()), rel=1e-6)
    recall = metrics.recall_score(labels, guess, average=None)
    assert found.per_class == pytest.approx(recall)
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, guess))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, guess, average="macro"))
    for k in (1, 3, 5):
        expected = metrics.top_k_accuracy_score(labels, p.numpy(), k=k)
        assert found.top[k] == pytest.approx(expected)
    assert found.count == 500


def test_who_says_the_same_of_everything_is_right_by_chance():
    found = score(torch.full((8, 4), 0.25).log(), torch.arange(8) % 4, "centre", (1, 3, 4))
    assert found.top == {1: 0.25, 3: 0.75, 4: 1.0}


def test_a_class_without_pictures_has_no_recall():
    found = score(torch.eye(3)[[0, 1]].log(), torch.tensor([0, 1]), "centre", (1,))
    assert found.per_class[:2] == (1.0, 1.0)
    assert math.isnan(found.per_class[2])


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_balance_against_scikit_learn_where_classes_are_rare_or_absent():
    """Class 4 has no pictures, but is predicted of some; class 5 is neither."""
    draw = torch.Generator().manual_seed(1)
    labels = torch.multinomial(torch.tensor([90.0, 6, 3, 1]), 300, True, generator=draw)
    logits = torch.randn(300, 6, generator=draw)
    logits[torch.arange(300), labels] += 1.0
    logits[:, 5] = -50
    found, guess = score(logits.log_softmax(1), labels, "centre", (1,)), logits.argmax(1)
    assert (guess == 4).any()
    assert found.balanced_accuracy == pytest.approx(metrics.balanced_accuracy_score(labels, guess))
    assert found.macro_f1 == pytest.approx(metrics.f1_score(labels, guess, average="macro"))
    assert found.balanced_accuracy != pytest.approx(found.accuracy, abs=0.01)


def test_a_summary_has_no_entry_for_each_class():
    found = score(torch.eye(3)[[0, 1]].log(), torch.tensor([0, 1]), "centre", (1,))
    assert found.to_json().keys() - found.summary().keys() == {"per_class", "confusion"}
    assert re.fullmatch(r"<Scores: [\d.]+% of \d+ pictures \(.* to .*\), loss [\d.]+>", repr(found))


def test_calibration_error_by_bins(case):
    p, labels = case
    confidence, guess = p.double().numpy().max(1), p.numpy().argmax(1)
    right = guess == labels.numpy()
    total = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
        if inside.any():
            total += inside.sum() * abs(confidence[inside].mean() - right[inside].mean())
    assert calibration_error(p, labels) == pytest.approx(total / len(labels))


def test_answers_that_are_no_numbers_are_refused():
    """Nothing is more probable than what is no number: they would count as right."""
    logs = torch.eye(4).log_softmax(1)
    logs[2, 1] = float("nan")
    with pytest.raises(NotFinite, match="answers to 1 of 4 pictures are no numbers"):
        score(logs, torch.arange(4), "centre", (1,))


class Sure(torch.nn.Module):
    """Four classes, and of every picture a certainty that leaves the others no probability at all."""

    def forward(self, x):
        return torch.tensor([[300.0, 0, 150, -5]]).expand(len(x), 4)


@pytest.mark.parametrize("views", ["centre", "flip"])
def test_classes_without_a_probability_still_have_an_order(views):
    """A float32 probability below 1e-45 is 0: were they compared, all but the first class would tie."""
    images = np.zeros((4, 8, 8, 3), np.uint8)
    source, top = Source(images, np.arange(4), np.arange(4)), (1, 2, 3)
    found = evaluate(Sure(), source, Preprocessing(8, 8), CPU, top=top, views=views)
    assert found.top == {1: 0.25, 2: 0.5, 3: 0.75}
    assert found.loss == pytest.approx((0 + 300 + 150 + 305) / 4)


def test_of_equal_classes_the_first_comes_first_in_every_figure():
    """bf16 has few numbers, so that classes tie: against NumPy's stable order, and the matrix's own sum."""
    draw = np.random.default_rng(0)
    values = draw.integers(0, 3, (200, 5)).astype(np.float32)
    labels = draw.integers(0, 5, 200)
    found = score(torch.from_numpy(values), torch.from_numpy(labels), "centre", (1, 2, 3))
    order = np.argsort(-values, axis=1, kind="stable")
    for k in (1, 2, 3):
        assert found.top[k] == (order[:, :k] == labels[:, None]).any(1).mean()
    assert found.accuracy == found.top[1] == np.trace(found.confusion) / 200


class LeftEdge(torch.nn.Module):
    """Two classes, decided by the left column alone: mirroring changes the answer."""

    def forward(self, x):
        left = x[:, 0, :, 0].mean(1)
        return torch.stack([left, -left], 1)


def test_evaluate_scores_every_picture_and_restores_the_mode():
    images = np.random.default_rng(0).integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
    source = Source(images, np.zeros(23, np.int64), np.arange(23))
    model = LeftEdge().train()
    found = evaluate(model, source, Preprocessing(8, 8), CPU, batch=5, top=(1,))
    assert found.count == 23
    assert found.accuracy == 1.0  # every left edge is positive
    assert model.training


def test_an_empty_split_is_refused():
    source = Source(np.zeros((0, 8, 8, 3), np.uint8), np.zeros(0, np.int64), np.arange(0))
    with pytest.raises(DataError, match="no pictures"):
        evaluate(LeftEdge(), source, Preprocessing(8, 8), CPU)
