"""Two halves of a network, each on its own, against the network on one device."""

import copy
from dataclasses import replace

import pytest
import torch
from pair import Pair
from torch.nn import functional as F

from alexnet.errors import UsageError
from alexnet.models import zoo
from alexnet.models.build import build
from alexnet.models.rows import (
    LRN,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MapNorm,
    MaxPool,
    ReLU,
)
from alexnet.models.split import halves, passing
from alexnet.models.table import Network, trace
from alexnet.models.towers import Tower, join, split

ROWS = (
    Conv("conv1", channels=8, kernel=5, stride=2, ceil=True),
    ReLU("relu1"),
    LRN("norm1", size=5, alpha=0.5, k=2.0),  # across the border
    MaxPool("pool1", kernel=3, stride=2),
    Conv("conv2", channels=12, kernel=3, padding=1, groups=2),
    ReLU("relu2"),
    LRN("norm2", size=4, alpha=0.5, towers=2),  # inside each tower
    MapNorm("mapnorm2", size=3, alpha=0.5),
    Conv("conv3", channels=12, kernel=3, padding=1),
    BatchNorm("bn3"),
    ReLU("relu3"),
    LRN("norm3", size=4, alpha=0.5),  # an even window: not the same reach to both sides
    Conv("conv4", channels=8, kernel=3, padding=1, groups=2),
    ReLU("relu4"),
    Flatten("flatten"),
    Dense("fc6", units=16),
    ReLU("relu6"),
    Dropout("drop6", p=0.5),
    Dense("fc7", units=10),
    ReLU("relu7"),
    Dense("fc8", units=5),
)
TINY = Network("tiny", ROWS, size=19, init="he", summary="", source="")


def batch(network, n=6):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(n, 3, network.size, network.size, generator=draw)
    x = x.contiguous(memory_format=torch.channels_last)
    return x, torch.randint(network.classes, (n,), generator=draw)


def train(model, x, labels, steps):
    """Some steps of momentum SGD; returns losses, first gradients, weights, memory."""
    rule = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses, first = [], {}
    for step in range(steps):
        torch.manual_seed(step)  # dropout
        loss = F.cross_entropy(model(x), labels)
        rule.zero_grad()
        loss.backward()
        if not step:
            first = {n: p.grad.clone() for n, p in model.named_parameters()}
        rule.step()
        losses.append(loss.item())
    names = dict(model.named_parameters())
    memory = {f"{n}/m": rule.state[p]["momentum_buffer"] for n, p in names.items()}
    return losses, first, model.state_dict(), memory


def towers_of(whole, network, pair):
    def made(rank):
        tower = Tower(network, whole.size, rank, pair.swap(rank))
        tower.load_state_dict(split(whole.state_dict(), network, rank))
        return tower.to(memory_format=torch.channels_last).train()

    return [made(0), made(1)]


def without_dropout(network):
    rows = tuple(replace(r, p=0.0) if isinstance(r, Dropout) else r for r in network.rows)
    return replace(network, rows=rows)


