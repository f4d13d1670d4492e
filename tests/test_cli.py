"""Whatever is typed: a result, or one clear line and its exit status; never a traceback or a loss."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet import __version__, cli, recipe, terminal
from alexnet.benchmark.costs import UPDATES
from alexnet.data import arrays
from alexnet.data.cache import Contents, write_cache
from alexnet.data.sources import open_dataset
from alexnet.options import changes_of

TINY = {
    "data.name": "shapes",
    "data.train": "train[:100]",
    "data.validation": "train[100:150]",
    "data.test": "test[:50]",
    "train.batch": "50",
    "train.epochs": "1 epochs",
    "train.precision": "float32",
}
pytestmark = pytest.mark.usefixtures("denormals")


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Return standard output as strict JSON: no NaN."""
        assert self.status == 0, self.err
        return json.loads(self.out, parse_constant=pytest.fail)


Command = Callable[..., Outcome]


@pytest.fixture
def alexnet(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data_root: Path,
    tmp_path: Path,
) -> Command:
    """Run the command line in this process, in an empty folder."""
    monkeypatch.setenv("ALEXNET_DATA", str(data_root))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["alexnet", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return Outcome(int(end.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def refused(alexnet: Command) -> Callable[..., str]:
    """Run a command that must fail with one line, print nothing and leave nothing behind."""

    def run(*arguments: object, status: int) -> str:
        before = everything(Path.cwd())
        found = alexnet(*arguments)
        lines = found.err.splitlines()
        assert found.status == status, found.err
        assert found.out == ""
        assert [line for line in lines if line.startswith("alexnet: ")] == lines[-1:], found.err
        assert "Traceback" not in found.err
        assert everything(Path.cwd()) == before
        return lines[-1].removeprefix("alexnet: ")

    return run


def everything(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes, and every folder."""
    return {str(p): p.read_bytes() if p.is_file() else b"" for p in folder.rglob("*")}


def train_arguments(out: object, **changes: str) -> list[str]:
    sets = [f"--set={key}={value}" for key, value in (TINY | changes).items()]
    return ["train", "cifar10-quick", "--out", str(out), "--device", "cpu", *sets]


def in_a_process(*arguments: object, **how: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "alexnet", *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        **how,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, data_root: Path) -> Iterator[Path]:
    """Return a finished run that nobody may change."""
    import alexnet
    from alexnet.run.log import Console

    out = tmp_path_factory.mktemp("runs") / "a"
    changes = dict(recipe.parse_assignment(f"{k}={v}") for k, v in TINY.items())
    quiet = Console(quiet=True)
    alexnet.train(
        "cifar10-quick", out, override=changes, device="cpu", data_root=data_root, console=quiet
    )
    yield out
    torch.set_flush_denormal(False)


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the run from before its result was written."""
    folder = shutil.copytree(finished, tmp_path / "unfinished")
    (folder / "result.json").unlink()
    return folder


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "고양이 사진.png"
    Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 20).convert("RGB").save(path)
    return path


# --- wrong calls -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("trian", "no such command 'trian'. Did you mean 'train'?"),
        ("--verbos", "no such option"),
        ("train --sett a=b", "no such option"),
        ("show", "missing argument"),
        ("predict keras-lab", "missing argument"),
        ("list", "missing argument"),
        ("list networks", "'networks' is not one of 'models', 'datasets', 'recipes'"),
        ("list models recipes", "unexpected extra argument"),
        ("show keras-lab --size wide", "--size"),
        ("bench stepp", "no such command 'stepp'. Did you mean"),
        ("predict keras-lab x.png --top many", "--top"),
        ("train cifar10-quick --out", "--out"),
    ],
)
def test_a_call_that_cannot_be_parsed(refused, arguments, said):
    message = refused(*arguments.split(), status=2)
    assert said in message
    assert message.endswith("--help`")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("show keras-la", "did you mean 'keras-lab'?"),
        ("show keras-lab --size 40", "vanishes at layer"),
        ("train cifar10-quik", "unknown recipe 'cifar10-quik'; did you mean 'cifar10-quick'?"),
        ("train mine.toml", "mine.toml does not exist"),
        ("train keras-lab --set input.size=40", "the smallest legal picture is 67x67"),
        ("train cifar10-quick --set model.network=alexnet-cifra", "did you mean 'alexnet-cifar'?"),
        (
            "train cifar10-quick --set data.name=cifar-10",
            "unknown data set 'cifar-10'; did you mean",
        ),
        (
            "train cifar10-quick --set optim.lrr=1",
            "unknown key 'optim.lrr'; did you mean 'optim.lr'?",
        ),
        (
            "train cifar10-quick --seed 3 --set train.seed=4",
            "train.seed is to be 3, but --set train.seed=4; give one of them",
        ),
        ("train cifar10-quick --seed -1", "train.seed"),
        ("train cifar10-quick cifar-10", "unknown data set 'cifar-10'; did you mean"),
        (
            "train cifar10-quick shapes --set data.name=cifar10",
            "data.name is to be shapes, but --set data.name=cifar10; give one of them",
        ),
        ("train . shapes", ". and shapes: photographs are from one place; name a recipe before it"),
        ("train cifar10-quick --set optim.name=adan", "did you mean 'adam'?"),
        ("train cifar10-quick --set optim.lr=fast", "optim.lr = 'fast'"),
        ("train cifar10-quick --set optim.lr", "expected section.key=value, got 'optim.lr'"),
        ("train cifar10-quick --set train.epochs=ten", "train.epochs = 'ten'"),
        ("train cifar10-quick --set evaluation.views=flop", "did you mean 'flip'?"),
        ("train cifar10-quick --device tpu", "device 'tpu' is not on this machine"),
        ("train cifar10-quick --device cpu:x", "not a device name"),
        ("data cifar", "did you mean 'cifar10'?"),
        ("data shapes --size 8", "16"),
        ("data . --size -1", "photographs of -1 pixels a side: expected 16 or more"),
        ("eval keras-la shapes/test", "did you mean 'keras-lab'?"),
        ("bench --network keras-la", "did you mean 'keras-lab'?"),
        ("bench --network alexnet-cifar --optimizer adan", "did you mean 'adam'?"),
        ("bench --network alexnet-cifar --precision bf61", "did you mean 'bf16'?"),
        ("eval alexnet-cifar shapes/test --precision bf61", "did you mean 'bf16'?"),
        ("sample alexnet-cifar shapes/test --precision bf61", "did you mean 'bf16'?"),
        ("bench --network alexnet-cifar --batch 0", "at least 1"),
        ("bench --network alexnet-cifar --rounds 0", "at least 1"),
        ("bench inference keras-la", "did you mean 'keras-lab'?"),
        ("bench inference alexnet-cifar --batch 0", "at least 1"),
        ("bench accuracy cifar10-quik", "did you mean 'cifar10-quick'?"),
        ("bench accuracy cifar10-quick --target 94", "--target 94.0 is no accuracy"),
        ("bench accuracy cifar10-quick --seeds 4..0", "expected different seeds"),
        ("bench input --pictures 0", "at least 1"),
        ("bench stream --pictures 0", "must be at least 1"),
        ("bench stream --pictures 999999999", "do not fit into"),
        ("bench start --n 0", "n must be at least 1"),
        ("bench start --record a.txt", "--record a.txt: a record is a JSON file"),
    ],
)
def test_a_call_that_asks_for_what_is_not_there(refused, arguments, said):
    assert said in refused(*arguments.split(), status=2)


