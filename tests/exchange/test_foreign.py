"""Whole networks of other programs: loaded, named, and giving their answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet.data.cifar10 import CLASSES
from alexnet.errors import DataError, UsageError
from alexnet.exchange import files, foreign, pretrained
from alexnet.exchange.torchvision import to_rows
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run.classifier import Classifier, refuse_other_classes

MEAN, STD = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


@pytest.fixture(scope="module")
def model(tmp_path_factory, theirs) -> Classifier:
    path = tmp_path_factory.mktemp("theirs") / "alexnet.pth"
    torch.save(theirs.state_dict(), path)
    return alexnet.load(path)


def answers(theirs, path: Path) -> list[float]:
    """Return the probabilities of a picture file by the transform that is published with the weights."""
    with Image.open(path) as picture:
        short = min(picture.size)
        width, height = (256 * side // short for side in picture.size)
        larger = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - 224) / 2), round((height - 224) / 2)
    seen = np.array(larger.crop((left, top, left + 224, top + 224)))
    x = ((torch.from_numpy(seen) / 255 - MEAN) / STD).permute(2, 0, 1)[None]
    with torch.inference_mode():
        return theirs(x).softmax(1)[0].tolist()


def test_torchvisions_file_predicts_as_torchvision_does(model, theirs):
    assert model.classes == tuple(f"class {n}" for n in range(7))
    pictures = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    by_hand = ((pictures / 255.0 - MEAN) / STD).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(
            model.module(model.preprocessing(pictures)), theirs(by_hand), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("sides", [(301, 420), (350, 266)])
def test_a_picture_file_is_seen_as_torchvision_shows_it(model, theirs, tmp_path, sides):
    picture = np.random.default_rng(0).integers(0, 256, (*sides, 3), dtype=np.uint8)
    picture[: sides[0] // 7] = picture[:, : sides[1] // 5] = (250, 0, 0)  # an edge, to be cut off
    for label in model.classes:
        (tmp_path / "own" / label).mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "own" / label / "a.png")
    expected = answers(theirs, tmp_path / "own/class 0/a.png")
    found = alexnet.predict(model, tmp_path / "own/class 0/a.png", top=7)
    (seen,) = alexnet.sample(
        model,
        f"{tmp_path / 'own'}/train[:1]",
        device="cpu",
        precision="float32",
        data_root=tmp_path,
    )
    for ranked in (found, seen.ranked):
        named = [expected[model.classes.index(each.label)] for each in ranked]
        assert [each.probability for each in ranked] == pytest.approx(named, rel=1e-4)
    assert seen.picture.shape == (256, 256, 3)


def test_the_published_torch_program_saved_under_names_of_its_own(tmp_path):
    ours = build(zoo.network("torch-lrn"), 227, seed=2)
    theirs = {f"layer{n}": value for n, value in enumerate(ours.state_dict().values())}
    torch.save({"net": theirs}, tmp_path / "alexnet_cifar10.pth")
    model = alexnet.load(tmp_path / "alexnet_cifar10.pth")
    assert model.classes == CLASSES
    assert model.module.network.name == "torch-lrn"
    assert torch.equal(model.module.get_submodule("fc8").weight, ours.get_submodule("fc8").weight)


def test_a_thousand_classes_have_imagenets_names():
    names = foreign.imagenet_names(1000)
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")
    assert foreign.cifar10_names(1000)[281] == "class 281"


def test_weights_by_name_are_a_model_where_all_layers_are_there(
    model, theirs, monkeypatch, tmp_path
):
    found = pretrained.Weights(to_rows(theirs.state_dict()), "the publisher", "")
    monkeypatch.setattr(pretrained, "load", lambda name, say: found if name == "imagenet" else None)
    named = alexnet.load("imagenet")
    assert (named.origin, named.preprocessing) == ("the publisher", model.preprocessing)
    assert torch.equal(named.module.get_submodule("fc8").weight, theirs.classifier[6].weight)
    carried = tmp_path / "imagenet.safetensors"  # docs/export.md: to carry along
    alexnet.export(named, carried)
    assert files.read(carried).keys() == found.tensors.keys()
    assert all(torch.equal(t, found.tensors[k]) for k, t in files.read(carried).items())
    few = {k: v for k, v in found.tensors.items() if k.startswith("conv")}
    found = pretrained.Weights(few, "a package", "")
    with pytest.raises(DataError, match=r"a package holds no whole .* model\.weights=imagenet"):
        alexnet.load("imagenet")


def test_without_a_data_set_of_its_own_one_is_to_be_named(model):
    with pytest.raises(UsageError, match=r"no data set to look at; name one, e\.g\. cifar10/test"):
        alexnet.evaluate(model)


def test_of_many_other_classes_some_are_named(model):
    many = tuple(f"kind {n}" for n in range(1000))
    with pytest.raises(UsageError, match=r"kind 7 and 992 more, but .* knows class 0.*, class 6$"):
        refuse_other_classes([model], many, "imagenet/val")


def test_features_alone_are_no_network(tmp_path, theirs):
    path = tmp_path / "features.pth"
    torch.save({k: v for k, v in theirs.state_dict().items() if "features" in k}, path)
    with pytest.raises(DataError, match=r"no whole network .* --set model\.weights="):
        alexnet.load(path)


def test_a_file_of_something_else(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match="no file of weights"):
        alexnet.load(tmp_path / "cat.jpg")
