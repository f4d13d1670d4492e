"""Models as files for programs without this package: the same answers, from what the file says alone."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alexnet
from alexnet.data.preprocess import Preprocessing
from alexnet.errors import CheckpointError, DataError, UnknownName, UsageError
from alexnet.exchange import export as exporting
from alexnet.exchange import files, portable
from alexnet.models import transfer, zoo
from alexnet.models.build import build
from alexnet.reporting import usage
from alexnet.run import classifier, views
from alexnet.run.classifier import Classifier
from alexnet.run.device import Device
from alexnet.run.views import log_probabilities

CPU = Device(torch.device("cpu"), "float32")
CLASSES = ("고양이", "개", "새")


def made(
    name: str = "alexnet-cifar", how: Preprocessing | None = None, views: str = "flip"
) -> Classifier:
    """Return a network of three classes whose weights and norms are drawn, as a checkpoint gives it."""
    how = how or Preprocessing(40, 32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), fit="crop")
    module = build(zoo.network(name, classes=3), how.size, seed=3)
    dice = torch.Generator().manual_seed(1)
    for key, tensor in module.state_dict().items():
        if key.endswith(("running_mean", "bias")):
            tensor.copy_(torch.randn(tensor.shape, generator=dice) / 5)
    sharpen(module, how)
    described = classifier.card(name, CLASSES, how, views, "last", "photographs/")
    path = Path("runs/a/checkpoints/step-1")
    saved = classifier.checkpoint.Checkpoint(
        path, module.state_dict(), {}, {}, described, how.tensors()
    )
    return classifier.restore(saved)


@torch.inference_mode()
def sharpen(module: torch.nn.Module, how: Preprocessing) -> None:
    """Scale the last layer so that pictures of different colours are told apart."""
    seen = how(coloured(how.picture_size))
    spread = module.eval()(seen).std(0).max()
    last = [*module.children()][-1]
    last.weight.mul_(2 / spread)
    last.bias.sub_(module(seen).mean(0))


def coloured(side: int) -> torch.Tensor:
    """Return three pictures, a colour each, with noise: uint8 ``(3, side, side, 3)``."""
    noise = torch.randint(0, 56, (3, side, side, 3), generator=torch.Generator().manual_seed(2))
    colours = torch.tensor([[200, 0, 0], [0, 200, 100], [100, 100, 200]])
    return (noise + colours[:, None, None]).to(torch.uint8)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return made()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a photograph on its side: EXIF says how to turn it."""
    pixels = np.random.default_rng(0).integers(0, 256, (90, 131, 3), dtype=np.uint8)
    pixels[:30, :50] = (240, 10, 10)
    picture = Image.fromarray(pixels)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "cat.jpg", exif=exif)
    return tmp_path


def run_alone(program: str, folder: Path) -> tuple[str, float]:
    """Run a program in a process of its own, in a folder; return the class and the probability it prints."""
    head = "import sys; sys.modules['alexnet'] = None\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-X", "utf8", "-c", head + program],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    return label, float(probability)


def see_through(path: Path) -> None:
    """Let a picture be a PNG that can be looked through at its right end."""
    with Image.open(path) as picture:
        clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").rotate(90).resize(clear.size))
    clear.save(path, format="PNG")


def kinds() -> Iterator[object]:
    yield ".pt2"
    missing = [n for n in ("onnx", "onnxscript", "onnxruntime") if not importlib.util.find_spec(n)]
    why = f"the extra onnx is not installed: {', '.join(missing)}"
    yield pytest.param(".onnx", marks=pytest.mark.skipif(bool(missing), reason=why))