def test_a_seed_is_a_key_of_the_recipe():
    three, none = {"train.seed": 3, "data.name": None}, {"train.seed": None}
    assert changes_of(["optim.lr=0.1"], three) == {"optim.lr": 0.1, "train.seed": 3}
    assert changes_of(["train.seed=3"], three) == changes_of(["train.seed=3"], none)
    assert changes_of([], none) == {}


def test_what_chooses_does_not_test(refused):
    keys = {"evaluation.keep": "best", "data.validation": "test[:30]", "data.test": "test[20:40]"}
    said = refused(*train_arguments("a", **keys), status=2)
    assert "data.validation = 'test[:30]' and data.test = 'test[20:40]' share 10 pictures" in said


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("data.train", "tarin", "unknown split 'tarin'; did you mean 'train'?"),
        (
            "data.test",
            "val",
            "known: test, train; 'auto' for data.train, data.validation and data.test",
        ),
        ("data.train", "train[", "is not understood"),
        ("data.train", "train[:0]", "selects none"),
        ("data.train", "train[:9999]", "9999"),
        ("data.validation", "train[50:150]", "share 50 pictures"),
        ("data.test", "train[:10]", "share 10 pictures"),
        ("augment.crop", "32", "augment.crop = 32 moves pictures of 32 pixels"),
        ("data.size", "8", "data.size = 8"),
        ("model.init", "kers", "unknown initialisation 'kers'; did you mean 'keras'?"),
        ("train.batch", "101", "train.batch = 101 is more than the 100 training pictures"),
    ],
)
def test_a_recipe_that_does_not_fit_the_data(refused, key, value, said):
    assert said in refused(*train_arguments("a", **{key: value}), status=2)


