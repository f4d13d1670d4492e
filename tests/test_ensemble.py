"""Several models as one: the mean of their probabilities, each with its own input. Nothing is trained."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import alexnet
from alexnet import cli
from alexnet.data.loader import source_of
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import open_dataset
from alexnet.data.splits import select
from alexnet.errors import DataError, UnknownName, UsageError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run import checkpoint, classifier
from alexnet.run.classifier import Classifier, Provenance, Split
from alexnet.run.device import Device
from alexnet.run.named import pictures
from alexnet.run.views import log_probabilities

CPU = Device(torch.device("cpu"), "float32")
SPLIT = "shapes/test[:30]"
MEAN = torch.full((32, 32, 3), 100.0)
pytestmark = pytest.mark.usefixtures("denormals")


@pytest.fixture(scope="module")
def dataset(data_root):
    return open_dataset("shapes", root=data_root)


def made(classes, seed, prepared, views="centre", data="shapes") -> Classifier:
    network = zoo.network("alexnet-cifar", classes=len(classes))
    module = build(network, prepared.size, seed=seed).eval()
    return Classifier(module, classes, prepared, views, data, f"model {seed}")


@pytest.fixture(scope="module")
def three(dataset):
    """Models of different sizes, means and views."""
    cropped = Preprocessing(32, 28, "0..255", std=(60.0,) * 3, fit="crop", mean_picture=MEAN)
    return [
        made(dataset.classes, 0, Preprocessing(32, 32, "0..1", (0.5,) * 3, (0.25,) * 3)),
        made(dataset.classes, 1, Preprocessing(32, 40), "flip"),
        made(dataset.classes, 2, cropped, "ten"),
    ]


def test_scores_are_of_the_mean_of_the_probabilities(dataset, three, data_root):
    found = alexnet.evaluate(three, SPLIT, device="cpu", precision="float32", data_root=data_root)
    batch = source_of(dataset, "test[:30]").read(np.arange(30), CPU.torch)
    each = [
        log_probabilities(m.module, batch.pictures, m.preprocessing, CPU, views=m.views).exp()
        for m in three
    ]
    p = np.mean([q.double().numpy() for q in each], axis=0)
    labels = batch.labels.numpy()
    assert found.accuracy == (p.argmax(1) == labels).mean()
    assert found.loss == pytest.approx(-np.log(p[np.arange(30), labels]).mean(), rel=1e-5)
    assert found.views == "centre + flip + ten"
    alone = alexnet.evaluate(
        three[0], SPLIT, device="cpu", precision="float32", data_root=data_root
    )
    assert alone.loss != pytest.approx(found.loss, rel=1e-4)


def test_one_model_and_a_list_of_it_score_alike(three, data_root):
    one, several = (
        alexnet.evaluate(m, SPLIT, device="cpu", precision="float32", data_root=data_root)
        for m in (three[0], [three[0]])
    )
    assert one.to_json() == several.to_json()


def test_no_split_is_what_the_run_tested_on(three, data_root):
    cut = Split("test[:30]", "stratified", 3)
    known = replace(three[0], test=cut)
    found = alexnet.evaluate(known, device="cpu", precision="float32", data_root=data_root)
    indices = select(
        open_dataset("shapes", root=data_root), "test[:30]", method="stratified", seed=3
    )
    assert found.count == 30
    (part,) = pictures([known], [None], data_root)
    assert part.source.chosen.tolist() == indices.tolist()
    assert part.name == "shapes/test[:30]"


def chosen(models, name, data_root) -> list[int]:
    """The pictures that a name means to models."""
    (found,) = pictures(models, [name], data_root)
    return found.source.chosen.tolist()


@pytest.mark.parametrize("method", ["slice", "stratified", "sklearn"])
def test_a_cut_of_the_data_it_was_trained_on_is_cut_as_its_run_cut(
    dataset, three, data_root, method
):
    known = replace(three[0], test=Split("train[85%:]", method, 3))
    seen, held_out = (
        chosen([known], f"shapes/train[{cut}]", data_root) for cut in (":85%", "85%:")
    )
    assert held_out == select(dataset, "train[85%:]", method=method, seed=3).tolist()
    assert not {*seen} & {*held_out}
    assert held_out == chosen([known], None, data_root)
    stranger = replace(known, data="cifar10")
    plain = chosen([stranger], "shapes/train[85%:]", data_root)
    assert plain == select(dataset, "train[85%:]").tolist()
    moved = replace(stranger, provenance=Provenance(dataset.fingerprint))  # the very same pictures
    assert chosen([moved], "shapes/train[85%:]", data_root) == held_out
    given_away = replace(moved, data="")  # an exported file says no path
    assert chosen([given_away], "shapes/train[85%:]", data_root) == held_out


def test_models_that_cut_differently_mean_other_pictures(three, data_root):
    one, other = (replace(m, test=Split("test", "stratified", n)) for n, m in enumerate(three[:2]))
    said = (
        r"model 0 \(stratified, seed 0\) than to the one from model 1 \(stratified, seed 1\); name"
    )
    with pytest.raises(UsageError, match=said):
        chosen([one, other], SPLIT, data_root)
    assert chosen([one, other], "shapes/test", data_root) == list(range(500))
    plain, shuffled = (replace(one, test=Split("test", "slice", n)) for n in (0, 1))
    assert chosen([plain, shuffled], SPLIT, data_root) == list(range(30))


# --- data that changed -------------------------------------------------------------------------

LEARNT = Split("train[85%:]", "stratified", 0)


@pytest.fixture
def kept(tmp_path):
    """Two classes kept as a data set, without a part for the test, and with a picture more of the first."""

    def keep(folder: str, more: int = 0, **parts: int) -> str:
        draw = np.random.default_rng(0)
        sizes = {"train": 40 + more, **parts}
        made = {
            n: (draw.integers(0, 256, (k, 32, 32, 3), np.uint8), np.arange(k) % 2)
            for n, k in sizes.items()
        }
        return alexnet.keep_arrays(tmp_path / folder, classes=["a", "b"], **made)

    return keep


def trained_on(name: str) -> Classifier:
    """A model as a run on a data set leaves it that had no part for the test."""
    learnt = Provenance(open_dataset(name).fingerprint, "train[:85%]", "float32")
    model = made(("a", "b"), 0, Preprocessing(32, 32), data=name)
    return replace(model, test=LEARNT, provenance=learnt)


def test_a_cut_of_what_it_was_trained_on_is_refused_where_the_data_changed(kept, capsys):
    before, after = kept("before"), kept("after", more=1, test=6)
    model = trained_on(before)
    assert len(chosen([model], None, None)) == len(chosen([model], before, None)) == 6
    assert "has no part 'test': what the model was tested on is taken, train[85%:]" in (
        capsys.readouterr().err
    )
    changed = replace(model, data=after)
    for name in (None, f"{after}/train[:10%]"):
        said = r"after is not what .* model 0 was trained on: .* may hold pictures .*; name a part"
        with pytest.raises(DataError, match=said):
            pictures([changed], [name])
    assert capsys.readouterr().err == ""
    assert len(chosen([changed], after, None)) == 6  # a part of its own
    assert "warning: " in capsys.readouterr().err
    older = replace(changed, provenance=Provenance())
    assert len(chosen([older], None, None)) == 6
    assert capsys.readouterr().err == ""


def test_the_only_part_of_other_data_is_what_is_meant(kept, capsys):
    model, other = trained_on(kept("before")), kept("other", more=3)
    assert chosen([model], other, None) == list(range(43))
    assert (
        "other has no part 'test': all of its only one is taken, train" in capsys.readouterr().err
    )
    several = kept("several", validation=4, more=3)
    with pytest.raises(UnknownName, match="unknown split 'test'"):
        chosen([model], several, None)


# --- some of the classes ------------------------------------------------------------------------


def test_data_of_some_of_the_classes_is_scored_by_their_names(tmp_path, capsys):
    """In another order than the model's: labels go by name, also in the table that is written."""
    draw, labels = np.random.default_rng(0), np.arange(8) % 2
    drawn = draw.integers(0, 256, (8, 32, 32, 3), np.uint8)
    name = alexnet.keep_arrays(tmp_path / "new", classes=["d", "b"], train=(drawn, labels))
    model = made(("a", "b", "c", "d"), 0, Preprocessing(32, 32), data="shapes")
    table = tmp_path / "said.csv"
    scores = alexnet.evaluate(model, f"{name}/train", device="cpu", predictions=table)
    assert capsys.readouterr().err == (
        f"{name}/train has 2 of the 4 classes that the model knows, none of a, c\n"
    )
    assert [sum(row) for row in scores.confusion] == [0, 4, 0, 4]
    assert np.isnan(scores.per_class).tolist() == [True, False, True, False]
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["true"] for row in rows] == ["d", "b"] * 4
    found = alexnet.sample(model, f"{name}/train", index=0, count=8, device="cpu")
    assert [sample.actual for sample in found] == ["d", "b"] * 4
    assert [s.ranked[0].label for s in found] == [row["predicted"] for row in rows]
    space = alexnet.embed(model, f"{name}/train", device="cpu")
    assert (space.classes, space.labels.tolist()) == (("d", "b"), [0, 1] * 4)  # the data set's own
    other = replace(model, classes=("a", "b", "c", "b"))  # which of the two?
    for strange in (replace(model, classes=("a", "b", "c", "e")), other):
        with pytest.raises(
            UsageError, match=r"new/train has the classes d.*, but .* knows a, b, c"
        ):
            alexnet.evaluate(strange, f"{name}/train", device="cpu")


