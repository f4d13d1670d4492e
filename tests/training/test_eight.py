"""The eight learned layers: ``cifar10-94`` beside a plain writing of the rules that it follows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from processes import SHAPES
from torch import nn
from torch.nn import functional as F

from alexnet import recipe as recipes
from alexnet.models.rows import Conv, Dense
from alexnet.run import log
from alexnet.run.device import Device
from alexnet.training import groups, loop, muon
from alexnet.training import step as steps
from alexnet.training.masters import Masters
from alexnet.training.stage import set_up

CPU = Device(torch.device("cpu"), "float32")
HUSH = log.Console(quiet=True)
FEW = SHAPES | {"data.split": "slice", "train.convolutions": "direct"}
STEPS, PICTURES = 8, 6  # a step is an epoch: the first layer's bias is left alone after three

# What airbench94_muon.py says of its 2,000 pictures.
BATCH, BIAS_RATE, HEAD_RATE, KERNEL_RATE = 2000, 0.053, 0.67, 0.24
DECAY, LOGITS = 2e-6 * BATCH, 256


class Plain(nn.Module):
    """The network in torch's own words: filters that stay, pool before norm, a divided head."""

    def __init__(self) -> None:
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2)
        self.whiten.weight.requires_grad = False
        widths = [24, 64, 64, 256, 256, 256, 256]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b, momentum=0.4) for b in widths[1:])
        for norm in self.norms:
            norm.weight.requires_grad = False
        self.head = nn.Linear(LOGITS, 10, bias=False)

    def forward(self, x, whiten_learns):
        bias = self.whiten.bias if whiten_learns else self.whiten.bias.detach()
        x = F.gelu(F.conv2d(x, self.whiten.weight, bias))
        for n, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = conv(x) if n % 2 else F.max_pool2d(conv(x), 2)
            x = F.gelu(norm(x))
        return self.head(F.max_pool2d(x, 3).flatten(1)) / LOGITS


def polar(g):
    x = g.flatten(1) / (g.norm() + 1e-7)
    wide = x if len(x) <= x.shape[1] else x.T
    for _ in range(3):
        a = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * a + 2.0315 * a @ a) @ wide
    return (wide if len(x) <= x.shape[1] else wide.T).view_as(g)


@torch.no_grad()
def move_kernel(p, buffer, rate):
    buffer.mul_(0.6).add_(p.grad)
    p.mul_(len(p) ** 0.5 / p.norm())
    p.sub_(rate * polar(p.grad + 0.6 * buffer))


def plain_losses(net, x, labels):
    """Eight steps by the program's rules, its summed loss at its batch written as 2,000 means."""
    biases = [norm.bias for norm in net.norms]
    sets = [
        {"params": of, "lr": rate, "weight_decay": DECAY / rate, "peak": rate}
        for of, rate in (
            ([net.whiten.bias], BIAS_RATE),
            (biases, BIAS_RATE),
            ([net.head.weight], HEAD_RATE),
        )
    ]
    sgd = torch.optim.SGD(sets, momentum=0.85, nesterov=True)
    buffers = [torch.zeros_like(conv.weight) for conv in net.convs]
    found = []
    for step in range(STEPS):
        loss = F.cross_entropy(net(x, step < 3), labels, label_smoothing=0.2)
        found.append(loss.item())
        net.zero_grad()
        (BATCH * loss).backward()
        for group, until in zip(sgd.param_groups, (3, STEPS, STEPS), strict=True):
            group["lr"] = group["peak"] * (1 - step / until)
        sgd.step()
        for conv, buffer in zip(net.convs, buffers, strict=True):
            move_kernel(conv.weight, buffer, KERNEL_RATE * (1 - step / STEPS))
    return found


