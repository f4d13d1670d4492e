"""The whole way, as a new user goes it: a folder of photographs, one command, a trained model."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import alexnet
from alexnet import cli
from alexnet.benchmark.intake import by_rounds, intake_speed
from alexnet.data.sources import open_dataset
from alexnet.errors import UsageError
from alexnet.reporting.running import planned
from alexnet.run.log import Console

sys.path.insert(0, str(Path(__file__).parent / "data"))
from own_folder import UNREADABLE, build

QUICK = [
    "train.epochs=1 steps",
    "train.batch=8",
    "data.size=32",
    "input.size=32",
    "evaluation.views=centre",
]
pytestmark = pytest.mark.usefixtures("denormals")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("photos") / "own")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], own: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line with a root beside the folder; returns status, output, messages."""
    monkeypatch.setenv("ALEXNET_DATA", str(own.parent / "root"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_folder_is_shown(own: Path, command: Command) -> None:
    status, out, err = command("data", own, "--size", 32)
    assert status == 0, err
    assert "train: 157 pictures, 3 unreadable left out, stored 32x32" in out
    assert "WARNING: 2 pictures are in two parts" in out
    status, out, _ = command("data", own, "--size", 32, "--json")
    assert status == 0
    assert len(json.loads(out)["intake"]["unreadable"]) == 3


def test_a_recipe_names_photographs_in_full(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own.parent)
    for recipe, changes in (("own/", {}), ("photos-kernel", {"data.name": "own/"})):
        assert planned(recipe, changes, Console(quiet=True)).data.name == str(own)
    assert planned("photos", {"data.name": "shapes"}, Console(quiet=True)).data.name == "shapes"


@pytest.mark.parametrize("verb", ["train", "data"])
def test_an_archive_that_is_not_read_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.zip").write_bytes(b"PK")
    status, _, err = command(verb, "photos.zip")
    assert status == 2
    assert "photos.zip is no data set: expected" in err
    assert "unpack any other archive first" in err


def test_strict_is_one_message_and_a_failure(own: Path, command: Command) -> None:
    status, out, err = command("data", own, "--size", 32, "--strict")
    assert (status, out) == (1, "")
    assert "alexnet: strict: 5 faults" in err
    assert "train/church/nothing.jpg: is empty (0 bytes)" in err
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def run(own: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished run on the folder."""
    from alexnet.recipe import parse_assignment
    from alexnet.run.log import Console

    out = tmp_path_factory.mktemp("runs") / "a"
    override: dict[str, Any] = dict(map(parse_assignment, QUICK))
    root, quiet = own.parent / "root", Console(quiet=True)
    alexnet.train(str(own), out, override=override, device="cpu", data_root=root, console=quiet)
    return out


def test_one_call_trains_and_keeps_the_report(run: Path, own: Path) -> None:
    assert json.loads((run / "result.json").read_text(encoding="utf-8"))["test"]["count"] == 40
    report = json.loads((run / "intake.json").read_text(encoding="utf-8"))
    assert report["parts"]["train"]["pictures"] == 157
    assert "train/golf ball/letter.jpg: is a text file" in (run / "intake.txt").read_text(
        encoding="utf-8"
    )


def test_what_is_set_aside_is_said(own: Path, command: Command, tmp_path: Path) -> None:
    settings = [word for text in QUICK for word in ("--set", text)]
    status, _, err = command("train", own, "--out", tmp_path / "b", *settings, "--device", "cpu")
    assert status == 0, err
    assert "no part for validation: 15 % of the training pictures, class by class, are kept" in err
    assert "133 training pictures (24 for validation, 40 for test)" in err


def test_missing_splits_were_cut_and_saved_exactly(run: Path) -> None:
    plan = alexnet.recipe.parse((run / "recipe.toml").read_text(encoding="utf-8"))
    assert (plan.data.train, plan.data.validation, plan.data.test, plan.data.split) == (
        "train[:85%]",
        "train[85%:100%]",
        "test",
        "stratified",
    )
    indices = json.loads((run / "splits.json").read_text(encoding="utf-8"))["indices"]
    assert sorted(indices["train"] + indices["validation"]) == list(range(157))


def test_the_model_knows_the_classes_and_scores_the_folder(
    run: Path, own: Path, command: Command
) -> None:
    model = alexnet.load(run)
    assert model.classes == ("church", "golf ball", "parachute", "잉어")
    (first, *_) = alexnet.predict(model, own / "train" / "잉어" / "큰 잉어.jpg")
    assert first.label in model.classes
    root = own.parent / "root"
    by_name = alexnet.evaluate(model, f"{own}/test", data_root=root, device="cpu")
    assert by_name == alexnet.evaluate(model, data_root=root, device="cpu")
    assert by_name.count == 40
    status, out, err = command("eval", run, f"{own}/train", "--device", "cpu")
    assert status == 0, err
    assert "157 pictures" in out


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder of two classes without parts, in which every picture is there twice, once as it is or squeezed."""
    draw, folder = np.random.default_rng(3), tmp_path_factory.mktemp("copied") / "own"
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for i in range(20):
            coarse = draw.integers(0, 256, (6, 8, 3), np.uint8).repeat(20, 0).repeat(20, 1)
            drawn = Image.fromarray(coarse)
            drawn.save(folder / label / f"{i}.jpg", quality=90)
            again = folder / label / f"{i} again.jpg"
            if i % 2:
                again.write_bytes((folder / label / f"{i}.jpg").read_bytes())
            else:
                drawn.resize((144, 108), Image.Resampling.LANCZOS).save(again, quality=75)
    return folder


def test_pictures_on_both_sides_of_the_runs_own_cut_are_told(
    copied: Path, command: Command, tmp_path: Path
) -> None:
    """By their bytes or by their looks, in a folder without parts; a run that goes on does not look again."""
    out, settings = tmp_path / "a", [word for text in QUICK for word in ("--set", text)]
    status, _, err = command("train", copied, "--out", out, *settings, "--device", "cpu")
    assert status == 0, err
    indices = json.loads((out / "splits.json").read_text(encoding="utf-8"))["indices"]
    names = open_dataset(str(copied), root=copied.parent / "root", size=32).names("train")
    assert names
    role = {names[i]: name for name, chosen in indices.items() for i in chosen}
    twins = [(name, name.replace(".jpg", " again.jpg")) for name in names if "again" not in name]
    across = {frozenset(two) for two in twins if role[two[0]] != role[two[1]]}
    assert 5 < len(across) < len(twins)
    found = json.loads((out / "intake.json").read_text(encoding="utf-8"))["in_two_splits"]
    assert {frozenset(pair["names"]) for pair in found} == across
    assert len(found) == len(across)
    for pair in found:
        number = int(Path(pair["names"][0]).name.split()[0].removesuffix(".jpg"))
        assert pair["same"] == ("bytes" if number % 2 else "content")
        assert [role[name] for name in pair["names"]] == pair["parts"]
    said = f"WARNING: {len(across)} pictures are on both sides of this run's own cut"
    assert err.count(said) == (out / "intake.txt").read_text(encoding="utf-8").count(said) == 1
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["in_two_splits"] == len(
        across
    )
    page = alexnet.report(out, pictures=0, device="cpu", data_root=copied.parent / "root")
    assert said.replace("'", "&#x27;") in page.read_text(encoding="utf-8")
    (out / "result.json").unlink()
    status, _, err = command("resume", out, "--device", "cpu")
    assert status == 0, err
    assert said not in err
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["in_two_splits"]


def test_parts_of_their_own_are_not_searched_again(run: Path) -> None:
    """Of train and validation, cut out of one part, yes, and there is none; of test there is a part."""
    report = json.loads((run / "intake.json").read_text(encoding="utf-8"))
    assert report["in_two_splits"] == []
    assert len(report["in_two_parts"]) == 2


def test_a_folder_of_one_class_is_scored_and_not_trained_on(
    run: Path, own: Path, command: Command, tmp_path: Path
) -> None:
    """Whether it was taken in before or not: what is said is the same, and nothing is read for it."""
    some = tmp_path / "new" / "church"
    some.mkdir(parents=True)
    for file in sorted((own / "test" / "church").iterdir())[:5]:
        (some / file.name).write_bytes(file.read_bytes())
    refused = "new has one class only, 'church': there is nothing to tell apart"
    status, _, err = command("train", some.parent, "--out", tmp_path / "b")
    assert status == 1
    assert refused in err
    assert not list((own.parent / "root" / "photographs").glob("new-*/v1-*"))
    status, out, err = command("eval", run, some.parent, "--device", "cpu", "--json")
    assert status == 0, err
    assert (
        f"{some.parent}/train has 1 of the 4 classes that the model knows, none of golf ball" in err
    )
    assert [sum(row) for row in json.loads(out)["confusion"]] == [5, 0, 0, 0]
    space = alexnet.embed(run, str(some.parent), device="cpu", data_root=own.parent / "root")
    assert space.classes == ("church",)
    status, out, _ = command("data", some.parent, "--size", 32)
    assert status == 0
    assert "one class only, 'church': to score a model on" in out
    shrink = ("--set", "data.size=32", "--set", "input.size=32")
    status, _, err = command("train", some.parent, "--out", tmp_path / "b", *shrink)
    assert status == 1
    assert refused in err


def test_prediction_sees_what_the_cache_holds(run: Path, own: Path) -> None:
    """A picture file and its row in the cache are the same numbers to the network."""
    from alexnet.data.pictures import read_square
    from alexnet.data.sources import open_dataset

    data = open_dataset(str(own), root=own.parent / "root", size=32)
    names = data.names("test")
    assert names
    for i in (0, 11, 39):
        np.testing.assert_array_equal(read_square(own / names[i], 32), data.parts["test"].images[i])


def test_a_model_of_whole_pictures_sees_files_and_data_so(tmp_path: Path, command: Command) -> None:
    """From the recipe to the model; from there to a file that is predicted and a split that is scored."""
    draw, own = np.random.default_rng(0), tmp_path / "own"
    for name in (own / label / f"{i}.png" for label in ("cat", "dog") for i in range(20)):
        name.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (40, 60, 3), np.uint8)).save(name)
    out = tmp_path / "run"
    settings = [word for text in [*QUICK, "data.fit=stretch"] for word in ("--set", text)]
    status, _, err = command("train", own, "--out", out, *settings, "--device", "cpu")
    assert status == 0, err
    assert "(the whole picture, its sides made equal)" in (out / "intake.txt").read_text()
    model = alexnet.load(out)
    assert model.preprocessing.square_fit == "stretch"
    with Image.open(own / "cat" / "7.png") as picture:
        whole = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR))
    assert alexnet.predict(model, own / "cat" / "7.png") == alexnet.predict(model, whole)
    status, text, err = command("eval", out, f"{own}/train", "--device", "cpu", "--json")
    assert status == 0, err
    ranked = {name: alexnet.predict(model, name) for name in sorted(own.rglob("*.png"))}
    right = [
        r.probability for name, of in ranked.items() for r in of if r.label == name.parent.name
    ]
    # A prediction is in float32, a score in bf16 where the hardware has units for it.
    assert json.loads(text)["loss"] == pytest.approx(-np.log(right).mean(), rel=1e-3)
    recorded = json.loads((out / "result.json").read_text(encoding="utf-8"))["test"]
    status, text, err = command("eval", out, "--device", "cpu", "--json")
    assert status == 0, err
    assert json.loads(text)["loss"] == recorded["loss"], "the part that was cut off for the test"
    status, text, err = command("data", own, "--size", 32, "--fit", "stretch")
    assert status == 0, err
    assert "stored 32x32 (the whole picture, its sides made equal)" in text