# --- precision ---------------------------------------------------------------------------------


def test_a_model_is_scored_in_the_precision_of_its_run(three, data_root, monkeypatch, tmp_path):
    monkeypatch.setattr("alexnet.run.device.fast_bf16", lambda device: device.type == "cpu")
    used = []
    monkeypatch.setattr(
        "alexnet.reporting.scoring.score", lambda models, data, device, **how: used.append(device)
    )
    its = {
        n: replace(three[0], provenance=Provenance(precision=n))
        for n in ("float32", "bf16", "tf32", "")
    }
    for model in (*its.values(), [its["float32"], its["bf16"]], [its["float32"], its[""]]):
        alexnet.evaluate(model, SPLIT, device="cpu")
    alexnet.evaluate(its["float32"], SPLIT, device="cpu", precision="bf16")
    expected = ["float32", "bf16", "bf16", "float32", "bf16", "float32", "bf16"]
    assert [device.precision for device in used] == expected
    monkeypatch.setattr("alexnet.run.device.fast_bf16", lambda device: False)
    alexnet.evaluate(its["bf16"], SPLIT, device="cpu")
    assert used[-1].precision == "float32"
    how = {"device": "cpu", "data_root": data_root}
    assert alexnet.embed(its["float32"], SPLIT, **how).precision == "float32"
    assert alexnet.embed(its[""], SPLIT, **how).precision == "float32"
    assert alexnet.embed(its["float32"], SPLIT, precision="bf16", **how).precision == "bf16"


