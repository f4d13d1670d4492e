"""Whole networks of other programs: loaded, named, and giving their answers."""

from __future__ import annotations

import pytest
import torch

import alexnet
from alexnet.data.cifar10 import CLASSES
from alexnet.errors import DataError
from alexnet.models import zoo
from alexnet.models.build import build


def test_torchvisions_file_predicts_as_torchvision_does(tmp_path, theirs):
    path = tmp_path / "alexnet.pth"
    torch.save(theirs.state_dict(), path)
    model = alexnet.load(path)
    assert model.classes == tuple(f"class {n}" for n in range(7))
    pictures = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    by_hand = pictures.permute(0, 3, 1, 2) / 255.0
    by_hand -= torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    by_hand /= torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.module(model.preprocessing(pictures)), theirs(by_hand), rtol=1e-4, atol=1e-5
        )


def test_the_published_torch_program_saved_under_names_of_its_own(tmp_path):
    ours = build(zoo.network("torch-lrn"), 227, seed=2)
    theirs = {f"layer{n}": value for n, value in enumerate(ours.state_dict().values())}
    torch.save({"net": theirs}, tmp_path / "alexnet_cifar10.pth")
    model = alexnet.load(tmp_path / "alexnet_cifar10.pth")
    assert model.classes == CLASSES
    assert model.module.network.name == "torch-lrn"
    assert torch.equal(model.module.get_submodule("fc8").weight, ours.get_submodule("fc8").weight)


def test_features_alone_are_no_network(tmp_path, theirs):
    path = tmp_path / "features.pth"
    torch.save({k: v for k, v in theirs.state_dict().items() if "features" in k}, path)
    with pytest.raises(DataError, match=r"no whole network .* --set model\.weights="):
        alexnet.load(path)


def test_a_file_of_something_else(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="no file of weights"):
        alexnet.load(tmp_path / "cat.jpg")