def test_a_folder_that_is_no_data_set_is_told(tmp_path: Path, command: Command) -> None:
    (tmp_path / "empty").mkdir()
    for verb in ("data", "train"):
        status, out, err = command(verb, tmp_path / "empty")
        assert (status, out) == (1, "")
        assert "holds no pictures; expected a folder of class folders" in err.splitlines()[-1]
    status, _, err = command("data", tmp_path / "nothing")
    assert status == 2
    assert "is no data set" in err


def test_the_intake_is_measured_beside_pillow_alone(own: Path, tmp_path: Path) -> None:
    """What is measured, not how fast: the machine may be busy, and 157 pictures are few."""
    found = intake_speed(own, size=32, pictures=200, rounds=2)
    assert found.pictures == 200 - len(UNREADABLE)
    assert {len(s) for s in (found.decoded, found.fitted, found.whole, found.start)} == {2}
    assert 0 < sum(found.decoded) < sum(found.fitted) < sum(found.whole)
    assert sum(found.steady) == pytest.approx(sum(found.whole) - sum(found.start))
    assert found.rates([2.0]) == (found.pictures / 2,)
    assert by_rounds([1.0, 2.0, 9.0], [2.0, 8.0, 10.0]) == 0.5
    with pytest.raises(UsageError, match="is no data set"):
        intake_speed(tmp_path / "none")
