"""The suites: each figure follows from what was done, and what is not here is a row that says so."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import alexnet
from alexnet import cli
from alexnet import recipe as recipes
from alexnet.benchmark import accuracy, every, forms, inference, input, start
from alexnet.errors import AlexNetError, Interrupted, UsageError
from alexnet.exchange.export import write_onnx
from alexnet.options import seeds_of
from alexnet.run import checkpoint
from alexnet.run.classifier import fresh
from alexnet.run.device import Device, environment

CPU = Device(torch.device("cpu"), "float32")
TINY = {
    "model.network": "alexnet-cifar",
    "data.name": "shapes",
    "data.train": "train[:100]",
    "data.validation": "train[100:150]",
    "data.test": "test[:50]",
    "train.batch": 25,
    "train.epochs": "1 epochs",
    "train.precision": "float32",
}
pytestmark = pytest.mark.usefixtures("denormals")


@pytest.fixture
def tiny():
    return recipes.override(recipes.load("cifar10-quick"), TINY)


# --- accuracy --------------------------------------------------------------------------------


def test_an_accuracy_is_that_of_the_same_run_and_its_cost_is_told(tiny, data_root, tmp_path):
    ((warm_up, runs),) = accuracy.accuracy_runs(tiny, [3], CPU, root=data_root)
    plan = recipes.override(tiny, {"train.seed": 3})
    alone = alexnet.train(plan, tmp_path / "a", device="cpu", data_root=data_root).record
    assert [r.seed for r in runs] == [3]
    assert runs[0].accuracy == alone["test"]["accuracy"]
    assert runs[0].training_multiply_adds == alone["speed"]["training_multiply_adds"]
    assert warm_up > 0 < runs[0].other_seconds


def test_a_seed_that_ended_is_kept_though_the_next_one_is_stopped(
    tiny, data_root, tmp_path, monkeypatch
):
    """A lease that ends takes the last seed with it, not those before."""
    whole, begun = accuracy._run, []

    def stopped(recipe, seed, *others):
        begun.append(seed)  # the warm-up's too
        if len(begun) > 2:
            raise Interrupted("SIGTERM: saved. Go on with\n  alexnet resume /gone", 143)
        return whole(recipe, seed, *others)

    monkeypatch.setattr(accuracy, "_run", stopped)
    plan, record = tmp_path / "tiny.toml", tmp_path / "kept.json"
    plan.write_text(recipes.to_toml(tiny))
    asked = ["bench", "accuracy", str(plan), "--seeds", "4..6", "--record", str(record)]
    monkeypatch.setattr(sys, "argv", ["alexnet", *asked, "--data", str(data_root)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 143
    kept = json.loads(record.read_text())
    assert [run["seed"] for run in kept["details"]["runs"]] == kept["settings"]["seeds"] == [4]
    assert kept["rows"][0]["measured"]["n"] == 1


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_what_was_stopped_says_which_seeds_are_left(tiny, monkeypatch, unit):
    """Not where the run was saved: its folder is gone. The warm-up is of steps."""

    def stopped(recipe, seed, *others):
        if recipe.train.epochs.unit == unit:
            raise Interrupted("SIGTERM: saved. Go on with\n  alexnet resume /gone", 143)

    monkeypatch.setattr(accuracy, "_run", stopped)
    with pytest.raises(Interrupted) as caught:
        next(accuracy.accuracy_runs(tiny, [4, 5], CPU))
    expected = "stopped in seed 4; finished: none. Measure the others by --seeds 4,5"
    assert str(caught.value) == f"{expected}, and with --resume into the same --record"


def test_further_seeds_are_added_to_a_record(tiny, tmp_path, monkeypatch, data_root):
    """As if one process had trained them all, but for its times and its commit."""
    plan, kept = tmp_path / "tiny.toml", tmp_path / "kept.json"
    plan.write_text(recipes.to_toml(tiny))

    def bench(*asked):
        line = ["alexnet", "bench", "accuracy", str(plan), "--data", str(data_root), *asked]
        monkeypatch.setattr(sys, "argv", line)
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code

    def seeds():
        found = json.loads(kept.read_text())
        assert found["rows"][0]["measured"]["n"] == len(found["settings"]["seeds"])
        assert all(run["commit"] for run in found["details"]["runs"])
        return {run["seed"]: run["accuracy"] for run in found["details"]["runs"]}

    into = ("--record", str(kept), "--resume")
    assert bench("--seeds", "4", *into) == 0  # nothing to add to yet
    assert bench("--seeds", "3,4", *into) == 0
    added = seeds()
    assert list(added) == [4, 3]
    assert bench("--seeds", "4", *into) == 2  # there already
    assert bench("--seeds", "7", "--resume") == 2  # into what?
    assert seeds() == added
    assert bench("--seeds", "3,4", "--record", str(kept)) == 0  # without it: from the first seed
    assert seeds() == {3: added[3], 4: added[4]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda r: r["details"]["recipe"].update({"optim.lr": 9.0}),
            r"optim.lr = 9.0, and here it",
        ),
        (lambda r: r["details"]["recipe"].update({"gone.key": 1}), r"gone.key = 1, .* None"),
        (lambda r: r["environment"].update(hardware="a GPU"), "hardware = 'a GPU'"),
        (lambda r: r["environment"].update(precision="tf32"), "precision = 'tf32'"),
        (lambda r: r["environment"]["packages"].update(torch="1.0"), "torch = '1.0'"),
        (lambda r: r["details"].pop("recipe"), "holds no seeds to add to"),
        (lambda r: r["details"]["runs"][0].pop("accuracy"), "holds no seeds to add to"),
    ],
)
def test_seeds_of_something_else_are_not_added_to(tiny, tmp_path, change, said):
    runs = [asdict(made(0, 0.93, 10.0))]
    kept = {
        "commit": "abc",
        "environment": environment(CPU),
        "details": {"recipe": recipes.settled(tiny), "runs": runs},
    }
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(kept))
    (held,) = accuracy.runs_in(path, tiny, CPU)
    assert held == made(0, 0.93, 10.0)
    change(kept)
    path.write_text(json.dumps(kept))
    with pytest.raises(UsageError, match=said):
        accuracy.runs_in(path, tiny, CPU)


def made(seed, accuracy_, seconds):
    return accuracy.Run(seed, accuracy_, seconds, 1.0, 2 * 10**12, 0.5, 0.0, 2**30)


def test_a_target_is_met_by_the_mean_of_the_seeds():
    runs = [made(0, 0.93, 10.0), made(1, 0.95, 12.0)]
    for target, verdict in ((0.94, "meets"), (0.945, "misses")):
        reached, cost, *_ = accuracy.accuracy_rows("r", runs, 3.0, target, CPU)
        assert verdict in reached.note
        assert reached.ratio == pytest.approx(0.94 / target)
    assert (cost.measured.mean, cost.measured.deviation) == pytest.approx((11.0, 2**0.5))
    assert cost.more["T multiply-adds"] == 2.0
    assert cost.ratio == 0.5


@pytest.mark.parametrize(
    ("text", "seeds"), [("0..4", [0, 1, 2, 3, 4]), ("3", [3]), ("0, 3,7", [0, 3, 7])]
)
def test_seeds(text, seeds):
    assert seeds_of(text) == seeds


@pytest.mark.parametrize("text", ["", "4..0", "1,1", "a", "-1", "0..", "1,,2"])
def test_seeds_that_are_none(text):
    with pytest.raises(UsageError, match=r"0\.\.4"):
        seeds_of(text)


# --- input -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_disk")
def test_everything_before_a_step_stands_beside_a_peer(tiny, data_root):
    rows = input.input_rows(tiny, CPU, pictures=4, rounds=2, steps=2, root=data_root)
    fitted, decoded = "Pillow alone: decode, resize, crop", "Pillow alone: decode"
    *intake, reading, augmenting, waiting = (row.beside for row in rows)
    assert intake == [fitted, fitted, decoded, "", "taking 4 photographs in"]
    assert reading.startswith("the disk at random, ")
    assert (augmenting, waiting) == ("preprocessing alone", "the training")
    assert [row.what for row in rows if row.ratio is None] == [decoded]
    assert [row.measured.n for row in rows] == [5, 5, 5, 5, 5, 3, 2, 1]
    assert rows[0].more["ratio to decode alone"] > 0
    assert rows[1].measured.median < rows[0].measured.median, "the start is in the second"
    assert 0 <= rows[-1].ratio <= 1


def test_a_disk_that_cannot_be_measured_is_a_row_that_says_so(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    row = input.cache(tmp_path, 4)
    assert row.measured is None
    assert "cannot drop a file" in row.note


@pytest.mark.parametrize("changes", [{"pictures": 0}, {"rounds": 0}, {"steps": 0}])
def test_input_of_nothing_is_refused(tiny, changes):
    with pytest.raises(UsageError, match="at least 1"):
        input.input_rows(tiny, CPU, **changes)


# --- inference -------------------------------------------------------------------------------


@pytest.fixture
def without_compiler(monkeypatch):
    monkeypatch.setattr(forms, "_compiler", lambda: None)  # it would take a minute


def test_what_is_not_installed_is_a_row_that_says_what_to_install(monkeypatch, without_compiler):
    monkeypatch.setattr(forms, "_missing", lambda *packages: list(packages))
    rows = inference.inference_rows(fresh("alexnet-cifar"), CPU, sizes=(1, 3), rounds=2)
    names = [row.what for row in rows]
    assert names[0] == "float32 eager, batch 1"
    assert names[-1] == "float32 eager, again, batch 3"
    absent = {row.what: row.note for row in rows if row.measured is None}
    for form in ("ONNX Runtime", "OpenVINO"):
        assert 'pip install -e ".[bench]"' in absent[f"{form}, batch 1"]
    assert "C++ compiler" in absent["float32 compiled, batch 3"]
    assert all(row.beside == f"float32 eager, batch {row.what[-1]}" for row in rows)


def test_the_same_form_gives_the_same_answers(monkeypatch, without_compiler):
    monkeypatch.setattr(forms, "_missing", lambda *packages: list(packages))
    rows = inference.inference_rows(fresh("alexnet-cifar"), CPU, sizes=(2,), rounds=3)
    first, again = rows[0], rows[-1]
    assert first.ratio == 1
    assert again.more["largest difference"] == 0
    assert again.more["same top-1"] == "100.0%"
    assert first.measured.n == 3
    assert first.measured.median == pytest.approx(2e3 / first.more["latency, ms"])


def test_answers_are_compared(monkeypatch):
    p, q = torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    one, other = inference.Timed((1.0,), p), inference.Timed((0.5,), q)
    peer, row = (inference._row(n, 2, t, 0.0) for n, t in (("a", one), ("b", other)))
    found = inference._compared(row, other, peer, one)
    assert found.more["largest difference"] == 0.5
    assert found.more["same top-1"] == "50.0%"
    assert found.ratio == 2.0


def test_a_form_that_fails_is_a_row_too(monkeypatch):
    def broken(x):
        raise RuntimeError("no\nmore")

    made = [forms.Form("float32 eager", lambda x: x), forms.Form("b", broken, (RuntimeError,))]
    rows = inference._at(2, made, torch.rand(2, 3), rounds=1)
    assert rows[1].measured is None
    assert rows[1].note == "b cannot run this network here: no"


@pytest.mark.parametrize("how", [{"sizes": ()}, {"sizes": (0,)}, {"rounds": 0}])
def test_inference_of_nothing_is_refused(how):
    with pytest.raises(UsageError, match="at least 1"):
        inference.inference_rows(fresh("alexnet-cifar"), CPU, **how)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.95, 4), (0.25, 1), (0.26, 2)])
def test_percentile(share, value):
    assert inference.percentile([3, 1, 4, 2], share) == value
    assert np.percentile([1, 2, 3, 4], 100 * share, method="inverted_cdf") == value


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_an_exported_network_gives_the_same_answers(package, tmp_path):
    for name in ("onnx", "onnxscript", package):
        pytest.importorskip(name, reason=f"the extra bench is not installed: {name}")
    module, path = fresh("alexnet-cifar").module, tmp_path / "n.onnx"
    write_onnx(module, torch.zeros(2, 3, 32, 32), path, output="logits")
    run = getattr(forms, f"_{package}")(path)
    for count in (1, 5):
        x = torch.rand(count, 3, 32, 32).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            torch.testing.assert_close(run(x), module(x), atol=1e-5, rtol=1e-4)


# --- start -----------------------------------------------------------------------------------


def test_a_process_is_timed_by_what_it_computes():
    idle = start.run_fresh([sys.executable, "-c", "import time; time.sleep(0.3)"])
    busy = start.run_fresh([sys.executable, "-c", "sum(range(10**7))"])
    assert idle.wall > 0.3
    assert 0 < idle.processor < busy.processor


def test_a_process_keeps_its_bytecode_whatever_this_one_does(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    start.run_fresh([sys.executable, "-c", "import sys; sys.exit(sys.dont_write_bytecode)"])


def test_a_process_that_fails_is_told_by_its_last_line():
    with pytest.raises(AlexNetError, match="status 1: ValueError: wrong"):
        start.run_fresh([sys.executable, "-c", "raise ValueError('wrong')"])


def test_the_made_up_run_predicts(monkeypatch):
    calls = []

    def fake(call):
        calls.append(call)
        if "predict" in call:
            run, picture = call[-2:]
            assert len(alexnet.predict(run, picture, top=3)) == 3
        return start.Spent(0.1, 0.5)

    monkeypatch.setattr(start, "run_fresh", fake)
    rows = {row.what: row for row in start.start_rows("alexnet-cifar", n=2)}
    assert len(calls) == 3 * len(rows)
    assert rows["alexnet --help"].ratio == pytest.approx(0.5)  # of 0.2 s
    assert rows["alexnet predict, alexnet-cifar"].beside == start.FLOOR
    assert rows["alexnet predict, alexnet-cifar"].measured.n == 2


def test_no_process_at_all_is_refused():
    with pytest.raises(UsageError, match="n must be at least 1"):
        start.start_rows("alexnet-cifar", n=0)


# --- a prediction reads what it needs --------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    with start._made_up_run("alexnet-cifar") as (folder, _, _):
        yield Path(shutil.copytree(folder, tmp_path / "run"))


def test_a_prediction_needs_no_optimizer_but_a_resume_does(run):
    (run / "checkpoints" / "step-00000001" / checkpoint.OPTIMIZER).write_bytes(b"damaged")
    assert alexnet.load(run).origin
    with pytest.raises(checkpoint.CheckpointError, match=r"optimizer\.safetensors is damaged"):
        checkpoint.newest(run, lambda _: None)


def test_weights_are_those_of_the_file_and_a_change_of_them_stays_in_memory(run):
    path = run / "checkpoints" / "step-00000001" / checkpoint.WEIGHTS
    before, module = path.read_bytes(), alexnet.load(run).module
    kept = checkpoint.load(path.parent).weights
    assert {n: t.device.type for n, t in module.state_dict().items()} == dict.fromkeys(kept, "cpu")
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, kept[name])
    with torch.no_grad():
        module.get_parameter("fc8.weight").zero_()
    assert path.read_bytes() == before
    assert not module.get_parameter("conv1.weight").requires_grad  # whitening: as it was built
    assert module.get_parameter("fc8.weight").requires_grad


def test_a_prediction_loads_neither_the_compiler_nor_what_draws():
    code = (
        "import sys, alexnet.prediction, alexnet.run.classifier, alexnet.reporting.scores\n"
        "heavy = ('torch._dynamo', 'sympy', 'matplotlib', 'pydantic', 'sklearn', 'rich')\n"
        "print(*[m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


# --- all of them -----------------------------------------------------------------------------


def test_every_suite_is_called_and_a_failure_is_named(monkeypatch, tmp_path):
    asked = []

    class Done:
        def __init__(self, call):
            asked.append(call)
            self.returncode = int("input" in call)

    monkeypatch.setattr(every.subprocess, "run", lambda call, check: Done(call))
    calls = every.suites("keras-lab", "cifar10-quick", 0.9, "0..2", None, "cpu", Path("benchmarks"))
    said = []
    assert every.run_each(calls, said.append) == ["input-cifar10-quick"]
    assert {call[4] for call in asked} == {
        *("start", "inference", "input", "stream", "step", "accuracy")
    }
    assert all(call[-2:-1] == ["--record"] for call in asked)
    assert (
        said[0]
        == "alexnet bench start --network keras-lab --record benchmarks/start-keras-lab.json"
    )


def test_the_calls_of_all_can_be_parsed(monkeypatch, capsys):
    from alexnet import cli

    calls = every.suites("a", "my/b.toml", 0.9, "0..2", Path("p.tar"), "cpu", Path("c"))
    assert set(calls) == {"start-a", "inference-a", "input-b", "stream", "step-a", "accuracy-b"}
    for call in calls.values():
        monkeypatch.setattr(sys, "argv", ["alexnet", *call, "--help"])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code, capsys.readouterr().err


def test_a_record_is_what_was_printed(monkeypatch, capsys, tmp_path, without_compiler):
    from alexnet import cli

    monkeypatch.setattr(forms, "_missing", lambda *packages: list(packages))
    monkeypatch.chdir(tmp_path)
    words = (
        "bench inference alexnet-cifar --batch 2 --rounds 1 --device cpu --json --record a/b.json"
    )
    monkeypatch.setattr(sys, "argv", ["alexnet", *words.split()])
    with pytest.raises(SystemExit):
        cli.main()
    printed = json.loads(capsys.readouterr().out)
    assert json.loads(Path("a/b.json").read_text()) == printed
    assert printed["command"] == f"alexnet {words}"
    assert printed["settings"] == {"network": "alexnet-cifar", "batches": [2], "rounds": 1}