def test_forward_gradients_and_steps_are_those_of_one_device(monkeypatch):
    network = without_dropout(TINY)
    whole = build(network, seed=3).to(memory_format=torch.channels_last).train()
    x, labels = batch(network)
    pair = Pair()
    both = towers_of(whole, network, pair)
    found = pair.run(lambda rank: train(both[rank], x, labels, steps=4))
    alone = train(copy.deepcopy(whole), x, labels, steps=4)
    for losses, *_ in found:
        assert losses == pytest.approx(alone[0], rel=1e-5)
    assert found[0][0] == found[1][0], "both devices compute the head whole"
    for n in (1, 2, 3):  # gradients of the first step, weights, memory after four
        joined = join((found[0][n], found[1][n]), network)
        assert joined.keys() == alone[n].keys()
        for name, value in alone[n].items():
            torch.testing.assert_close(joined[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_evaluation_is_that_of_one_device():
    whole = build(TINY, seed=3).eval()
    x, _ = batch(TINY)
    pair = Pair()
    both = towers_of(whole, TINY, pair)
    with torch.inference_mode():
        found = pair.run(lambda rank: both[rank].eval()(x))
        torch.testing.assert_close(found[0], whole(x), rtol=1e-5, atol=1e-6)
    assert torch.equal(*found)


@pytest.mark.parametrize("name", ["alexnet-2012", "alexnet-2012-source", "bvlc-alexnet"])
def test_the_networks_of_2012_divide(name):
    network = without_dropout(zoo.network(name, classes=10))
    small = replace(network, size=67)
    whole = build(small).eval()
    x, _ = batch(small, n=2)
    pair = Pair()
    both = towers_of(whole, small, pair)
    with torch.inference_mode():
        found = pair.run(lambda rank: both[rank].eval()(x))
        torch.testing.assert_close(found[0], whole(x), rtol=1e-4, atol=1e-6)


def test_split_and_join_are_each_other_s_way_back():
    state = build(TINY, seed=3).state_dict()
    parts = split(state, TINY, 0), split(state, TINY, 1)
    back = join(parts, TINY)
    assert list(back) == list(state)
    assert all(torch.equal(back[name], value) for name, value in state.items())
    assert parts[0]["conv3.weight"].shape == (6, 12, 3, 3)
    assert parts[1]["conv4.weight"].shape == (4, 6, 3, 3)
    assert parts[0]["fc7.weight"].shape == (5, 16)
    assert torch.equal(parts[0]["fc8.weight"], parts[1]["fc8.weight"])


def test_a_half_has_the_parts_that_split_gives():
    state = build(TINY).state_dict()
    tower = Tower(TINY, None, 1, lambda t: t).state_dict()
    expected = {name: value.shape for name, value in split(state, TINY, 1).items()}
    assert {name: value.shape for name, value in tower.items()} == expected


def test_the_bytes_that_pass_are_those_of_the_table():
    network = without_dropout(TINY)
    whole = build(network).to(memory_format=torch.channels_last).train()
    x, labels = batch(network, n=6)
    pair = Pair()
    both = towers_of(whole, network, pair)
    pair.run(lambda rank: train(both[rank], x, labels, steps=1))
    expected = sum(p.forward + p.backward for p in passing(network, batch=6))
    assert pair.bytes == [expected, expected]


def test_what_passes_in_the_network_of_2012():
    """Worked out by hand: half of 13x13x256, of 9216, of 4096 and of 4096 values."""
    found = {p.row: p for p in passing(zoo.network("alexnet-2012"), batch=128)}
    assert {row: p.kind for row, p in found.items()} == {
        "norm1": "border",
        "norm2": "border",
        "conv3": "share",
        "fc6": "share",
        "drop6": "share",
        "drop7": "copy",
    }
    assert found["norm1"].forward == 128 * 4 * 2 * 55 * 55
    assert found["conv3"].forward == found["conv3"].backward == 128 * 4 * 128 * 13 * 13
    assert found["fc6"].forward == 128 * 4 * 128 * 6 * 6
    assert (found["drop6"].forward, found["drop7"].forward) == (128 * 4 * 2048,) * 2
    assert found["drop7"].backward == 0
    source = {p.row for p in passing(zoo.network("alexnet-2012-source"), batch=1)}
    assert source == {"conv3", "fc6", "drop6", "drop7"}, "its norms stay inside a tower"


def test_each_device_does_half_of_the_convolutions():
    network = zoo.network("alexnet-2012")
    full = {s.row.name: s.multiply_adds for s in trace(network) if isinstance(s.row, Conv)}
    for half in halves(network):
        if half.row.name in full:
            assert half.row.multiply_adds(half.inputs) * 2 == full[half.row.name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: (replace(rows[0], groups=3), *rows[1:]), "no two towers"),
        (lambda rows: (replace(rows[0], channels=9), *rows[1:3]), "no two towers"),
        (lambda rows: (rows[0], replace(rows[4], channels=7, groups=1), *rows[4:]), "7 outputs"),
        (lambda rows: (Dropout("d"), BatchNorm("b"), *rows), "layer 'b' .* cannot be divided"),
    ],
)
def test_what_cannot_be_divided_is_refused_by_name(change, message):
    rows = change(ROWS)
    network = replace(TINY, rows=(*rows, Dense("fc9", units=5)) if len(rows) < 9 else rows)
    with pytest.raises(UsageError, match=message):
        halves(network)


def test_one_tower_is_refused():
    with pytest.raises(UsageError, match="owt has no two towers"):
        halves(zoo.network("owt"))
