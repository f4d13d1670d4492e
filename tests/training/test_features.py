"""Frozen rows that run once: the same numbers as running them each step, kept and checked."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from processes import HEAD, KILLED, TINY, dies, resume, trace, train
from safetensors.torch import save_file

import alexnet
from alexnet import recipe as recipes
from alexnet.data import sources
from alexnet.data.loader import in_order, source_of
from alexnet.errors import CheckpointError, DataError, RecipeError, UsageError
from alexnet.evaluation import evaluate
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.run import checkpoint, classifier, log
from alexnet.run.device import Device
from alexnet.training import features, learner, loop
from alexnet.training import transfer as start
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
BF16 = Device(torch.device("cpu"), "bf16")
HUSH = log.Console(quiet=True)
MIRRORED = HEAD | {
    "model.dropout": 0.3,
    "augment.flip": "random",
    "evaluation.views": "flip",
}


pytestmark = pytest.mark.usefixtures("rate")


def plan(weights, **changes):
    override = MIRRORED | {"model.weights": str(weights)} | changes
    return recipes.override(recipes.load("cifar10-quick"), override)


def staged(root, weights, device=CPU, **changes):
    return set_up(plan(weights, **changes), device, root, HUSH)


def fit(folder, root, weights, device=CPU, **changes):
    recipe = plan(weights, **changes)
    result = loop.fit(recipe, folder, device=device, root=root, console=HUSH)
    return result, checkpoint.newest(folder, print)


def same_metrics(a, b, rel):
    for one, other in zip(a, b, strict=True):
        for key in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
            assert one[key] == pytest.approx(other[key], rel=rel), key


@pytest.mark.parametrize("flip", ["none", "random", "alternate"])
@pytest.mark.parametrize(
    "frozen", [["conv*", "norm*"], ["conv[12]", "norm[12]"]], ids=["flat", "maps"]
)
def test_training_from_features_is_training_through_the_frozen_rows(
    tmp_path, root, weights, monkeypatch, flip, frozen
):
    sgd = {"optim.name": "sgd", "optim.lr": 0.01}  # Adam makes much of the last bit
    changes = sgd | {"augment.flip": flip, "model.frozen": frozen}
    once, first = fit(tmp_path / "once", root, weights, **changes)
    with monkeypatch.context() as patch:
        patch.setattr("alexnet.training.learner.rows_run_once", lambda *_: 0)
        each, second = fit(tmp_path / "each", root, weights, **changes)
    same_metrics(once.history, each.history, 1e-4)
    for name, value in first.weights.items():
        torch.testing.assert_close(value, second.weights[name], rtol=1e-3, atol=1e-5)
    assert once.record["test"]["loss"] == pytest.approx(each.record["test"]["loss"], rel=1e-4)
    assert (
        once.record["speed"]["training_multiply_adds"]
        < each.record["speed"]["training_multiply_adds"]
    )


def test_frozen_rows_do_not_move_and_the_head_does(tmp_path, root, weights):
    before = build(zoo.network("alexnet-cifar"), 32, seed=3).state_dict()
    _, saved = fit(tmp_path / "run", root, weights)
    for name in ("conv2.weight", "norm5.running_mean"):
        assert torch.equal(saved.weights[name], before[name])
    fresh = staged(root, weights).model.get_submodule("head1").weight
    assert not torch.equal(saved.weights["head1.weight"], fresh)
    assert not any("conv" in name for name in saved.optimizer)


def tail(module):
    names = [row.name for row in module.network.rows]
    return names[names.index("flatten") + 1 :]


def test_what_is_loaded_takes_pictures_and_scores_the_same(tmp_path, root, weights):
    result, _ = fit(tmp_path / "run", root, weights)
    model = classifier.load(tmp_path / "run")
    assert tail(model.module) == ["headdrop1", "head1", "headrelu1", "headdrop2", "head2"]
    found = alexnet.evaluate(
        model, "shapes/test[:20]", device="cpu", precision="float32", data_root=root
    )
    assert found.accuracy == result.record["test"]["accuracy"]
    assert found.loss == pytest.approx(result.record["test"]["loss"], rel=1e-4)


def test_a_head_with_norms_is_saved_and_loaded(tmp_path, root, weights):
    _, saved = fit(tmp_path / "run", root, weights, **{"model.head_norm": True})
    assert {"headnorm1.weight", "headnorm1.running_var"} <= saved.weights.keys()
    loaded = classifier.load(tmp_path / "run").module
    assert tail(loaded)[2:] == ["headnorm1", "headrelu1", "headdrop2", "head2"]
    assert torch.equal(
        loaded.state_dict()["headnorm1.running_var"], saved.weights["headnorm1.running_var"]
    )


@pytest.mark.parametrize("device", [CPU, BF16], ids=["float32", "bf16"])
def test_features_have_the_bits_that_the_rows_give(root, weights, device):
    stage = staged(root, weights, device)
    source = set_up(plan(weights, **{"model.frozen": []}), device, root, HUSH).train
    at = np.arange(20)
    pictures = source.read(at, CPU.torch)
    kept = stage.train.read(at, CPU.torch)
    assert torch.equal(kept.labels, pictures.labels)
    assert torch.equal(kept.indices, pictures.indices)
    x = stage.preprocessing(pictures.pictures)
    stage.model.eval()
    with torch.inference_mode(), device.autocast():
        for n, view in enumerate((x, x.flip(3))):
            expected = stage.model.activations(view, ["flatten"])["flatten"]
            torch.testing.assert_close(
                kept.pictures[:, n], expected.to(kept.pictures.dtype), rtol=2e-2, atol=1e-3
            )
    assert kept.pictures.dtype == (torch.float32 if device is CPU else torch.bfloat16)


def test_features_are_kept_and_used_again(root, weights, monkeypatch):
    staged(root, weights)
    folders = sorted((root / "features").glob("shapes-*"))
    assert [f.name.rpartition("-")[0] for f in folders] == [
        "shapes-test",
        "shapes-train",
        "shapes-validation",
    ]
    monkeypatch.setattr(features, "_compute", lambda *_: pytest.fail("computed again"))
    # Nor is a lock needed: the root may be for reading only.
    monkeypatch.setattr(features, "locked", lambda *_: pytest.fail("locked"))
    staged(root, weights, **{"model.head": [], "optim.lr": 0.1, "train.seed": 4})


@pytest.mark.parametrize(
    "change",
    [
        {"input.size": 36},
        {"input.mean": [0.5, 0.5, 0.5]},
        {"data.train": "train[1:41]"},
        {"augment.flip": "none"},
        {"model.frozen": ["conv[123]", "norm[123]"]},
        {"train.convolutions": "direct"},
    ],
    ids=["size", "mean", "pictures", "views", "rows", "kernels"],
)
def test_other_features_are_other_folders(root, weights, change):
    staged(root, weights)
    before = set((root / "features").glob("shapes-train-*"))
    staged(root, weights, **change)
    assert len(set((root / "features").glob("shapes-train-*")) - before) == 1


def test_a_flipped_bit_is_seen_and_mended(root, weights):
    said = []
    console = log.Console(quiet=True)
    console.say = said.append  # type: ignore[method-assign]
    staged(root, weights)
    path = next((root / "features").glob("shapes-train-*")) / "values.npy"
    good = path.read_bytes()
    path.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    set_up(plan(weights), CPU, root, console)
    assert any("is damaged; computing" in line for line in said)
    assert path.read_bytes() == good
    assert not list((root / "features").glob(".tmp-*"))


def test_a_root_that_may_only_be_read_is_read_and_added_to_in_ones_own(
    root, weights, monkeypatch, tmp_path
):
    own, may = tmp_path / "own", os.access
    staged(root, weights)
    monkeypatch.setattr(sources, "_own_root", lambda: own)
    monkeypatch.setattr(os, "access", lambda path, mode: path != root and may(path, mode))
    staged(root, weights)
    assert not own.exists(), "all that is wanted is there"
    before = set((root / "features").iterdir())
    staged(root, weights, **{"input.size": 40})
    assert set((root / "features").iterdir()) == before
    assert len([*(own / "features").glob("shapes-*")]) == 3


def test_a_full_disk_is_told(root, weights, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(features, "sync_file", full)
    with pytest.raises(DataError, match="No space left on device; make room there"):
        staged(root, weights)
    assert not list((root / "features").glob("shapes-*"))
    assert not list((root / "features").glob(".tmp-*"))


@pytest.mark.parametrize(
    "change",
    [{"augment.crop": 2}, {"augment.cutout": 4}, {"model.frozen": ["conv*"]}, {"model.frozen": []}],
)
def test_where_pictures_change_the_rows_run_each_step(root, weights, change):
    stage = staged(root, weights, **change)
    assert stage.first == 0
    assert not (root / "features").exists()


def test_views_that_features_cannot_give_take_pictures(root, weights):
    stage = staged(root, weights, **{"evaluation.views": "shift"})
    assert stage.first
    assert isinstance(stage.train, features.Features)
    assert not isinstance(stage.test, features.Features)
    assert stage.score(stage.test).views == "shift"


def test_features_larger_than_memory_are_the_same_and_are_told_of(root, weights, monkeypatch):
    held = staged(root, weights).train
    asked = []
    monkeypatch.setattr(
        features, "tell_of", lambda rows, at, large: asked.append((at.tolist(), large))
    )
    many = replace(held, large=0)
    for one, other in zip(*(in_order(s, 16, CPU.torch) for s in (held, many)), strict=True):
        assert torch.equal(one.pictures, other.pictures)
    assert [at for at, large in asked if not large] == [
        list(range(n, min(n + 16, 40))) for n in (0, 16, 32)
    ]


def test_frozen_norms_stay_as_they_are(root, weights, tmp_path):
    changes = {"model.frozen": ["conv[12]", "norm[12]"], "augment.crop": 2}
    _, saved = fit(tmp_path / "run", root, weights, **changes)
    assert (saved.weights["norm1.running_mean"] == 0).all()
    assert not (saved.weights["norm3.running_mean"] == 0).all()


@pytest.mark.parametrize(
    "death",
    [
        dies("training.features.sync_file", 2),
        dies("training.loop.train_step", 4),
    ],
    ids=["making features", "in the first epoch"],
)
def test_killed_and_resumed_is_never_killed(tmp_path, root, weights, death):
    override = MIRRORED | {"model.weights": str(weights), "checkpoint.every": "3 steps"}
    assert train(tmp_path / "whole", root, override) == 0
    for folder in (root / "features").iterdir():  # so that the killed run makes its own
        if folder.is_dir():
            folder.rename(tmp_path / folder.name)
    assert train(tmp_path / "run", root, override, death) == KILLED
    if (tmp_path / "run" / "recipe.toml").is_file():
        assert resume(tmp_path / "run", root) == 0
    else:
        assert train(tmp_path / "run", root, override) == 0
    assert trace(tmp_path / "run") == trace(tmp_path / "whole")


def test_a_run_goes_on_with_the_weights_that_it_began_with(tmp_path, root, weights):
    path = tmp_path / "mine.safetensors"
    path.write_bytes(Path(weights).read_bytes())
    override = MIRRORED | {"model.weights": str(path), "checkpoint.every": "2 steps"}
    death = dies("training.loop.train_step", 3)
    assert train(tmp_path / "run", root, override, death) == KILLED
    save_file(build(zoo.network("alexnet-cifar"), 32, seed=4).state_dict(), path)
    with pytest.raises(CheckpointError, match=r"began with other weights in conv1\.weight"):
        alexnet.resume(tmp_path / "run", data_root=root, device="cpu", console=HUSH)


def test_frozen_rows_that_nothing_fills_are_refused(root, tmp_path):
    path = tmp_path / "half.safetensors"
    state = build(zoo.network("alexnet-cifar"), 32).state_dict()
    save_file({k: v for k, v in state.items() if k.startswith(("conv1", "norm"))}, path)
    with pytest.raises(RecipeError, match=r"model\.frozen holds conv2 as it is, .*not there"):
        staged(root, path)


def test_nothing_left_to_train_is_refused(root, weights):
    with pytest.raises(RecipeError, match="leaves nothing to train"):
        staged(root, weights, **{"model.frozen": ["*"], "model.head": None})


def test_a_checkpoint_of_before_has_no_head_and_loads(tmp_path, root):
    folder = tmp_path / "run"
    recipe = recipes.override(recipes.load("cifar10-quick"), TINY | {"train.epochs": "1 step"})
    loop.fit(recipe, folder, device=CPU, root=root, console=HUSH)
    saved = checkpoint.newest(folder, print)
    old = {k: v for k, v in saved.model.items() if k != "head"}
    assert json.loads(json.dumps(old)) == old
    again = classifier.restore(checkpoint.Checkpoint(saved.path, saved.weights, {}, {}, old))
    assert again.module.network.rows[-1].name == "fc8"


def test_which_rows_are_filled_is_said(root, weights):
    said = []
    console = log.Console(quiet=True)
    console.say = said.append  # type: ignore[method-assign]
    set_up(plan(weights), CPU, root, console)
    assert said[0].startswith(f"weights from {weights}: filled conv1, norm1, conv2, norm2, conv3")
    assert "fresh: head1 (not there), head2 (not there)" in said[0]
    assert start.rows_run_once(plan(weights), staged(root, weights).model) == 19


def test_a_run_can_be_what_another_starts_from(tmp_path, root, weights):
    """A head trained on frozen layers first, then all of it: every row is filled from the run."""
    _, saved = fit(tmp_path / "head", root, weights)
    stage = staged(root, tmp_path / "head", **{"model.frozen": []})
    for name, value in stage.model.state_dict().items():
        assert torch.equal(value, saved.weights[name]), name
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CheckpointError, match="holds no checkpoint yet"):
        staged(root, empty)


# A network of any size, its dense layers behind an adaptive pool.
ANY_SIZE = {
    "model.network": "owt",
    "model.weights": "",
    "model.frozen": ["conv*"],
    "input.size": 80,
    "evaluation.views": "scales",
    "evaluation.also": ["flip"],
}


def test_features_at_several_sides_score_as_the_whole_network(tmp_path, root, weights):
    stage = staged(root, weights, **ANY_SIZE)
    assert features.hold(stage.test)
    assert features.hold(stage.validation)
    kept = stage.test.read(np.arange(20), CPU.torch)
    assert kept.pictures.shape[1] == 6
    pictures = source_of(stage.dataset, stage.recipe.data.test)
    for views in ("scales", "flip"):
        ours = stage.score(stage.test, views)
        whole = evaluate(stage.model, pictures, stage.preprocessing, CPU, views=views, top=(1,))
        assert ours.loss == pytest.approx(whole.loss, rel=1e-4)
        assert ours.views == views
    assert stage.score(stage.test, "flip").loss != stage.score(stage.test, "scales").loss


def test_a_wait_for_the_features_of_another_process_is_said(root, weights):
    (root / "features").mkdir()
    other = FileLock(root / "features" / ".lock")
    other.acquire()
    heard = []

    class Releasing(log.Console):
        def say(self, text):
            heard.append(text)
            if "another process" in text:
                other.release()

    set_up(plan(weights), CPU, root, Releasing())
    assert "another process is preparing features; waiting for it" in heard


def test_maps_of_several_sides_are_not_kept(root, weights):
    stage = staged(root, weights, **ANY_SIZE | {"model.frozen": ["conv[12]"]})
    assert features.hold(stage.train)
    assert not features.hold(stage.test), "pictures of 80 pixels and of 70 have other maps"


def test_scales_of_a_network_of_one_size_are_refused_at_once(root, weights):
    with pytest.raises(UsageError, match=r"views 'scales' show pictures of 28, 32, 36"):
        staged(root, weights, **{"evaluation.also": ["scales"]})
    assert not (root / "features").exists()


def test_rows_that_run_once_multiply_as_the_run_does(root, weights, monkeypatch):
    told, behind = [], learner.behind

    def noted(*args):
        told.append(torch.backends.cudnn.allow_tf32)
        return behind(*args)

    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(learner, "behind", noted)
    staged(root, weights)
    assert told == [False]