def test_a_folder_that_is_taken(refused, finished):
    Path("files").mkdir()
    Path("files/mine.txt").write_text("keep me")
    Path("file").write_text("keep me too")
    assert "holds a run already" in refused(*train_arguments(finished), status=2)
    assert "alexnet resume" in refused(*train_arguments(finished), status=2)
    assert "holds files already" in refused(*train_arguments("files"), status=2)
    assert "file is a file" in refused(*train_arguments("file"), status=2)


def test_a_folder_that_cannot_be_made(refused):
    Path("file").write_text("keep me")
    assert "file" in refused(*train_arguments("file/run"), status=1)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(refused):
    Path("locked").mkdir(mode=0o500)
    assert "locked" in refused(*train_arguments("locked/run"), status=1)


# --- pictures --------------------------------------------------------------------------------


def truncated_jpeg() -> bytes:
    path = Path("whole.jpg")
    Image.effect_noise((200, 200), 50).convert("RGB").save(path)
    whole = path.read_bytes()
    path.unlink()
    return whole[: len(whole) // 2]


def bomb() -> bytes:
    """A black PNG of 50,000 x 50,000, one bit a pixel: 312 MB of pixels in a small file."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(1)
    rows = bytes(6251 * 500)
    data = b"".join(packer.compress(rows) for _ in range(100)) + packer.flush()
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


BAD_PICTURES: dict[str, Callable[[], bytes]] = {
    "empty.png": lambda: b"",
    "text.jpg": lambda: b"this is no picture\n",
    "cut.jpg": truncated_jpeg,
    "bomb.png": bomb,
    "zeros.png": lambda: bytes(1000),
    "page.svg": lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>",
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_a_file_that_is_no_picture(alexnet, finished, name):
    Path(name).write_bytes(BAD_PICTURES[name]())
    assert Path(name).stat().st_size < 2_000_000
    found = alexnet("predict", finished, name)
    assert found.status == 1
    assert len(found.err.splitlines()) == 1
    assert found.err.startswith("alexnet: ")
    assert name in found.err


def test_a_picture_that_is_not_there(alexnet, finished):
    Path("folder").mkdir()
    for name, status in (("missing.png", 1), ("folder", 2)):
        found = alexnet("predict", finished, name)
        assert found.status == status
        assert found.err.startswith("alexnet: ")
        assert name in found.err
        assert len(found.err.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read anything")
def test_a_picture_that_may_not_be_read(alexnet, finished, picture):
    picture.chmod(0o000)
    found = alexnet("predict", finished, picture)
    assert found.status == 1
    assert picture.name in found.err


def test_one_bad_picture_among_several_names_the_others(alexnet, finished, picture):
    Path("bad.png").write_bytes(b"no")
    found = alexnet("predict", finished, picture, "bad.png", picture)
    assert found.status == 1
    assert picture.name in found.out
    assert found.out.count("%") == 5
    assert found.err.splitlines()[-1].startswith("alexnet: ")
    assert "bad.png" in found.err

    found = alexnet("predict", finished, picture, "bad.png", "--json")
    assert found.status == 1
    assert list(json.loads(found.out)) == [str(picture)]


def test_a_folder_is_all_pictures_in_it_and_below(alexnet, finished, picture):
    inside = Path("in")
    for name in ("b/2.png", "1.png", "b/.hidden.png", "notes.txt", "3.png"):
        (inside / name).parent.mkdir(parents=True, exist_ok=True)
        (inside / name).write_bytes(picture.read_bytes())
    found = alexnet("predict", finished, inside, "--top", "1")
    assert found.status == 0, found.err
    names = [line for line in found.out.splitlines() if not line.startswith(" ")]
    assert names == [str(inside / name) for name in ("1.png", "3.png", "b/2.png")]

    (inside / "4.jpg").write_bytes(b"no")
    found = alexnet("predict", finished, inside, "--predictions", "said/table.csv")
    assert found.status == 1
    assert (found.out, found.err.count("4.jpg")) == ("", 1)
    assert found.err.splitlines()[-1] == f"wrote {Path('said/table.csv')}"
    one = json.loads(alexnet("predict", finished, picture, "--json").out)[str(picture)][0]
    with Path("said/table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == names
    assert {(row["predicted"], row["probability"]) for row in rows} == {
        (one["label"], f"{one['probability']:.6f}")
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("empty", "holds no pictures, nor does any"), ("x.png --predictions x.txt", "ends in .csv")],
)
def test_what_a_table_of_predictions_is_not_made_of(refused, finished, arguments, said):
    Path("empty/below").mkdir(parents=True)
    assert said in refused("predict", finished, *arguments.split(), status=2)


def test_fresh_weights_are_told_wherever_they_answer(alexnet, picture):
    for call in (
        ["predict", "alexnet-cifar", picture],
        ["export", "alexnet-cifar", "a.safetensors"],
    ):
        found = alexnet(*call)
        assert found.status == 0
        assert "alexnet-cifar: fresh weights, never trained" in found.err
    assert "fresh weights" in alexnet("predict", "a.safetensors", picture).err


def test_a_trained_model_is_told_nothing(alexnet, finished, picture):
    found = alexnet("predict", finished, picture)
    assert (found.status, found.err) == (0, "")


def test_a_folder_of_the_home_folder_is_found(alexnet, finished, picture, monkeypatch):
    monkeypatch.setenv("HOME", str(Path(finished).resolve().parent))
    monkeypatch.setenv("USERPROFILE", str(Path(finished).resolve().parent))
    assert alexnet("predict", f"~/{Path(finished).name}", picture).status == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("--top 0", "top must be at least 1"), ("--views fliip", "did you mean 'flip'?")],
)
def test_predict_with_a_wrong_option(refused, finished, picture, arguments, said):
    assert said in refused("predict", finished, picture, *arguments.split(), status=2)


# --- models ----------------------------------------------------------------------------------


def last(run: Path) -> Path:
    return run / "checkpoints" / (run / "LAST").read_text(encoding="utf-8").strip()


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_model_that_is_not_there(refused, picture):
    said = refused("predict", "runs/nowhere", picture, status=2)
    assert "unknown model" in said
    assert "'runs/nowhere'" in said


@pytest.mark.parametrize("command", ["predict", "eval", "resume", "show"])
def test_a_folder_without_a_run(refused, picture, command):
    Path("empty").mkdir()
    more = {"predict": [picture], "eval": ["shapes/test"]}.get(command, [])
    assert "empty holds no" in refused(command, "empty", *more, status=1)


@pytest.mark.parametrize("damage", [cut_in_half, flip_a_bit, Path.unlink])
@pytest.mark.parametrize(
    "file",
    ["weights.safetensors", "optimizer.safetensors", "state.json", "model.json", "manifest.json"],
)
def test_a_damaged_checkpoint(alexnet, unfinished, picture, damage, file):
    """Every checkpoint is damaged: nothing to fall back on. A manifest's bit may be in a sum.

    A prediction needs neither the update rule's memory nor the state, and reads neither.
    """
    for each in (unfinished / "checkpoints").iterdir():
        damage(each / file)
    for where in (unfinished, last(unfinished)):
        found = alexnet("predict", where, picture)
        assert "Traceback" not in found.err
        if file in ("optimizer.safetensors", "state.json"):
            assert found.status == 0, found.err
        elif (file, damage) != ("manifest.json", flip_a_bit):
            assert found.status != 0
            assert found.out == ""
            assert found.err.splitlines()[-1].startswith("alexnet: ")
    found = alexnet("resume", unfinished, "--device", "cpu")
    assert found.status == 1
    assert found.err.splitlines()[-1].startswith("alexnet: ")


def test_a_recipe_of_another_network_is_not_resumed(alexnet, unfinished):
    path = unfinished / "recipe.toml"
    text = path.read_text(encoding="utf-8").replace("alexnet-cifar-gelu", "keras-lab")
    path.write_text(text.replace("size = 32\n", "size = 67\n"), encoding="utf-8")
    before = everything(unfinished / "checkpoints")
    found = alexnet("resume", unfinished, "--device", "cpu")
    assert found.status == 1
    assert "holds network 'alexnet-cifar-gelu'" in found.err.splitlines()[-1]
    assert "asks for 'keras-lab'" in found.err.splitlines()[-1]
    assert everything(unfinished / "checkpoints") == before


def test_a_recipe_that_was_damaged_is_named(refused, unfinished):
    (unfinished / "recipe.toml").write_text("[optim\n")
    assert "recipe.toml is not valid TOML" in refused("resume", unfinished, status=2)


def test_a_data_set_with_other_classes(refused, finished, data_root, tmp_path):
    parts = open_dataset("shapes", root=data_root).parts
    names = tuple(f"class {n}" for n in range(10))
    write_cache(
        tmp_path / "other/cifar10/v1-32px", "cifar10", Contents(parts, names, {}, "made up")
    )
    said = refused("eval", finished, "cifar10/test", "--data", tmp_path / "other", status=2)
    assert "cifar10/test has the classes class 0, class 1" in said
    assert "knows circle" in said


@pytest.mark.parametrize(
    ("split", "said"),
    [("shapes/tset", "did you mean 'test'?"), ("shape/test", "did you mean 'shapes'?"), ("", "")],
)
def test_eval_of_what_is_not_there(refused, finished, split, said):
    assert said in refused("eval", finished, split, status=2)


def test_eval_by_statistics_taken_anew(alexnet, refused, finished):
    scored = ("eval", finished, "shapes/test", "--device", "cpu")
    own = alexnet(*scored, "--json").json
    anew = alexnet(*scored, "--precise-bn", "shapes/train[:60]", "--json").json
    assert anew["count"] == own["count"]
    assert anew["loss"] != own["loss"]
    assert anew["precise_bn"] == "shapes/train[:60]"
    text = alexnet(*scored, "--precise-bn", "shapes/train[:60]").out
    assert text.endswith("batch norm's statistics: anew, from shapes/train[:60]\n")
    assert alexnet(*scored, "--json").json == own
    said = refused(*scored, "--precise-bn", "shapes/test[:60]", status=2)
    assert "60 of the" in said
    assert "pictures to score are among those" in said


# --- no network, no data ---------------------------------------------------------------------


def test_no_network_and_no_data(alexnet, monkeypatch, tmp_path):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "nothing"))
    monkeypatch.setenv("PATH", str(tmp_path))  # no npm client
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # the port of nobody
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of its first use
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    found = alexnet("data", "cifar10")
    assert found.status == 1
    assert found.out == ""
    assert "Traceback" not in found.err
    message = found.err[found.err.index("alexnet: ") :]
    assert "cifar-10-binary.tar.gz" in message  # the way by hand: what to fetch,
    assert "alexnet data cifar10 --source" in message  # and how to hand it over
    assert "no npm client" in message


def test_data_kept_under_a_file(refused, tmp_path):
    (tmp_path / "file").write_text("")
    said = refused("data", "shapes", "--data", tmp_path / "file", status=1)
    assert "cannot be kept in" in said


def test_a_source_that_is_not_there(refused):
    said = refused("data", "cifar10", "--source", "nowhere.tar.gz", status=2)
    assert "nowhere.tar.gz" in said


# --- what works, as text and as JSON ---------------------------------------------------------


def test_help_and_version(alexnet):
    assert alexnet("--version").out == f"{__version__}\n"
    for arguments in ([], ["--help"], ["-h"]):
        found = alexnet(*arguments)
        assert found.status == 0
        assert "Usage: alexnet" in found.out
    for command in ("list", "show", "data", "train", "resume", "eval", "predict", "bench"):
        assert command in found.out
        assert f"Usage: alexnet {command}" in alexnet(command, "--help").out


@pytest.mark.parametrize("kind", ["models", "datasets", "recipes"])
def test_list(alexnet, kind):
    rows = alexnet("list", kind, "--json").json
    assert rows
    assert all(row.keys() == {"name", "about"} for row in rows)
    text = alexnet("list", kind).out
    assert all(row["name"] in text and row["about"] in text for row in rows)


def test_the_two_meanings_of_imagenet_are_told(alexnet):
    assert "mean the data set" in alexnet("list", "weights").out
    assert "mean weights" in alexnet("list", "datasets").out
    assert "alexnet predict imagenet" in alexnet("show", "imagenet").err


def test_the_help_of_bench_step_names_every_rule(alexnet):
    said = alexnet("bench", "step", "--help").out
    assert {rule for rule in UPDATES if not re.search(rf"\b{rule}\b[,.]", said)} == set()


def test_show_a_network_and_its_recipe(alexnet):
    card = alexnet("show", "keras-lab", "--json").json
    assert {"layers", "parameters", "multiply_adds", "smallest_size", "recipe"} <= card.keys()
    assert (card["parameters"], card["size"]) == (58_324_746, 227)
    assert card["recipe"]["optim"]["name"] == "keras-adam"
    text = alexnet("show", "keras-lab", "--sums").out
    assert "58,324,746" in text
    assert "(227-11+0)/4+1 = 55" in text
    assert alexnet("show", "keras-lab", "--size", "67", "--json").json["size"] == 67


def test_show_a_recipe_of_ones_own(alexnet):
    Path("mine.toml").write_text('name = "mine"\nsummary = "s"\n')
    assert alexnet("show", "mine.toml", "--json").json["recipe"]["name"] == "mine"
    keys = alexnet("show", "mine.toml").out.partition("\nmine: s\n\n")[2]
    assert recipe.parse(keys).name == "mine"


def test_a_recipe_of_ones_own_is_checked_before_it_is_shown(refused):
    Path("mine.toml").write_text('name = "mine"\nsummary = "s"\n[optim]\nlr = "much"\n')
    assert "mine.toml: optim.lr = 'much'" in refused("show", "mine.toml", status=2)


def test_show_a_data_set(alexnet):
    card = alexnet("show", "shapes", "--json").json
    assert {"name", "classes", "parts", "source", "fingerprint"} <= card.keys()
    assert card == alexnet("data", "shapes", "--json").json
    assert alexnet("show", "shapes").out == alexnet("data", "shapes").out != ""


def test_show_a_run(alexnet, finished, unfinished):
    card = alexnet("show", finished, "--json").json
    assert {"recipe", "seed", "command", "test", "speed", "environment", "history"} <= card.keys()
    assert len(card["history"]) == 1
    assert "50 test pictures" in alexnet("show", finished).out

    assert alexnet("show", unfinished, "--json").json["history"] == card["history"]
    text = alexnet("show", unfinished).out
    assert "is not finished; `alexnet resume" in text
    assert "val_loss" in text


def test_a_data_set_is_no_model_and_is_shown_as_what_it_is(alexnet, refused):
    pictures = np.zeros((4, 6, 6, 3), np.uint8), np.arange(4) % 2
    arrays.keep(Path("mine"), {"train": pictures}, ["cat", "dog"])
    assert "mine holds no model: expected the folder of a run" in refused("eval", "mine", status=1)
    assert alexnet("show", "mine").out == alexnet("data", "mine").out != ""
    Path("photographs").mkdir()
    for verb in ("eval", "show"):
        assert "said by `alexnet data photographs`" in refused(verb, "photographs", status=1)


def test_a_folder_beside_does_not_hide_what_is_built_in(alexnet):
    Path("keras-lab").mkdir()
    Path("shapes").mkdir()
    assert "58,324,746" in alexnet("show", "keras-lab").out
    assert "square" in alexnet("show", "shapes").out


def test_train_resume_eval_predict(alexnet, picture):
    """The whole story on the command line, with a folder and a picture named in Hangul."""
    out = Path("실험 1")
    trained = alexnet(*train_arguments(out), "--json").json
    assert {"recipe", "command", "seed", "test", "speed", "environment"} <= trained.keys()
    assert trained["command"].startswith("alexnet train cifar10-quick --out '실험 1'")
    assert trained == json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert alexnet("resume", out, "--json", "--quiet").json == trained

    scores = alexnet("eval", out, "shapes/test[:50]", "--device", "cpu", "--json").json
    assert scores["count"] == 50
    assert {
        "loss",
        "accuracy",
        "top",
        "per_class",
        "confusion",
        "interval",
        "views",
    } <= scores.keys()
    assert scores["precision"] == "float32"
    found = alexnet("eval", out, "shapes/test", "--device", "cpu", "--picture", "혼동.png")
    assert found.status == 0
    assert "top-1" in found.out
    assert ", float32: " in found.out.splitlines()[0]
    with Image.open("혼동.png") as drawn:
        drawn.load()

    ranked = alexnet("predict", out, picture, "--top", "3", "--json").json[str(picture)]
    assert len(ranked) == 3
    assert all(each.keys() == {"label", "probability"} for each in ranked)
    text = alexnet("predict", out, picture, "--top", "3").out
    assert picture.name in text
    assert all(each["label"] in text for each in ranked)


def test_scores_are_valid_json_where_a_class_has_no_pictures(alexnet, finished):
    found = alexnet("eval", finished, "shapes/test[:2]", "--device", "cpu", "--json").json
    assert None in found["per_class"]


def test_quiet_says_nothing_but_the_result(alexnet):
    found = alexnet(*train_arguments("a"), "--quiet")
    assert (found.status, found.err) == (0, "")
    assert "50 test pictures" in found.out


def test_bench(alexnet):
    how = ("--network", "alexnet-cifar", "--batch", "2", "--rounds", "1", "--device", "cpu")
    found = alexnet("bench", "step", *how, "--json").json
    assert {"network", "batch", "precision", "images_per_second", "share"} <= found.keys()
    assert "matrix rate" in alexnet("bench", *how).out
    explained = alexnet("bench", *how, "--parts", "--predict").out
    assert "kept for backward" in explained
    assert "step, at best" in explained


def test_a_record_of_a_step_keeps_where_its_time_went(alexnet):
    how = ("--network", "alexnet-cifar", "--batch", "2", "--rounds", "1", "--device", "cpu")
    said = alexnet("bench", "step", *how, "--parts", "--record", "step.json")
    assert "kept for backward" in said.out
    assert "matrix rate" in said.out
    kept = json.loads(Path("step.json").read_text(encoding="utf-8"))
    assert {"conv1", "loss", "update"} <= {
        part["name"] for part in kept["details"]["parts"]["parts"]
    }
    assert kept["rows"][0]["beside"] == "the matrix rate"


def test_a_step_is_predicted_for_hardware_that_is_not_here(alexnet):
    rates = ("--matrix-rate", "2.15e12", "--memory-rate", "25e9")
    found = alexnet("bench", "--precision", "bf16", "--predict", *rates).out
    assert "step, at best" in found
    assert "579.6 ms, 220.8 images/s, share 0.70" in found
    one = alexnet("bench", "--predict", "--matrix-rate", "1e12")
    assert (one.status, one.err.count("belong together")) == (2, 1)


def test_results(alexnet, finished):
    Path("results").mkdir()
    shutil.copy(finished / "result.json", "results/a.json")
    assert alexnet("results", "--json").json.keys() == {"runs", "unfinished", "views", "claims"}
    assert "keras-lab: not run yet" in alexnet("results").out
    assert alexnet("results", "--markdown").out.startswith("|")


def test_a_remark_on_a_run_that_goes_on_is_in_its_record(alexnet, unfinished):
    assert alexnet("note", unfinished, "trained beside another").status == 0
    result = alexnet("resume", unfinished, "--json", "--quiet").json
    assert result["note"] == "trained beside another"
    assert "  note: trained beside another\n" in alexnet("show", unfinished).out
    assert alexnet("record", unfinished, "results/a.json").status == 0
    assert json.loads(Path("results/a.json").read_text(encoding="utf-8")) == result
    assert "[1] Trained beside another." in alexnet("results").out
    assert alexnet("note", unfinished, "").status == 0
    assert "note:" not in alexnet("show", unfinished).out
    assert alexnet("note", "results/a.json", "").status == 0
    assert alexnet("results", "--json").json["runs"][0]["note"] == ""


def test_a_run_that_did_not_end_is_recorded_as_what_it_is(alexnet, unfinished, finished):
    assert alexnet("record", finished, "results/a.json").status == 0
    why = ("--why", "the machine was wanted back")
    assert alexnet("record", unfinished, "results/unfinished/b.json", *why).status == 0
    kept = json.loads(Path("results/unfinished/b.json").read_text(encoding="utf-8"))
    begun = json.loads((unfinished / "environment.json").read_text(encoding="utf-8"))
    assert kept["stopped"] == {"epoch": 1, "epochs": 1, "step": 2, "steps": 2, "why": why[1]}
    assert kept["commit"] == begun["commit"]
    assert (
        kept["environment"].keys()
        == json.loads(Path("results/a.json").read_text(encoding="utf-8"))["environment"].keys()
    )
    (row,) = alexnet("results", "--json").json["unfinished"]
    assert (row["epochs"], row["why"]) == ("1 of 1", why[1])


def test_report(alexnet, finished):
    found = alexnet("report", str(finished), "--out", "r.html", "--author", "김하늘", "--pictures", "0", "--device", "cpu")  # fmt: skip
    assert (found.status, found.out) == (0, "")
    assert "wrote r.html" in found.err
    text = Path("r.html").read_text(encoding="utf-8")
    assert "김하늘" in text
    assert "alexnet report" in text  # the command that wrote it
    assert alexnet("report", "nowhere").status == 1


# --- streams and signals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments", [["show", "keras-lab"], ["train", "--help"], ["list", "models", "--json"]]
)
def test_a_reader_that_has_gone(arguments):
    """As ``alexnet show keras-lab | head -0``."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [sys.executable, "-m", "alexnet", *arguments], stdout=pipe, stderr=subprocess.PIPE
        )
    assert done.stderr == b""
    assert done.returncode in (1, terminal.NOT_READ)


