"""The commands that look: what they write, what they refuse before any work, and their JSON."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import cli
from alexnet.data.sources import open_dataset
from alexnet.evaluation import Answers
from alexnet.exchange import foreign
from alexnet.reporting.answers import write_answers
from alexnet.run import files
from alexnet.run.classifier import Split, fresh
from alexnet.run.named import Named, pictures, selected

ACTIVATIONS = (Path(__file__).parents[1] / "docs/activations.md").read_text(encoding="utf-8")
GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.usefixtures("denormals")
FEW = ("--count", "40", "--device", "cpu", "--layer", "fc7")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data_root: Path,
    tmp_path: Path,
) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.setenv("ALEXNET_DATA", str(data_root))
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def result(found: tuple[int, str, str]) -> Any:
    assert found[0] == 0, found[2]
    return json.loads(found[1], parse_constant=pytest.fail)


def test_embed_writes_pictures_numbers_and_words(run, monkeypatch):
    synced, sync = [], files.sync_file
    monkeypatch.setattr(files, "sync_file", lambda path: (synced.append(path.name), sync(path)))
    status, out, err = run(
        "embed", "alexnet-cifar", "shapes/test[:300]", *FEW, "--count", 300, "--near", 3
    )
    assert status == 0, err
    assert {path.name for path in Path("embedding").iterdir()} == {
        *("scatter.png", "scatter.html", "embedding.npz", "embedding.json")
    }
    written = ("scatter.png", "scatter.html", "embedding.npz", "embedding.json")
    assert [re.fullmatch(r"\.(.*)\.\d+\.tmp", name)[1] for name in synced] == list(written)
    assert (
        "300 pictures of shapes/test[:300], 512 values each at fc7 of alexnet-cifar, in float32"
        in out
    )
    assert "The first 3 components carry" in out
    assert "nearest pair" in out
    assert "Nearest to picture 3" in out
    with np.load("embedding/embedding.npz", allow_pickle=False) as kept:
        assert kept["vectors"].shape == (300, 512)
        centred = kept["vectors"] - kept["centre"]
        np.testing.assert_allclose(centred @ kept["axes"].T, kept["points"], atol=1e-4)
        assert len(kept["classes"]) > kept["labels"].max()


def test_activations_md_has_the_arrays_that_embed_writes(run):
    status, _, err = run("embed", "alexnet-cifar", "shapes/test", *FEW, "--layer", "relu7")
    assert status == 0, err
    rows = re.findall(r"^\| (`.+?) \| (\w+) \| (?:`(.*?)`)? *\|", ACTIVATIONS, re.MULTILINE)
    told = {
        key: (kind, shape) for keys, kind, shape in rows for key in re.findall(r"`(\w+)`", keys)
    }
    sizes = {"N": 40, "D": 512, "k": 3, "components": 3}
    with np.load("embedding/embedding.npz", allow_pickle=False) as kept:
        assert told.keys() == set(kept.files)
        assert kept["vectors"].min() == 0  # behind its ReLU
        for key, (kind, shape) in told.items():
            assert kept[key].dtype.kind == "U" if kind == "text" else kept[key].dtype == kind, key
            named = [sizes[s] for s in re.findall(r"\w+", shape)]
            assert not named or not kept[key].size or list(kept[key].shape) == named, key


def test_the_block_of_activations_md_prints_what_is_said_below_it(run, capsys):
    Image.effect_mandelbrot((90, 60), (-2, -1, 1, 1), 20).convert("RGB").save("cat.jpg")
    (block,) = re.findall(r"^```python\n(.+?)^```", ACTIVATIONS, re.DOTALL | re.MULTILINE)
    program = block.replace('load("imagenet")', 'load("owt")')  # the same network, fresh weights
    assert program != block
    names: dict[str, Any] = {}
    exec(compile(program, "activations.md", "exec"), names)
    assert f"It prints `{capsys.readouterr().out.strip()}`" in ACTIVATIONS
    assert names["found"]["conv5"].min() < 0 <= names["found"]["relu7"].min()
    assert names["picture"].shape == (names["how"].picture_size,) * 2 + (3,)
    assert foreign.CONVENTIONS["owt"].preprocessing.picture_size == 256
    assert names["x"].shape == (1, 3, 224, 224)


def test_embed_as_json_says_what_it_wrote_down(run):
    found = result(
        run(
            *("embed", "alexnet-cifar", "shapes/test", *FEW, "--components", 2, "--json"),
            *("--precision", "bf16", "--out", "a"),
        )
    )
    assert found["precision"] == "bf16"
    assert found.pop("near") is None
    assert found == json.loads(Path("a/embedding.json").read_text(encoding="utf-8"))
    assert (found["pictures"], found["values"], found["components"]) == (40, 512, 2)
    assert len(found["variance_shares"]) == 2
    assert -1 <= found["separation_in_components"]["silhouette"] <= 1
    assert not Path("a/scatter.html").exists()  # two components cannot be turned


def test_embed_in_fewer_components_leaves_no_page_of_before(run):
    what = ("embed", "alexnet-cifar", "shapes/test", *FEW)
    assert run(*what)[0] == run(*what, "--components", 2)[0] == 0
    assert not Path("embedding/scatter.html").exists()


def test_embed_of_one_picture_a_class_says_so(run):
    status, out, err = run(
        "embed", "alexnet-cifar", "shapes/test", *FEW, "--count", 2, "--components", 2
    )
    assert status == 0, err
    assert "There are no two classes with pictures enough to compare." in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--components 1", "1 components; a picture of them needs 2 or more"),
        ("--components 41", "41 components of 40 pictures of 512 values; choose 1 to 40"),
        ("--precision bf61", "did you mean 'bf16'"),
        ("--layer fc77", "did you mean 'fc7'"),
        ("--pool max", "known: flatten, mean"),
        ("--count 0", "choose 1 to"),
        ("--near 99999", "picture 99999 is not among the 40 of shapes/test"),
        ("--out taken", "taken holds other files already"),
        ("--out taken/mine.txt", "mine.txt is a file"),
    ],
)
def test_embed_refuses_and_writes_nothing(run, arguments, said):
    Path("taken").mkdir()
    Path("taken/mine.txt").write_text("keep me")
    status, out, err = run("embed", "alexnet-cifar", "shapes/test", *FEW, *arguments.split())
    assert status == 2
    assert said in err
    assert (out, len(err.splitlines())) == ("", 1)
    assert [str(p) for p in Path().rglob("*")] == ["taken", "taken/mine.txt"]


def test_embed_again_replaces_its_own_and_leaves_the_rest(run):
    call = ("embed", "alexnet-cifar", "shapes/test", *FEW)
    assert run(*call, "--count", 30)[0] == 0
    Path("embedding/notes.txt").write_text("keep me")
    assert run(*call)[0] == 0
    assert (
        json.loads(Path("embedding/embedding.json").read_text(encoding="utf-8"))["pictures"] == 40
    )
    assert Path("embedding/notes.txt").read_text() == "keep me"


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """A folder ``photos`` of two classes, ten pictures each; the names of its files."""
    names = [f"{kind}/{n}.png" for kind in ("고양이", "dog") for n in range(10)]
    for level, name in enumerate(names):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (12 * level, 90, level)).save(path)
    return names


def test_sample_names_the_file_of_a_photograph(run, photos):
    found = result(run("sample", "photos/train", "--index", 3, "--json"))
    assert found[0]["file"] in photos
    status, out, err = run("sample", "photos/train", "--index", 3)
    assert status == 0, err
    assert out.startswith(f"picture 3 ({found[0]['file']}) of photos/train: ")
    assert result(run("sample", "shapes/train", "--index", 3, "--json"))[0]["file"] is None
    drawn = result(run("sample", "photos/train", "--count", 6, "--seed", 1, "--json"))
    assert [each["index"] for each in drawn] != sorted(each["index"] for each in drawn)
    assert all(each["file"].startswith(f"{each['actual']}/") for each in drawn)


def test_photographs_are_stored_as_a_model_was_trained_else_in_their_own_size(photos, run):
    untrained = fresh("alexnet-cifar")
    models = {32: [replace(untrained, trained=True)], 256: [untrained]}
    for side, each in (*models.items(), (256, [])):
        (found,) = pictures(each, ["photos/train"], "root")
        assert found.source.images.shape == (20, side, side, 3)
        assert (found.name, found.classes) == ("photos/train", ("dog", "고양이"))
        assert sorted(found.files() or ()) == sorted(photos)


def test_embed_names_the_files_of_photographs(run, photos):
    what = ("embed", "alexnet-cifar", "photos/train", "--device", "cpu", "--data", "root")
    close = result(run(*what, "--near", 3, "--json"))["near"]
    with np.load("embedding/embedding.npz", allow_pickle=False) as kept:
        files, indices = kept["files"].tolist(), kept["indices"].tolist()
    assert sorted(files) == sorted(photos)
    assert close["file"] == files[indices.index(3)]
    for near in close["neighbours"]:
        assert near["file"] == files[indices.index(near["index"])]
    page = Path("embedding/scatter.html").read_text(encoding="utf-8")
    assert f'"file":{json.dumps(files, separators=(",", ":"))}' in page
    said = run(*what, "--near", 3)[1]
    assert f"Nearest to picture 3 ({close['file']}), " in said


def test_answers_name_the_files_of_photographs(run, photos):
    dataset = open_dataset("photos", root="root", size=32)
    few = selected(dataset, Split("train[5:9]"), "photos")
    files, source = few.files(), few.source
    assert files == dataset.names("train")[5:9]
    logs = torch.log_softmax(torch.arange(8.0).view(4, 2), 1)
    said = Answers(logs, torch.from_numpy(source.targets), "centre")
    write_answers(said, few, Path("a.csv"))
    rows = Path("a.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "index,name,true,predicted,probability"
    truth = dataset.classes[int(source.targets[0])]
    assert rows[1] == f"5,{files[0]},{truth},{dataset.classes[1]},0.731059"


def test_answers_of_files_whose_names_are_not_utf8_are_written(run, photos, monkeypatch):
    dataset = open_dataset("photos", root="root", size=32)
    few = selected(dataset, Split("train[:2]"), "photos")
    monkeypatch.setattr(Named, "files", lambda _: ("dog/\udcb0\udca1.jpg", "dog/1.jpg"))
    said = Answers(torch.zeros(2, 2), torch.from_numpy(few.source.targets), "centre")
    write_answers(said, few, Path("a.csv"))
    rows = Path("a.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == ["dog/??.jpg", "dog/1.jpg"]


def test_sample_of_a_data_set(run):
    status, out, _ = run("sample", "shapes/train", "--index", 5)
    assert status == 0
    assert out.startswith("picture 5 of shapes/train: 32 x 32 x 3, uint8, label ")
    assert "The picture is " in out
    assert "[[[" in run("sample", "shapes/train", "--index", 5, "--values")[1]


def test_sample_with_a_model_in_a_grid(run):
    what = ("sample", "alexnet-cifar", "shapes/test", "--count", 6, "--seed", 1, "--device", "cpu")
    status, out, err = run(*what, "--picture", "그림.png")
    assert status == 0, err
    assert out.count("My prediction is ") == out.count("Actual image is ") == 6
    with Image.open("그림.png") as drawn:
        drawn.load()
    found = result(run(*what, "--json"))
    assert [each["data"] for each in found] == ["shapes/test"] * 6
    assert all(len(each["ranked"]) == 5 for each in found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("shapes/tset", "did you mean 'test'?"),
        ("shapess/test", "did you mean 'shapes'?"),
        ("shapes/test --index 100000", "numbered from 0 to"),
        ("alexnet-cifra shapes/test", "did you mean 'alexnet-cifar'?"),
    ],
)
def test_sample_of_what_is_not_there(run, arguments, said):
    status, out, err = run("sample", *arguments.split(), "--device", "cpu")
    assert (status, out) == (2, "")
    assert said in err


def test_env(run):
    found = result(run("env", "--json"))
    assert found["accelerator_count"] == len(found["accelerators"])
    assert found["packages"]["torch"]
    assert run("env")[1].startswith("system ")
    assert run("env", "--markdown")[1].startswith("| environment | value |")
    assert "device 'tpu' is not on this machine" in run("env", "--device", "tpu")[2]


def test_show_expect(run):
    shutil.copy(GOLDEN / "keras3-summary.txt", "a.txt")
    assert run("show", "keras-lab", "--expect", "a.txt")[:2] == (
        0,
        "the table matches keras-lab: 17 layers, shapes, parameters, totals\n",
    )
    status, out, _ = run("show", "keras-bn5", "--expect", "a.txt", "--json")
    assert status == 1
    assert len(json.loads(out)["differences"]) == 5
    assert "missing.txt cannot be read" in run("show", "keras-lab", "--expect", "missing.txt")[2]


@pytest.mark.parametrize("k", [0, 11])
def test_eval_refuses_a_k_that_there_is_not(run, k):
    status, _, err = run("eval", "alexnet-cifar", "shapes/test", "--top", 1, "--top", k)
    assert status == 2
    assert f"top-{k} of 10 classes; choose k from 1 to 10" in err