def of_the_same_weights(model):
    net = Plain()
    net.whiten.weight.data.copy_(model.conv1.weight)
    net.whiten.bias.data.copy_(model.conv1.bias)
    for n, conv in enumerate(net.convs, start=2):
        conv.weight.data.copy_(model.get_submodule(f"conv{n}").weight)
    net.head.weight.data.copy_(model.fc8.weight * LOGITS)
    return net.to(memory_format=torch.channels_last)


def staged(name, data_root, **keys):
    changes = {key.replace("__", "."): value for key, value in keys.items()}
    return set_up(recipes.override(recipes.load(name), FEW | changes), CPU, data_root, HUSH)


def test_cifar10_94_learns_as_the_program_does_that_it_follows(data_root, monkeypatch):
    """The same weights and pictures, nothing drawn: the losses of eight steps agree."""
    monkeypatch.setattr(
        muon, "fast_bf16", lambda device: False
    )  # the comparison's kernels are float32
    quiet = {"augment__flip": "none", "augment__crop": 0, "train__batch": PICTURES}
    few = {"data__train": f"train[:{PICTURES}]", "train__epochs": f"{STEPS} epochs"}
    stage = staged("cifar10-94", data_root, **quiet, **few)
    batch = stage.train.read(np.arange(PICTURES), CPU.torch)
    x = stage.preprocessing(batch.pictures)
    net = of_the_same_weights(stage.model)
    assert net.head.weight.std().item() == pytest.approx(1.0)  # as the program starts it
    start = net.whiten.bias.detach().clone()
    expected = plain_losses(net, x, batch.labels)
    found = [loop.train_step(stage, batch, step)[0].item() for step in range(STEPS)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    assert expected[-1] < 0.6 * expected[0]
    assert (net.whiten.bias - start).abs().max() > 1
    torch.testing.assert_close(stage.model.conv1.bias, net.whiten.bias, atol=5e-3, rtol=0)


def test_nothing_flows_back_to_a_bias_whose_time_is_over_and_no_loss_changes(
    data_root, monkeypatch
):
    few = {"data__train": "train[:6]", "train__batch": 6, "train__epochs": "5 epochs"}
    found = []
    for spares in (True, False):
        with monkeypatch.context() as patch:
            if not spares:
                patch.setattr(steps, "spare", lambda stage: None)
            stage = staged("cifar10-94", data_root, **few)
            batch, went = stage.train.read(np.arange(6), CPU.torch), []
            stage.model.gelu1.register_forward_hook(lambda *of, went=went: went.append(of[2]))
            losses = [loop.train_step(stage, batch, step)[0].item() for step in range(5)]
        found.append(losses)
        assert [y.requires_grad for y in went] == [True] * 3 + [not spares] * 2
    assert found[0] == found[1]


def test_bf16_weights_are_spared_with_their_masters(data_root):
    stage = staged("cifar10-94", data_root)
    stage.masters = Masters(stage.model)
    groups.over(stage.optimizer, 12, steps_per_epoch=4, batch=25)
    steps.spare(stage)
    for network in (stage.model, stage.masters.working):
        assert not network.conv1.bias.requires_grad
        assert network.conv2.weight.requires_grad


@pytest.mark.parametrize("name", ["cifar10-94", "cifar10-95", "cifar10-eight"])
def test_a_step_of_eight_learned_layers_moves_all_that_is_learned(name, data_root):
    few = {"train__batch": 6, "train__epochs": 1, "data__train": "train[:12]"}
    stage = staged(name, data_root, **few)
    rows = stage.model.network.rows
    assert sum(isinstance(row, Conv | Dense) for row in rows) == 8
    before = {key: t.detach().clone() for key, t in stage.model.named_parameters()}
    loss, _ = loop.train_step(stage, stage.train.read(np.arange(6), CPU.torch), 0)
    assert 1 < loss < 5
    after = dict(stage.model.named_parameters())
    moved = {key for key, t in before.items() if not torch.equal(t, after[key])}
    assert moved == {key for key, p in after.items() if p.requires_grad}
    assert "conv1.weight" not in moved
