"""The memory of a run before it starts, against what it really holds."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from processes import TINY

from alexnet import recipe as recipes
from alexnet.errors import RecipeError, TrainingError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.recipe import Optim
from alexnet.reporting.cards import result_text
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.run.launch import Place
from alexnet.run.memory import Memory, opening_text, parts_text, size
from alexnet.run.ranks import ALONE, Ranks
from alexnet.training import estimate, groups, loop, optim
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
BF16 = Device(torch.device("cpu"), "bf16")
HUSH = log.Console(quiet=True)
MIB = 2**20
KNOWN = Memory(
    program=300 * MIB,
    weights=100 * MIB,
    copies=0,
    average=0,
    gradients=100 * MIB,
    optimiser=200 * MIB,
    activations=640 * MIB,
    scoring=50 * MIB,
    pictures=0,
    data=600 * MIB,
    mapped=True,
    free=1000 * MIB,
    batch=512,
    scored=500,
)


pytestmark = pytest.mark.usefixtures("rate")


def plan(**keys):
    return recipes.override(recipes.load("cifar10-quick"), TINY | keys)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize(
    ("name", "aux"), [*((name, "adam") for name in sorted(optim.RULES)), ("muon", "sgd")]
)
def test_what_a_rule_remembers_is_known_before_its_first_step(name, aux, momentum):
    keys = {"aux": aux, "aux_momentum": momentum}
    rule = Optim(name=name, lr=0.01, momentum=momentum, centered=True, **keys)
    model = build(zoo.network("alexnet-cifar"))
    optimizer = optim.make(model, rule)
    for p in model.parameters():
        p.grad = torch.ones_like(p) if p.requires_grad else None
    optimizer.step()
    remembered = [t for t in optim.memory_of(optimizer, model).values() if t.ndim]
    expected = sum(t.numel() * t.element_size() for t in remembered)
    assert estimate.remembered(groups.grouped(model, rule), rule) == expected


def test_the_parts_of_a_run(data_root):
    recipe = plan(**{"optim.name": "adam", "train.average": 0.9})
    stage = set_up(recipe, CPU, data_root, HUSH)
    found, values = stage.memory, sum(p.numel() for p in stage.model.parameters())
    trained = sum(p.numel() for p in stage.model.parameters() if p.requires_grad)
    kept = sum(b.numel() * b.element_size() for b in stage.model.buffers())
    assert found.weights == found.average == 4 * values + kept
    assert (found.gradients, found.optimiser, found.copies) == (4 * trained, 8 * trained, 0)
    assert found.pictures == 25 * 3 * 32 * 32 * 4
    assert found.data == (100 + 50) * 3 * 32 * 32
    assert found.mapped
    assert (found.batch, found.scored) == (25, 50), "of a split that is smaller than a batch, all"
    assert found.free is None or found.free > 10 * MIB


def test_half_precision_halves_activations_and_copies_the_weights(data_root):
    whole, half = (set_up(plan(), device, data_root, HUSH).memory for device in (CPU, BF16))
    assert half.activations == pytest.approx(whole.activations / 2, rel=0.4)  # places stay whole
    assert half.copies == pytest.approx(half.weights / 2, rel=0.01)
    assert half.weights == whole.weights


def test_features_in_place_of_pictures_need_less(root, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_file(build(zoo.network("alexnet-cifar")).state_dict(), path)
    keys = {"model.weights": str(path), "model.head": [16], "augment.crop": 0}
    frozen = {"model.frozen": ["conv*", "norm*"], "augment.flip": "none"}
    each = set_up(plan(**keys), CPU, root, HUSH).memory
    once = set_up(plan(**keys, **frozen), CPU, root, HUSH).memory
    assert once.activations < each.activations / 20
    assert once.pictures == 25 * 160 * 9 * 4  # what leaves conv5's pool
    both = {**frozen, "augment.flip": "random"}
    assert set_up(plan(**keys, **both), CPU, root, HUSH).memory.data == 2 * once.data


# --- what does not fit -----------------------------------------------------------------------


def test_a_run_that_fits_is_not_refused():
    estimate.refuse_too_large(KNOWN, CPU, ALONE)
    estimate.refuse_too_large(replace(KNOWN, free=None), CPU, ALONE)
    assert KNOWN.needed == (200 + 100 + 640) * MIB


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        # 700 less 200 and 100 leaves 400 of 640 for 512 pictures: 320
        ({"free": 700 * MIB}, "set train.batch=256"),
        ({"free": 330 * MIB}, "set train.batch=16"),
        ({"scoring": 1600 * MIB}, "set evaluation.batch=128"),  # 800 of 1600 for 500: 250
        ({"free": 200 * MIB}, "no batch would fit; choose a smaller network"),
    ],
)
def test_a_run_that_does_not_fit_says_what_would(changes, said):
    memory = replace(KNOWN, **changes)
    with pytest.raises(RecipeError) as refused:
        estimate.refuse_too_large(memory, CPU, ALONE)
    assert said in str(refused.value)
    assert f"needs roughly {size(memory.needed)} more" in str(refused.value)
    assert f"cpu has {size(memory.free)} free: program 300 MiB" in str(refused.value)


def test_what_is_advised_fits():
    memory = replace(KNOWN, free=700 * MIB)
    lower = replace(memory, activations=memory.activations // 2)
    estimate.refuse_too_large(lower, CPU, ALONE)
    assert lower.needed <= 700 * MIB < memory.needed


def test_a_graph_holds_a_steps_memory_while_pictures_are_scored():
    memory = replace(KNOWN, replayed=True, scoring=360 * MIB)
    assert memory.needed == (200 + 100 + 640 + 360) * MIB
    assert parts_text(memory.to_json()).endswith(
        "and scoring 360 MiB beside (mapped: given back where memory is short)"
    )
    with pytest.raises(RecipeError, match=r"set train\.batch=256 and evaluation\.batch=256$"):
        estimate.refuse_too_large(memory, CPU, ALONE)  # 700 of 1000 for both
    half = replace(memory, activations=320 * MIB, scoring=360 * 256 // 500 * MIB)
    estimate.refuse_too_large(half, CPU, ALONE)


@pytest.mark.parametrize(
    ("keys", "replayed"),
    [({}, True), ({"train.graph": False}, False), ({"augment.mixup": 0.2}, False)],
    ids=["graph", "asked without", "steps that differ"],
)
def test_what_a_graph_will_hold_is_known_where_there_will_be_one(
    data_root, monkeypatch, keys, replayed
):
    recipe = plan(**keys)
    stage = set_up(recipe, CPU, data_root, HUSH)
    parts = {"train": stage.train, "validation": stage.validation, "test": stage.test}
    for of in (estimate, estimate.computing):
        monkeypatch.setattr(of, "free_memory" if of is estimate else "free_own_memory", lambda _: 0)
    run = estimate.Planned(recipe, stage.model, 0, parts, CPU, ALONE)
    assert not estimate.memory_of(run).replayed
    run = replace(run, device=Device(torch.device("cuda"), "bf16"))
    assert estimate.memory_of(run).replayed is replayed


def test_processes_of_one_machine_share_its_memory():
    two = Ranks(world=2, place=Place(world=2))
    with pytest.raises(RecipeError, match=r"in each of 2 processes.*set train\.batch=128"):
        estimate.refuse_too_large(KNOWN, CPU, two)
    apart = Ranks(world=2, place=Place(world=2, nodes=2))
    estimate.refuse_too_large(KNOWN, CPU, apart)


def test_it_is_refused_before_anything_is_written(tmp_path, data_root, monkeypatch):
    monkeypatch.setattr(estimate, "free_memory", lambda device: MIB)
    with pytest.raises(RecipeError, match=r"this run needs roughly .* and cpu has 1 MiB free"):
        loop.fit(plan(), tmp_path / "run", device=CPU, root=data_root, console=HUSH)
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nand more"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_says_what_to_do(tmp_path, data_root, monkeypatch, error):
    def exhausted(*args):
        raise error

    monkeypatch.setattr(loop, "train_step", exhausted)
    with pytest.raises(TrainingError) as caught:
        loop.fit(plan(), tmp_path / "run", device=CPU, root=data_root, console=HUSH)
    said = str(caught.value)
    assert said.startswith(f"cpu ran out of memory ({str(error).partition(chr(10))[0] or 'Memory'}")
    assert "smaller train.batch (now 25) or evaluation.batch (now 50)" in said
    assert "\n" not in said


def test_other_errors_are_not_of_memory():
    with (
        pytest.raises(RuntimeError, match="shapes cannot be multiplied"),
        estimate.running_out_told(KNOWN, CPU),
    ):
        raise RuntimeError("shapes cannot be multiplied")


# --- what is said ----------------------------------------------------------------------------


def test_it_stands_with_the_opening_lines_in_the_record_and_in_the_card(
    tmp_path, data_root, capsys
):
    loop.fit(plan(), tmp_path, device=CPU, root=data_root, console=log.Console())
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("memory: ")]
    assert "roughly" in line
    assert "free" in line
    record = json.loads((tmp_path / "result.json").read_text())
    found = record["memory"]
    assert found["peak"] >= found["program"] > 10 * MIB
    assert found["needed"] > found["activations"] > 0
    said = result_text(tmp_path, record)
    assert f"memory: at most {size(found['peak'])}; expected: program" in said
    del record["memory"]  # a record of before
    assert "expected" not in result_text(tmp_path, record)


def test_the_peak_of_a_gpu_is_that_of_the_run_and_not_of_one_before_it(
    tmp_path, data_root, monkeypatch
):
    told = []
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "reset_peak_memory_stats", told.append)
        patch.setattr(loop, "set_up", lambda recipe, device, *of, **how: told.append("set up"))
        for kind in ("cuda", "cpu"):
            device = Device(torch.device(kind), "float32")
            with pytest.raises(AttributeError):  # there is no stage
                loop.fit(plan(), tmp_path, device=device, root=data_root, console=HUSH)
    assert told == [torch.device("cuda"), "set up", "set up"]


def test_words():
    assert parts_text(KNOWN.to_json()) == (
        "program 300 MiB, weights 100 MiB, gradients 100 MiB, momentum and the like 200 MiB, "
        "activations 640 MiB, data 600 MiB (mapped: given back where memory is short)"
    )
    assert opening_text(KNOWN).startswith("memory: roughly 940 MiB more, free 1000 MiB (program")
    assert "not told by this system" in opening_text(replace(KNOWN, free=None))
    larger = replace(KNOWN, scoring=2000 * MIB, mapped=False)
    assert parts_text(larger.to_json()).endswith(
        "but scoring needs 2.0 GiB in place of activations"
    )
    assert larger.needed == (200 + 600 + 2000) * MIB
    assert [size(n) for n in (512, 20 * 1024, 3 * MIB, 5 * 2**30)] == [
        "0 KiB",
        "20 KiB",
        "3 MiB",
        "5.0 GiB",
    ]
