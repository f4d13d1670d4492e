"""Batch norm's statistics taken anew: against NumPy, against torch's own, and what is refused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from alexnet.data.loader import Resident, source_of
from alexnet.data.order import shuffled
from alexnet.data.preprocess import Preprocessing
from alexnet.data.sources import open_dataset
from alexnet.errors import DataError, UsageError
from alexnet.evaluation import evaluate
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.models.global_norm import globalise
from alexnet.run import precise_bn
from alexnet.run.classifier import Classifier
from alexnet.run.device import Device
from alexnet.run.precise_bn import renewed, taken_from

CPU = Device(torch.device("cpu"), "float32")
SEEN = Preprocessing(picture_size=32, size=32)


def classifier(network):
    module = build(zoo.network(network, classes=10), seed=1).eval()
    return Classifier(module, tuple("abcdefghij"), SEEN, "centre", "", "a test")


@pytest.fixture(scope="module")
def dataset(data_root):
    return open_dataset("shapes", root=data_root)


@pytest.fixture(scope="module")
def scored(dataset):
    return source_of(dataset, "test")


def norms(model):
    return {n: m for n, m in model.module.named_modules() if hasattr(m, "running_mean")}


@pytest.mark.parametrize("batch", [2, 8, 50])
def test_the_first_norm_has_mean_and_variance_of_all_pictures(dataset, scored, batch):
    """What enters it knows no other norm, so that the batches must not show: 17 leave one over."""
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[:17]")
    name = next(iter(norms(model)))
    before = [row.name for row in model.module.network.rows]
    before = before[before.index(name) - 1]
    pictures = some.read(np.arange(17), CPU.torch).pictures
    with torch.inference_mode():
        values = model.module.activations(SEEN(pictures), [before])[before].double().numpy()
    with renewed([model], some, device=CPU, scored=scored, batch=batch):
        norm = norms(model)[name]
        assert np.allclose(norm.running_mean, values.mean((0, 2, 3)), atol=1e-6)
        # torch's variance of a batch has Bessel's correction: of 2 x 32 x 32 values one in 2,000
        assert np.allclose(norm.running_var, values.var((0, 2, 3)), rtol=1e-3, atol=1e-9)


def test_of_one_batch_it_is_what_torch_makes_of_it(dataset, scored):
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[:40]")
    pictures = some.read(np.arange(40), CPU.torch).pictures
    theirs = copy.deepcopy(model.module).eval()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.Dropout) or type(layer).__name__ == "Dropout":
            layer.p = 0.0
    torch.optim.swa_utils.update_bn([SEEN(pictures)], theirs)
    with renewed([model], some, device=CPU, scored=scored, batch=40):
        for name, norm in norms(model).items():
            other = theirs.get_submodule(name)
            torch.testing.assert_close(norm.running_mean, other.running_mean)
            torch.testing.assert_close(norm.running_var, other.running_var, rtol=1e-4, atol=1e-7)


def test_between_batches_means_differ_and_the_variance_knows(dataset, scored):
    """Of a norm further down: pooled over batches, each of which is normalised by its own."""
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[:40]")
    last = list(norms(model))[-1]
    found, mixed = [], some.chosen[shuffled(40, 0, 0)]
    for part in (replace(some, chosen=mixed[:20]), replace(some, chosen=mixed[20:]), some):
        with renewed([model], part, device=CPU, scored=scored, batch=20):
            norm = norms(model)[last]
            found.append((norm.running_mean.double(), norm.running_var.double()))
    (a, va), (b, vb), (both, v) = found
    torch.testing.assert_close(both, (a + b) / 2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(v, (va + vb) / 2 + (a - b) ** 2 / 4, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(v, (va + vb) / 2, rtol=1e-4, atol=1e-6)


def test_afterwards_norms_have_their_own_again(dataset, scored):
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[:20]")
    first = next(iter(norms(model).values()))
    own, momentum = first.running_mean, first.momentum
    kept, counted = own.clone(), first.num_batches_tracked.clone()
    with renewed([model], some, device=CPU, scored=scored):
        assert not torch.equal(first.running_mean, kept)
        assert not any(layer.training for layer in model.module.modules())
    assert first.running_mean is own
    assert torch.equal(own, kept)
    assert (first.momentum, first.num_batches_tracked) == (momentum, counted)
    assert not any(layer.training for layer in model.module.modules())


def test_a_network_in_training_is_in_training_again(dataset):
    model = classifier("alexnet-cifar")
    model.module.train()
    with taken_from(source_of(dataset, "train[:20]"), model.module, SEEN, CPU):
        assert not any(layer.training for layer in model.module.modules())
    assert all(layer.training for layer in model.module.modules())


def test_pictures_that_lie_on_the_device_are_the_same_ones(dataset):
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[20:60]")
    found = []
    for source in (some, Resident.of(some, CPU.torch)):
        with taken_from(source, model.module, SEEN, CPU, count=30, batch=8):
            found.append([norm.running_var for norm in norms(model).values()])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_the_order_of_a_folder_does_not_decide(dataset, scored):
    """Dark pictures first, as where classes differ in it: mixed, they are as good as in any order."""
    model, some = classifier("alexnet-cifar"), source_of(dataset, "train[:200]")
    light = some.images[some.chosen].mean((1, 2, 3))
    sorted_ = replace(some, chosen=some.chosen[np.argsort(light, kind="stable")])
    second = list(norms(model))[1]
    found = []
    for part, batch in ((some, 200), (some, 20), (sorted_, 20)):
        with renewed([model], part, device=CPU, scored=scored, batch=batch):
            found.append(norms(model)[second].running_var.double())
    whole, as_it_is, dark_first = found
    apart = (as_it_is - whole).norm()
    assert 0 < (dark_first - whole).norm() < 2 * apart  # 21 times, unmixed


def test_a_biased_norm_keeps_the_plain_variance(dataset, scored):
    model = classifier("keras-lab")
    model = replace(model, module=build(zoo.network("keras-lab", classes=10), 67, seed=1).eval())
    model = replace(model, preprocessing=Preprocessing(picture_size=32, size=67))
    some = source_of(dataset, "train[:3]")
    pictures = some.read(np.arange(3), CPU.torch).pictures
    with torch.inference_mode():
        values = model.module.activations(model.preprocessing(pictures), ["relu1"])["relu1"].numpy()
    with renewed([model], some, device=CPU, scored=scored):
        found = model.module.get_submodule("norm1").running_var
        assert np.allclose(found, values.var((0, 2, 3), dtype=np.float64), rtol=1e-5, atol=1e-9)


def test_one_of_several_processes_takes_them_without_the_others(dataset):
    """Each is given all the pictures, and the others may be at another batch."""
    some, found = source_of(dataset, "train[:40]"), []
    for divided in (False, True):
        model = classifier("alexnet-cifar")
        if divided:
            globalise(model.module, waits)
        with taken_from(some, model.module, SEEN, CPU, batch=16):
            found.append([norm.running_var.clone() for norm in norms(model).values()])
        assert not divided or {norm.total for norm in norms(model).values()} == {waits}
    for alone, of_two in zip(*found, strict=True):
        torch.testing.assert_close(of_two, alone, rtol=1e-5, atol=1e-8)


def waits(sums):
    raise AssertionError("waited for another process")


def test_statistics_that_lag_cost_a_score_and_are_made_good(dataset, scored):
    """Spoilt ones: another network. Taken anew, the scores of the network that they were spoilt in."""
    model = classifier("alexnet-cifar")
    some = source_of(dataset, "train[:100]")

    def losses():
        plain = evaluate(model.module, scored, SEEN, CPU).loss
        with renewed([model], some, device=CPU, scored=scored):
            return plain, evaluate(model.module, scored, SEEN, CPU).loss

    before, anew = losses()
    for norm in norms(model).values():
        norm.running_mean.add_(3.0)
    spoilt, again = losses()
    assert spoilt != before
    assert again == anew


def test_what_is_refused(dataset, scored):
    model = classifier("alexnet-cifar")
    overlap = source_of(dataset, "test[:3]")
    for source, error, said in (
        (overlap, UsageError, r"3 of the \d+ pictures to score are among those"),
        (overlap.first(1), DataError, "holds 1 pictures; a variance needs two"),
        (overlap.first(0), DataError, "holds 0 pictures"),
    ):
        with pytest.raises(error, match=said), renewed([model], source, device=CPU, scored=scored):
            pass
    with (
        pytest.raises(UsageError, match="one-tower has no batch norm"),
        renewed([without()], source_of(dataset, "train[:4]"), device=CPU, scored=scored),
    ):
        pass


def without():
    module = build(zoo.network("one-tower", classes=10), 67)
    return replace(classifier("alexnet-cifar"), module=module.eval())


def test_moments_are_widened_on_the_processor(monkeypatch):
    """MPS has no float64."""
    told, double = [], torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: told.append("cpu") or self)
    monkeypatch.setattr(torch.Tensor, "double", lambda self: told.append("double") or double(self))
    assert precise_bn._moments(torch.nn.BatchNorm2d(3)).dtype is torch.float64
    assert told == ["cpu", "double"] * 2