@pytest.mark.parametrize("fit", ["crop", "stretch"])
@pytest.mark.parametrize("kind", list(kinds()))
def test_the_printed_program_says_what_predict_says(kind, fit, folder):
    how = Preprocessing(40, 32, std=(0.2,) * 3, fit="crop", square_fit=fit)
    if fit == "stretch":
        how = replace(how, fit="resize", resize="uint8")
        see_through(folder / "cat.jpg")
    model = made(how=how)
    found = alexnet.export(model, folder / f"model{kind}")
    assert found.difference is not None
    assert found.difference < 1e-4
    said = usage.text(found)
    assert "uint8 (N, 40, 40, 3), RGB" in said
    best = alexnet.predict(model, folder / "cat.jpg")[0]
    label, probability = run_alone(usage.program(found), folder)
    assert label == best.label
    assert probability == pytest.approx(best.probability, abs=1e-4)
    assert [path.name for path in folder.glob("*model*")] == [f"model{kind}"], "nothing beside it"


def test_a_program_takes_any_number_of_pictures(model, folder):
    alexnet.export(model, folder / "model.pt2", views="centre")
    program = torch.export.load(folder / "model.pt2").module()
    for count in (1, 7):
        pictures = torch.randint(0, 256, (count, 40, 40, 3), dtype=torch.uint8)
        expected = log_probabilities(model.module, pictures, model.preprocessing, CPU).exp()
        torch.testing.assert_close(program(pictures), expected, atol=1e-4, rtol=1e-3)


HOW = {
    "centre": Preprocessing(32, 32),
    "flip": Preprocessing(32, 32, scale="0..255", mean=(120.0, 110.0, 100.0)),
    "shift": Preprocessing(32, 32, std=(0.25, 0.2, 0.3)),
    "ten": Preprocessing(40, 32, mean_picture=torch.rand(40, 40, 3) * 255, fit="crop"),
    "scales": Preprocessing(48, 40, resize="uint8"),
}


@pytest.mark.parametrize("seen", views.VIEWS)
def test_a_program_is_the_mean_over_the_views(seen):
    model = made("alexnet-bn" if seen == "scales" else "alexnet-cifar", HOW[seen], seen)
    pictures = coloured(model.preprocessing.picture_size)
    expected = log_probabilities(model.module, pictures, model.preprocessing, CPU, views=seen).exp()
    with torch.inference_mode():
        found = exporting.Program(model)(pictures)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
    assert found.std(0).max() > 1e-2, "the pictures are told apart"


def test_what_a_file_says_of_itself(model):
    about = exporting.about(model)
    assert json.loads(about["classes"]) == list(CLASSES)
    assert (about["picture_size"], about["fit"], about["views"]) == ("40", "crop", "flip")


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seen", ["shift", "ten"])
def test_weights_are_the_model_again(seen, folder):
    model = made(how=HOW[seen], views=seen)
    (folder / "plain").touch()
    found = alexnet.export(model, folder / "model.safetensors")
    assert found.path.stat().st_mode == (folder / "plain").stat().st_mode
    again = alexnet.load(folder / "model.safetensors")
    assert (again.classes, again.views) == (CLASSES, seen)
    assert b"photographs/" not in found.path.read_bytes(), "the path is nobody's business"
    assert again.trained
    expected = alexnet.predict(model, folder / "cat.jpg")
    found_again = alexnet.predict(again, folder / "cat.jpg")
    assert [r.label for r in found_again] == [r.label for r in expected]
    shares = [pytest.approx(r.probability, rel=1e-4) for r in expected]
    assert [r.probability for r in found_again] == shares
    told = {}
    exec(usage.program(found).replace("cat.jpg", str(folder / "cat.jpg")), told)


def test_weights_of_torchvisions_network_load_there(theirs, folder):
    how = Preprocessing(256, 224, fit="crop")
    model = made("owt", how, "centre")
    found = alexnet.export(model, folder / "model.safetensors")
    assert "torchvision.models.alexnet(num_classes=3)" in usage.program(found)
    other = type(theirs)(classes=3).eval()
    from safetensors.torch import load_file

    other.load_state_dict(load_file(found.path), strict=True)
    x = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(other(x), model.module(x), atol=1e-4, rtol=1e-3)
    assert alexnet.load(found.path).classes == CLASSES