def test_a_prediction_is_of_the_mean(dataset, three):
    picture = dataset.parts["test"].images[3]
    stored = torch.from_numpy(np.array(picture))[None]
    each = [
        log_probabilities(m.module, stored, m.preprocessing, CPU, views=m.views).exp()
        for m in three
    ]
    expected = torch.cat(each).mean(0)
    ranked = alexnet.predict(three, picture, top=10)
    assert [dataset.classes.index(r.label) for r in ranked] == expected.argsort(
        descending=True
    ).tolist()
    assert sum(r.probability for r in ranked) == pytest.approx(1.0)
    assert ranked[0].probability == pytest.approx(float(expected.max()))


def test_models_that_do_not_go_together(dataset, three, data_root):
    other = made(tuple("abcdefghij"), 7, three[0].preprocessing)
    with pytest.raises(UsageError, match="but the model from model 7 knows a, b"):
        alexnet.predict([three[0], other], dataset.parts["test"].images[3])
    with pytest.raises(UsageError, match="but the model from model 7 knows a, b"):
        alexnet.evaluate([three[0], other], SPLIT, data_root=data_root)
    larger = made(dataset.classes, 8, Preprocessing(48, 32))
    with pytest.raises(UsageError, match=r"stored at 32x32, but the one from model 8 .* at 48x48"):
        alexnet.evaluate([three[0], larger], SPLIT, data_root=data_root)
    whole = made(dataset.classes, 9, Preprocessing(32, 32, square_fit="stretch"))
    with pytest.raises(
        UsageError, match=r"data\.fit = 'crop', the one from model 9 with 'stretch'"
    ):
        alexnet.evaluate([three[0], whole], SPLIT, data_root=data_root)
    elsewhere = replace(three[1], data="cifar10")
    with pytest.raises(UsageError, match="the one from model 1 of cifar10"):
        alexnet.evaluate([three[0], elsewhere], SPLIT, data_root=data_root)
    apart = replace(three[1], test=Split("test[30:]"))
    with pytest.raises(UsageError, match=r"was tested on test \(slice, seed 0\).*; name a split"):
        alexnet.evaluate([three[0], apart], data_root=data_root)
    with pytest.raises(UsageError, match="no model was given"):
        alexnet.evaluate([], SPLIT, data_root=data_root)


