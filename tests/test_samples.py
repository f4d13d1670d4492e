"""A picture by number is that picture; by chance it is one of them; what is said of it is true."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import alexnet
from alexnet.data.sources import open_dataset
from alexnet.errors import UnknownName, UsageError
from alexnet.reporting import samples
from alexnet.run.classifier import fresh

pytestmark = pytest.mark.usefixtures("denormals")


@pytest.fixture
def shapes(data_root):
    return open_dataset("shapes", root=data_root)


def look(data_root, *what, **how):
    return alexnet.sample(*what, device="cpu", data_root=data_root, **how)


def test_a_picture_by_number(data_root, shapes):
    (found,) = look(data_root, None, "shapes/test", index=5)
    part = shapes.parts["test"]
    assert np.array_equal(found.picture, part.images[5])
    assert (found.index, found.label) == (5, int(part.labels[5]))
    assert found.actual == shapes.classes[found.label]
    assert samples.text([found]).splitlines() == [
        f"picture 5 of shapes/test: 32 x 32 x 3, uint8, label {found.label}",
        f"The picture is {found.actual}",
    ]


def test_a_number_counts_within_the_split_and_the_answer_within_the_part(data_root):
    found = look(data_root, None, "shapes/test[10:20]", index=3, count=2)
    assert [sample.index for sample in found] == [13, 14]


def test_chance_goes_by_the_seed_and_otherwise_by_the_clock(data_root):
    def drawn(**how):
        return [s.index for s in look(data_root, None, "shapes/test", count=12, **how)]

    assert drawn(seed=1) == drawn(seed=1) != drawn(seed=2)
    assert len(set(drawn(seed=1))) == 12
    assert drawn() != drawn()  # one in many thousand billions


def test_pixels_are_printed_where_they_are_asked_for(data_root):
    (found,) = look(data_root, None, "shapes/test", index=0)
    text = samples.text([found], values=True)
    assert str(found.picture[0, 0]) in text
    assert str(found.picture[-1, -1]) in text


def test_what_a_model_says_is_what_it_predicts(data_root, shapes):
    model = replace(fresh("alexnet-cifar"), classes=shapes.classes, data="shapes")
    found = look(data_root, model, index=0, count=30, precision="float32")  # as predict's
    for sample in found:
        ranked = alexnet.predict(model, sample.picture)
        assert [r.label for r in sample.ranked] == [r.label for r in ranked]
        assert [r.probability for r in sample.ranked] == pytest.approx(
            [r.probability for r in ranked], rel=1e-4
        )
        assert sample.right is (ranked[0].label == sample.actual)
    right = sum(bool(sample.right) for sample in found)
    lines = samples.text(found).splitlines()
    assert lines[0] == f"30 pictures, uint8 (30, 32, 32, 3); {right} of 30 named right"
    assert f"My prediction is {found[0].ranked[0].label} (" in lines[3]
    assert lines[4] == f"Actual image is {found[0].actual}"


def test_fresh_weights_take_the_names_of_the_data(data_root, shapes):
    (found,) = look(data_root, "alexnet-cifar", "shapes/test", index=0)
    assert {r.label for r in found.ranked} <= set(shapes.classes)


def test_classes_that_another_program_only_numbered_take_the_names_of_the_data(data_root, shapes):
    numbered = tuple(f"class {n}" for n in range(10))
    model = replace(fresh("alexnet-cifar"), classes=numbered, trained=True)
    (found,) = look(data_root, model, "shapes/test", index=0)
    assert {r.label for r in found.ranked} <= set(shapes.classes)


@pytest.mark.parametrize("data", ["shapes", ""])  # empty: an exported file's, another program's
def test_a_model_of_other_classes_is_refused(data_root, data):
    model = replace(fresh("alexnet-cifar"), data=data, trained=True)
    with pytest.raises(UsageError, match=r"shapes/test has the classes .* knows 0, 1"):
        look(data_root, model, "shapes/test")


@pytest.mark.parametrize(
    "how",
    [{"count": 0}, {"count": 10**6}, {"index": -1}, {"index": 10**6}, {"index": 1, "count": 0}],
)
def test_pictures_that_there_are_not(data_root, how):
    with pytest.raises(UsageError, match=r"choose 1 to|numbered from 0 to"):
        look(data_root, None, "shapes/test", **how)


def test_without_a_data_set_there_is_nothing_to_look_at():
    with pytest.raises(UsageError, match=r"name one, e\.g\. cifar10/test"):
        alexnet.sample(None)


def test_a_model_and_a_data_set_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/recipe.toml").touch()
    (tmp_path / "photos/cats").mkdir(parents=True)
    assert samples.split_names("photos", None) == (None, "photos")
    assert samples.split_names("photos/test", None) == (None, "photos/test")
    assert samples.split_names("cifar10/train", None) == (None, "cifar10/train")
    assert samples.split_names("cifar10", None) == (None, "cifar10")
    assert samples.split_names("runs/a", None) == ("runs/a", None)
    assert samples.split_names("keras-lab", None) == ("keras-lab", None)
    with pytest.raises(UnknownName, match="did you mean 'shapes'"):
        samples.split_names("shape/test", None)
    (tmp_path / "runs/a/checkpoints/step-1").mkdir(parents=True)
    (tmp_path / "runs/a/checkpoints/step-1/model.json").touch()
    step = "runs/a/checkpoints/step-1"
    assert samples.split_names(step, None) == (step, None)
    assert samples.split_names("runs/a", "cifar10/test") == ("runs/a", "cifar10/test")


def test_pictures_are_drawn_in_their_own_colours(data_root, tmp_path):
    (found,) = look(data_root, None, "shapes/test", index=7)
    with Image.open(samples.draw([found], tmp_path / "a.png")) as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 24)}
    assert {tuple(map(int, pixel)) for pixel in found.picture.reshape(-1, 3)} <= colours


def test_a_ranking_and_a_grid_are_drawn(data_root, shapes, tmp_path):
    model = replace(fresh("alexnet-cifar"), classes=shapes.classes, data="shapes")
    found = look(data_root, model, index=0, count=9)
    for name, some in (("one", found[:1]), ("grid", found)):
        with Image.open(samples.draw(some, tmp_path / f"{name}.png")) as drawn:
            assert min(drawn.size) > 300
