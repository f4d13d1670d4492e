"""torchvision's names against ours, by what both networks compute."""

from __future__ import annotations

import torch

from alexnet.exchange import torchvision
from alexnet.exchange.filling import fill
from alexnet.models import zoo
from alexnet.models.build import build


def test_with_their_weights_our_network_gives_their_logits(theirs):
    ours = build(zoo.network("owt", classes=7)).eval()
    filled = fill(ours, torchvision.to_rows(theirs.state_dict()), "theirs")
    assert filled.rows == ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    assert not filled.fresh
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert torch.equal(ours(x), theirs(x))


def test_our_weights_load_strictly_into_theirs(theirs):
    ours = build(zoo.network("owt", classes=7), seed=5)
    theirs.load_state_dict(torchvision.from_rows(ours.state_dict()), strict=True)
    assert torch.equal(theirs.classifier[6].bias, ours.get_submodule("fc8").bias)


def test_there_and_back_is_nothing(theirs):
    named = theirs.state_dict()
    assert torchvision.from_rows(torchvision.to_rows(named)).keys() == named.keys()
    assert torchvision.to_rows({"other.weight": 1, "features.0": 2}) == {
        "other.weight": 1,
        "features.0": 2,
    }