def saved(model: Classifier, run: Path) -> Path:
    (run / "checkpoints").mkdir(parents=True)
    card = classifier.card(
        "alexnet-cifar", model.classes, model.preprocessing, model.views, "last", model.data
    )
    whole = checkpoint.Checkpoint(
        Path("step-00000001"),
        model.module.state_dict(),
        {},
        {},
        card,
        model.preprocessing.tensors(),
    )
    return checkpoint.save(run, whole)


def test_each_answer_is_written_down(three, dataset, data_root, tmp_path):
    path, how = tmp_path / "new" / "said.csv", {"device": "cpu", "data_root": data_root}
    split = "shapes/test[10:40]"
    scores = alexnet.evaluate(three, split, precision="float32", predictions=path, **how)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    labels = dataset.parts["test"].labels
    assert [int(row["index"]) for row in rows] == [*range(10, 40)]
    assert [row["true"] for row in rows] == [dataset.classes[labels[n]] for n in range(10, 40)]
    assert {row["name"] for row in rows} == {""}  # they came from no files
    assert sum(row["true"] == row["predicted"] for row in rows) == round(30 * scores.accuracy)
    ranked = alexnet.predict(three, dataset.parts["test"].images[12])
    assert rows[2]["predicted"] == ranked[0].label
    assert float(rows[2]["probability"]) == pytest.approx(ranked[0].probability, rel=1e-3)
    with pytest.raises(UsageError, match=r"said\.txt: .* ends in \.csv"):
        alexnet.evaluate(three, split, predictions=tmp_path / "said.txt", **how)
    with pytest.raises(DataError, match="cannot be written"):
        alexnet.evaluate(three[0], split, predictions=path / "under.csv", **how)


def test_a_mean_picture_comes_back_with_its_model(three, dataset, tmp_path):
    again = alexnet.load(saved(three[2], tmp_path / "a"))
    assert again.preprocessing == three[2].preprocessing
    assert torch.equal(again.preprocessing.tensors()["mean_picture"], MEAN)
    picture = dataset.parts["test"].images[3]
    assert alexnet.predict(again, picture) == alexnet.predict(three[2], picture)


def test_the_command_line_scores_models_together(three, data_root, tmp_path, monkeypatch, capsys):
    folders = [str(saved(m, tmp_path / str(n))) for n, m in enumerate(three)]
    monkeypatch.setenv("ALEXNET_DATA", str(data_root))
    others = ["--with", folders[1], "--with", folders[2]]

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["alexnet", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        assert not end.value.code, said.err
        return said.out

    found = json.loads(run("eval", folders[0], SPLIT, *others, "--device", "cpu", "--json"))
    expected = alexnet.evaluate(three, SPLIT, device="cpu", data_root=data_root)
    assert found.pop("precision") == "float32"
    assert found == json.loads(json.dumps(expected.to_json()))
    table = tmp_path / "said.csv"
    more = ("--device", "cpu", "--predictions", str(table))
    text = run("eval", folders[0], SPLIT, *others, *more)
    assert len(table.read_text(encoding="utf-8").splitlines()) == 31
    assert f"balanced accuracy {expected.balanced_accuracy:.2%}" in text
    assert f"macro-F1 {expected.macro_f1:.4f}" in text