def test_a_terminal_that_cannot_write_hangul(picture, finished):
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = in_a_process("predict", finished, picture, "missing-고양이.png", env=plain)
    assert done.returncode == 1
    assert done.stdout.count("%") == 5
    assert done.stderr.startswith("alexnet: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("encoding", "escaped"), [("utf-8", False), ("cp1252", True)])
def test_json_keeps_names_in_any_encoding(monkeypatch, encoding, escaped):
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, errors="replace")
    monkeypatch.setattr(sys, "stdout", stream)
    terminal.write({"class": "고양이"})
    text = written.getvalue().decode(encoding)
    assert json.loads(text) == {"class": "고양이"}
    assert text.isascii() is escaped


def test_a_wrong_call_in_a_process_of_its_own(tmp_path):
    done = in_a_process("train", "cifar10-quik", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("alexnet: unknown recipe 'cifar10-quik'")
    assert list(tmp_path.iterdir()) == []


def test_stopped_by_hand(alexnet, monkeypatch):
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("alexnet.reporting.listing.listing", stop)
    found = alexnet("list", "models")
    assert found.status == 130
    assert "alexnet: stopped at once" in found.err


def test_a_disk_that_fails_is_no_traceback(alexnet, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/somewhere/file")

    monkeypatch.setattr("alexnet.reporting.listing.listing", fail)
    found = alexnet("list", "models")
    assert found.status == 1
    assert found.err.strip() == (
        "alexnet: cannot read or write /somewhere/file: No space left on device"
    )


def test_a_fault_of_ours_is_not_hidden(alexnet, monkeypatch):
    """Only what is raised on purpose becomes a line; anything else keeps its traceback."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("alexnet.reporting.listing.listing", fail)
    monkeypatch.setattr(sys, "argv", ["alexnet", "list", "models"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_random_words_are_never_a_traceback(alexnet):
    words = [
        "--",
        "-",
        "",
        "--json",
        "show",
        "keras-lab",
        "--set",
        "a=b",
        "predict",
        "\udcff",
        "고양이",
    ]
    draw = np.random.default_rng(0)
    for _ in range(60):
        chosen = [words[i] for i in draw.integers(len(words), size=int(draw.integers(1, 5)))]
        found = alexnet(*chosen)
        assert found.status in (0, 1, 2), chosen
        assert "Traceback" not in found.err


def test_a_damaged_result_is_named(refused, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "result.json").write_text('{"test": ', encoding="utf-8")
    assert "result.json is missing or damaged" in refused("show", run, status=1)