@pytest.mark.parametrize("own", [{"head": (8,)}, {"pool": 3}])
def test_torchvisions_with_a_head_of_ones_own_is_not_said_to_load_there(folder, own):
    how = Preprocessing(256, 224, fit="crop")
    network = transfer.adapted(zoo.network("owt", classes=3), **own)
    model = made("owt", how, "centre")
    changed = replace(model, module=build(network, 224), described={**model.described, **own})
    found = alexnet.export(changed, folder / "model.safetensors")
    assert "import torchvision" not in usage.program(found)
    assert alexnet.load(found.path).classes == CLASSES


def test_other_networks_keep_the_names_of_their_rows(folder):
    """The 2012 network's rows are called as torchvision's are; it is another network all the same."""
    model = made("alexnet-2012", Preprocessing(224, 224), "centre")
    assert portable._named(model).keys() == model.module.state_dict().keys()


def test_a_data_set_known_by_name_is_named(folder):
    model = made()
    told = replace(model, described={**model.described, "data": "cifar10"})
    portable.write(told, folder / "model.safetensors")
    assert alexnet.load(folder / "model.safetensors").data == "cifar10"


def test_fresh_weights_stay_fresh(folder):
    alexnet.export("alexnet-cifar", folder / "model.safetensors")
    assert not alexnet.load(folder / "model.safetensors").trained


def test_a_flipped_bit_is_noticed(model, folder):
    path = alexnet.export(model, folder / "model.safetensors").path
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="sha256"):
        alexnet.load(path)
    with pytest.raises(DataError, match="sha256"):
        files.read(path)


def test_a_card_of_another_network_is_refused(model, folder):
    path = folder / "model.safetensors"
    portable.write(replace(model, described={**model.described, "network": "keras-lab"}), path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        alexnet.load(path)
    portable.write(replace(model, described={"network": "alexnet-cifar", "data": ""}), path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors does not fit"):
        alexnet.load(path)


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "model.tflite", "model.pth"])
def test_another_ending_is_refused(model, name, folder):
    with pytest.raises(UsageError, match=r"end in one of \.onnx, \.pt2, \.safetensors"):
        alexnet.export(model, folder / name)
    assert not (folder / name).exists()


def test_a_missing_library_is_named(model, folder, monkeypatch):
    monkeypatch.setattr(exporting.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="onnx and onnxscript not installed"):
        alexnet.export(model, folder / "model.onnx")


def test_views_that_do_not_fit_are_refused(model, folder):
    with pytest.raises(UnknownName, match="views"):
        alexnet.export(model, folder / "model.safetensors", views="six")
    with pytest.raises(UsageError, match="dense layers"):
        alexnet.export(model, folder / "model.safetensors", views="scales")
    assert list(folder.glob("model*")) == []


@pytest.mark.parametrize("value", [0.4, float("nan")])
def test_a_program_with_other_answers_is_not_kept(model, value, folder, monkeypatch):
    path = folder / "model.pt2"
    path.write_text("an earlier one")
    ours, pictures = exporting._answers(model)
    monkeypatch.setattr(exporting, "_answers", lambda model: (ours + value, pictures))
    with pytest.raises(DataError, match="differ"):
        alexnet.export(model, path)
    assert path.read_text() == "an earlier one"
    assert len(list(folder.iterdir())) == 2


def test_what_torch_cannot_export_is_told_in_a_line(model, folder, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("enforce fail at inline_container.cc: unexpected pos\nand a trace")

    monkeypatch.setattr(torch.export, "save", fail)
    with pytest.raises(
        DataError, match=r"model\.pt2: cannot be written: enforce fail .* pos; where"
    ):
        alexnet.export(model, folder / "model.pt2")


def test_what_onnx_runtime_cannot_run_is_told_in_a_line(folder):
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed: onnxruntime")
    (folder / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(DataError, match="ONNX Runtime cannot run the exported network"):
        exporting._by_onnxruntime(folder / "model.onnx", torch.zeros(1))


def test_a_place_that_cannot_be_written_is_named(model, folder):
    (folder / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        alexnet.export(model, folder / "file" / "model.safetensors")
