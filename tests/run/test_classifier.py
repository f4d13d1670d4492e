"""What a checkpoint's card says of a network is the network that was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from processes import TINY

from alexnet import recipe as recipes
from alexnet.data.preprocess import Preprocessing
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.models.rows import Dense, Dropout, Flatten
from alexnet.models.table import Network
from alexnet.run import classifier
from alexnet.run.checkpoint import Checkpoint
from alexnet.run.device import Device
from alexnet.run.log import Console
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")


def small() -> Network:
    """Return a network whose dropout is that of 2012: in a test it multiplies by 1 - p."""
    rows = (Flatten("flatten"), Dropout("drop", p=0.5, classic=True), Dense("fc", units=10))
    return Network("classic", rows, size=4, init="he", summary="", source="")


@pytest.mark.parametrize("rate", [None, 0.0, 0.2])
def test_a_rate_of_dropout_is_that_of_the_run(rate, monkeypatch):
    monkeypatch.setitem(zoo.NETWORKS, "classic", small)
    how, names = Preprocessing(4, 4), tuple("0123456789")
    trained = build(small().changed(dropout=rate), 4, seed=1).eval()
    card = classifier.card("classic", names, how, "centre", "last", "", dropout=rate)
    again = classifier.restore(Checkpoint(Path("a"), trained.state_dict(), {}, {}, card))
    x = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(again.module(x), trained(x))


def test_a_run_writes_its_rate_of_dropout_down(data_root):
    recipe = recipes.override(recipes.load("cifar10-quick"), TINY | {"model.dropout": 0.3})
    assert set_up(recipe, CPU, data_root, Console(quiet=True)).card["dropout"] == 0.3
