"""The six lines of the package's docstring, on a run of seconds: train, resume, load, predict, score."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet.data.order import fold
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import open_dataset
from alexnet.errors import CheckpointError, DataError, UsageError
from alexnet.evaluation import Scores
from alexnet.models import zoo
from alexnet.prediction import Ranked
from alexnet.reporting.cards import network_card
from alexnet.reporting.run_pictures import draw
from alexnet.reporting.style import RIGHT, WRONG
from alexnet.run import checkpoint
from alexnet.run.classifier import Classifier, Provenance, fresh, restore
from alexnet.run.device import choose
from alexnet.run.log import Console
from alexnet.training.record import Result

TINY = {
    "data.name": "shapes",
    "data.train": "train[:200]",
    "data.validation": "train[200:300]",
    "data.test": "test[:100]",
    "train.batch": 50,
    "train.epochs": "2 epochs",
    "train.precision": "float32",
}
PICTURES = {"curves.png", "confusion.png", "samples.png", "prediction.png", "picture.png"}
pytestmark = pytest.mark.usefixtures("denormals")


def train(out: Path, data_root: Path, **override: Any) -> Result:
    return alexnet.train(
        "cifar10-quick",
        out,
        override=TINY | override,
        device="cpu",
        data_root=data_root,
        console=Console(quiet=True),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Iterator[Result]:
    yield train(tmp_path_factory.mktemp("runs") / "a", data_root)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="module")
def picture(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "하나.png"
    Image.fromarray(open_dataset("shapes", root=data_root).parts["test"].images[3]).save(path)
    return path


# --- train -----------------------------------------------------------------------------------


def test_train_returns_what_it_recorded(run):
    assert isinstance(run, Result)
    assert run.record == json.loads((run.folder / "result.json").read_text(encoding="utf-8"))
    assert run.recipe.data.name == "shapes"
    assert [line["step"] for line in run.history] == [4, 8]
    assert run.record["test"]["count"] == 100
    assert sum(map(sum, run.record["test"]["confusion"])) == 100


def test_a_result_says_in_a_line_what_was_reached(run):
    reached = f"{run.record['test']['accuracy']:.2%} of 100 test pictures"
    assert repr(run) == f"<cifar10-quick: {reached}, in {run.folder}>"


def test_train_draws_its_pictures(run):
    assert {path.name for path in run.folder.glob("*.png")} == PICTURES
    for name in PICTURES - {"picture.png"}:
        with Image.open(run.folder / name) as drawn:
            drawn.load()
            assert min(drawn.size) >= 200, name
            assert len(drawn.convert("RGB").getcolors(1 << 24) or []) > 10, f"{name} is blank"
    with Image.open(run.folder / "picture.png") as kept:
        assert kept.size == (32, 32)


def test_the_pictures_of_a_run_are_test_pictures_by_its_seed(run, data_root, tmp_path, monkeypatch):
    grid, said, result = {}, [], dataclasses.replace(run, folder=tmp_path)
    monkeypatch.setattr(
        "alexnet.reporting.samples.plot_samples",
        lambda images, titles, path, **how: grid.update(images=images, titles=titles, **how),
    )
    model, dataset = alexnet.load(run.folder), open_dataset("shapes", root=data_root)
    draw(result, model, dataset, choose("cpu", "float32"), said.append)
    seed = fold(run.recipe.train.seed, "samples")
    which = np.random.Generator(np.random.PCG64(seed)).choice(100, 32, replace=False)
    part, names = dataset.parts["test"], dataset.classes
    assert np.array_equal(grid["images"], part.images[which])
    guesses = [alexnet.predict(model, image)[0] for image in grid["images"]]
    pairs = [(g.label, names[t]) for g, t in zip(guesses, part.labels[which], strict=True)]
    assert grid["titles"] == [t if g == t else f"{g}\nis {t}" for g, t in pairs]
    assert grid["colours"] == [RIGHT if g == t else WRONG for g, t in pairs]
    assert grid["title"] == "cifar10-quick: predicted"
    first = f"predicted {pairs[0][0]} ({guesses[0].probability:.1%}), actual {pairs[0][1]}"
    assert said == [f"one test picture (number {which[0]}): {first}"]
    with Image.open(tmp_path / "picture.png") as kept:
        assert np.array_equal(np.asarray(kept), grid["images"][0])


def test_train_learns(run):
    losses = [line["train_loss"] for line in run.history]
    assert losses[1] < losses[0]


def test_train_takes_a_recipe_and_does_not_overwrite(run, data_root):
    with pytest.raises(UsageError, match="holds a run already"):
        alexnet.train(run.recipe, run.folder, data_root=data_root)
    assert run.record == json.loads((run.folder / "result.json").read_text(encoding="utf-8"))


def test_a_wrong_call_leaves_nothing_behind(tmp_path, data_root):
    with pytest.raises(UsageError, match="unknown split"):
        train(tmp_path / "a", data_root, **{"data.test": "tset"})
    assert list(tmp_path.iterdir()) == []


# --- resume ----------------------------------------------------------------------------------


def test_resume_of_a_finished_run_returns_it(run):
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()}
    again = alexnet.resume(run.folder, console=Console(quiet=True))
    assert again == run
    assert before == {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.is_file()}


def test_resume_finishes_what_is_not_finished(run, data_root, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "b"))
    (folder / "result.json").unlink()
    for name in PICTURES:
        (folder / name).unlink()
    again = alexnet.resume(folder, device="cpu", data_root=data_root, console=Console(quiet=True))
    assert again.record["test"] == run.record["test"]
    assert {path.name for path in folder.glob("*.png")} == PICTURES


def test_resume_of_a_finished_run_draws_what_is_missing(run, data_root, tmp_path):
    folder = Path(shutil.copytree(run.folder, tmp_path / "b"))
    for name in sorted(PICTURES)[1:]:  # it was stopped while it drew
        (folder / name).unlink()
    alexnet.resume(folder, device="cpu", data_root=data_root, console=Console(quiet=True))
    for name in PICTURES:
        assert (folder / name).read_bytes() == (run.folder / name).read_bytes()


def test_resume_draws_no_test_pictures_of_data_that_changed(run, data_root, tmp_path, capsys):
    folder = Path(shutil.copytree(run.folder, tmp_path / "b"))
    for name in PICTURES:
        (folder / name).unlink()
    splits = json.loads((folder / "splits.json").read_text(encoding="utf-8"))
    (folder / "splits.json").write_text(json.dumps({**splits, "fingerprint": "of then"}))
    alexnet.resume(folder, device="cpu", data_root=data_root)
    assert {path.name for path in folder.glob("*.png")} == {"curves.png", "confusion.png"}
    assert "no test picture is drawn: " in "".join(capsys.readouterr())


def test_a_picture_is_whole_or_not_there(run, data_root, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(run.folder, tmp_path / "b"))
    (folder / "picture.png").unlink()
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == "picture.png":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(DataError, match=r"picture\.png: cannot be written: No space left"):
        alexnet.resume(folder, device="cpu", data_root=data_root, console=Console(quiet=True))
    assert {path.name for path in folder.glob("*.png")} == PICTURES - {"picture.png"}


def test_resume_of_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="holds no run"):
        alexnet.resume(tmp_path)


# --- load ------------------------------------------------------------------------------------


def test_load_gives_a_classifier_ready_for_use(run, data_root):
    model = alexnet.load(run.folder)
    assert isinstance(model, Classifier)
    assert not model.module.training
    assert model.classes == open_dataset("shapes", root=data_root).classes
    assert model.preprocessing.mean == pytest.approx(run.recipe.input.mean)
    assert model.views == run.recipe.evaluation.views == "shift"
    fingerprint = open_dataset("shapes", root=data_root).fingerprint
    assert model.provenance == Provenance(fingerprint, "train[:200]", "float32")
    saved = checkpoint.load(run.folder / "checkpoints" / "step-00000008", to_use=True)
    older = {key: value for key, value in saved.model.items() if key != "provenance"}
    assert restore(dataclasses.replace(saved, model=older)).provenance == Provenance()


def test_load_takes_a_run_a_checkpoint_or_a_network(run):
    last = run.folder / "checkpoints" / (run.folder / "LAST").read_text(encoding="utf-8")
    weights = [alexnet.load(name).module.state_dict() for name in (run.folder, str(last))]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert alexnet.load("alexnet-cifar").origin == "fresh weights"


def test_fresh_weights_are_of_the_network_that_show_tells_of():
    model = alexnet.load("alexnet-2012")
    told = network_card(zoo.network("alexnet-2012"))
    assert len(model.classes) == model.module.network.classes == 1000
    assert sum(p.numel() for p in model.module.parameters()) == told["parameters"] == 60_965_224
    assert len(fresh("alexnet-2012", classes=3).classes) == 3


# --- predict and evaluate --------------------------------------------------------------------


def test_predict_ranks_the_classes(run, picture):
    model = alexnet.load(run.folder)
    ranked = alexnet.predict(model, picture, top=3)
    assert len(ranked) == 3
    assert all(isinstance(each, Ranked) for each in ranked)
    every = alexnet.predict(model, picture, top=99)
    assert every[:3] == ranked
    assert {each.label for each in every} == set(model.classes)
    shares = [each.probability for each in every]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-5)


def test_predict_takes_a_path_bytes_or_an_array(run, picture):
    model = alexnet.load(run.folder)
    with Image.open(picture) as opened:
        pixels = np.asarray(opened)
        opened.load()
    forms: list[Any] = [picture, str(picture), picture.read_bytes(), pixels, opened]
    assert len({tuple(alexnet.predict(model, form)) for form in forms}) == 1
    assert alexnet.predict(run.folder, picture) == alexnet.predict(model, picture)


def test_predict_takes_the_views_that_the_model_was_scored_with(run, picture):
    model = alexnet.load(run.folder)
    unmirrored = alexnet.predict(model, picture, views="centre")
    assert alexnet.predict(model, picture) == alexnet.predict(model, picture, views="shift")
    assert alexnet.predict(model, picture) != unmirrored


def test_evaluate_gives_the_recorded_scores(run, data_root):
    where = {"device": "cpu", "precision": "float32", "data_root": data_root}
    scores = alexnet.evaluate(run.folder, "shapes/test[:100]", **where)
    assert isinstance(scores, Scores)
    assert json.loads(json.dumps(scores.to_json())) == run.record["test"]
    assert scores.precision == "float32"
    assert alexnet.evaluate(alexnet.load(run.folder), "shapes/test[:100]", **where) == scores


def test_evaluate_without_a_split_is_of_the_test_part(run, data_root):
    scores = alexnet.evaluate(run.folder, "shapes", device="cpu", data_root=data_root)
    assert scores.count == 500


def test_scores_of_a_class_without_pictures_are_valid_json(run, data_root):
    scores = alexnet.evaluate(run.folder, "shapes/test[:2]", device="cpu", data_root=data_root)
    plain = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert plain["per_class"].count(None) >= 8


# --- a checkpoint needs nothing else ---------------------------------------------------------


def test_predict_from_the_checkpoint_alone_in_a_fresh_process(run, picture, tmp_path):
    """No recipe, no data, no run: the folder of one checkpoint, somewhere else."""
    last = run.folder / "checkpoints" / (run.folder / "LAST").read_text(encoding="utf-8")
    alone = shutil.copytree(last, tmp_path / "copied")
    code = (
        "import sys, json, dataclasses, torch, alexnet; torch.set_num_threads(1);"
        "found = alexnet.predict(sys.argv[1], sys.argv[2], top=10);"
        "print(json.dumps([dataclasses.astuple(r) for r in found]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(alone), str(picture)],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
    )
    assert done.stderr == ""
    here = alexnet.predict(run.folder, picture, top=10)
    assert [tuple(pair) for pair in json.loads(done.stdout)] == [
        (r.label, pytest.approx(r.probability, rel=1e-5)) for r in here
    ]


def test_class_names_and_preprocessing_come_from_the_checkpoint(run, picture):
    saved = checkpoint.newest(run.folder, print)
    names = [f"도형 {n}" for n in range(10)]
    other = Preprocessing(32, 32, "0..255", (100.0, 90.0, 80.0), (50.0, 60.0, 70.0))
    card = {**saved.model, "classes": names, "preprocessing": other.to_json(), "views": "centre"}
    changed = restore(dataclasses.replace(saved, model=card))
    assert changed.classes == tuple(names)

    with Image.open(picture) as opened:
        pixels = np.asarray(opened, dtype=np.float32)
    x = (pixels - np.float32([100, 90, 80])) / np.float32([50, 60, 70])
    with torch.inference_mode():
        p = changed.module(torch.from_numpy(x.transpose(2, 0, 1).copy())[None]).softmax(1)[0]
    best = int(p.argmax())
    ranked = alexnet.predict(changed, picture, top=1)
    assert ranked == [Ranked(names[best], pytest.approx(float(p[best]), rel=1e-4))]


def test_importing_the_package_imports_no_torch():
    code = "import sys, alexnet; print([m for m in ('torch', 'numpy', 'pydantic') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
