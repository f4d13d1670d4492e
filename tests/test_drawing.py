"""Networks drawn as text and as a picture: what is counted, what is joined, what is crossed."""

from __future__ import annotations

import re
import sys
import tomllib
from itertools import pairwise

import pytest
import tomli_w
from PIL import Image

from alexnet import built_in, cli
from alexnet import recipe as recipes
from alexnet.errors import UnknownName
from alexnet.models import table, zoo
from alexnet.reporting import recipe_card
from alexnet.reporting.blocks import blocks, towers
from alexnet.reporting.cards import show
from alexnet.reporting.drawing import draw, network_of
from alexnet.reporting.network_picture import network_figure
from alexnet.training.transfer import network_of as network_of_training

TWO_TOWERS = {"alexnet-2012", "alexnet-2012-source", "bvlc-alexnet", "caffenet"}
DOWN, UP = "┬│├┤┌┐", "│├┤┴└┘▼"


def counts(drawing: str) -> int:
    return sum(int(n.replace(",", "")) for n in re.findall(r"([\d,]+) params", drawing))


def test_a_gelu_is_named_where_a_relu_would_be():
    network = zoo.network("cifar-eight-gelu")
    assert blocks(network)[0].after == ("GELU",)
    assert blocks(network)[1].after == ("max pool 2x2 / 2", "batch norm", "GELU")
    text = show("cifar-eight-gelu").text
    assert "conv1 (Conv2D, GELU)" in text
    assert "norm7 (BatchNormalization, GELU)" in text
    assert "gelu1" not in text


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_every_network_fits_a_terminal_and_its_boxes_add_up(name):
    network = zoo.network(name)
    drawing = draw(network)
    assert max(map(len, drawing.splitlines())) <= 100
    assert counts(drawing) == table.totals(table.trace(network)).parameters


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_no_line_ends_in_the_air(name):
    """Whatever leads down meets something that leads up, and the other way round."""
    lines = draw(zoo.network(name)).splitlines()
    width = max(map(len, lines))
    for above, below in pairwise(lines):
        for a, b in zip(above.ljust(width), below.ljust(width), strict=True):
            assert (a in DOWN) == (b in UP), f"{above}\n{below}"


def test_the_towers_of_2012_stand_side_by_side_and_exchange_three_times():
    lines = draw(zoo.network("alexnet-2012")).splitlines()
    twice = [line for line in lines if "params" in line and line.count("params") == 2]
    names = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"]
    assert [line.split()[1] for line in twice] == names
    for line in twice:
        left, right = line[: len(line) // 2 + 1], line[len(line) // 2 + 1 :]
        assert left.strip() == right.strip()
    behind = [lines[i - 2 :][:5] for i, line in enumerate(lines) if "exchange" in line]
    assert [next(re.findall(r"conv\d|fc\d", x)[0] for x in b if "params" in x) for b in behind] == [
        "conv3",
        "fc6",
        "fc7",
    ]


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_who_has_two_towers(name):
    assert towers(zoo.network(name)) == (2 if name in TWO_TOWERS else 1)
    assert ("exchange" in draw(zoo.network(name))) == (name in TWO_TOWERS)


def test_a_norm_that_reaches_across_the_towers_says_so():
    """In the paper and in Caffe the window runs over all maps, in the program over a tower's own."""
    said = {
        n: [w for b in blocks(zoo.network(n)) for w in b.after if "LRN" in w] for n in TWO_TOWERS
    }
    assert said.pop("alexnet-2012-source") == ["LRN 5"] * 2
    assert set(map(tuple, said.values())) == {("LRN 5 across both",) * 2}


def test_shapes_of_one_tower_are_those_of_the_paper():
    made = [block.made for block in blocks(zoo.network("alexnet-2012"))]
    assert made[:5] == [(48, 55, 55), (128, 27, 27), (192, 13, 13), (192, 13, 13), (128, 13, 13)]
    assert made[5:] == [(2048,), (2048,), (1000,)]


@pytest.mark.parametrize(
    ("name", "arrows"),
    # conv1 2, conv2 2, conv3 4, conv4 2, conv5 2, fc6 4, fc7 4, fc8 2; else one a layer
    # and one from conv4 to the sum, which is a block of its own
    [
        ("alexnet-2012-source", 22),
        ("owt", 8),
        ("owt-skip", 10),
        ("owt-skip-as-published", 10),
        ("cuda-convnet-11pct", 5),
        ("alexnet-bn", 8),
    ],
)
def test_the_picture_has_an_arrow_for_everything_that_is_seen(name, arrows):
    network = zoo.network(name)
    figure = network_figure(network)
    words = [t.get_text() for t in figure.axes[0].texts]
    assert sum(hasattr(t, "arrow_patch") for t in figure.axes[0].texts) == arrows
    assert {block.name for block in blocks(network)} | {"picture"} <= set(words)
    assert (words.count("tower 1"), words.count("tower 2")) == (towers(network) - 1,) * 2
    sides = {f"3x{network.size}x{network.size}"} | {
        "x".join(map(str, block.made)) for block in blocks(network)
    }
    assert sides <= set(words)


def test_nothing_is_drawn_outside_the_picture():
    for name in ("alexnet-2012-source", "alexnet-bn", "cuda-convnet-80sec", "owt-skip"):
        figure = network_figure(zoo.network(name))
        figure.canvas.draw()
        whole = figure.bbox
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text.get_text()
            assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, text.get_text()


def test_a_skip_is_drawn_from_where_it_is_read_to_where_it_is_added():
    for name, read in (("owt-skip", "relu4"), ("owt-skip-as-published", "conv4")):
        *_, conv4, conv5, skip = blocks(zoo.network(name))[:6]
        assert (conv4.reads, conv5.reads, skip.reads) == ("", "", "conv4")
        assert skip.after[:2] == (f"mean to 6x6 of {read}", "plus pool5")
        lines = draw(zoo.network(name)).splitlines()
        start = next(n for n, line in enumerate(lines) if "├" in line)
        end = next(n for n, line in enumerate(lines) if "◄" in line)
        assert "conv4" in lines[start]
        assert "skip" in lines[end]
        column = len(lines[start]) - 1
        assert {line[column] for line in lines[start + 1 : end]} == {"│"}


def test_a_recipe_is_drawn_as_its_network_at_its_size():
    network, side = network_of("keras-lab")
    assert (network.name, side) == ("keras-lab", 227)
    assert network_of("cifar10-quick")[1] == 32
    card = show("cifar10-quick", drawing=True)
    assert draw(zoo.network("alexnet-cifar-gelu"), 32) in card.text
    assert "head3  10 units" in show("torch-transfer", drawing=True).text
    assert "RootNorm" in show("photos-kernel").text
    assert counts(show("photos-kernel", drawing=True).text) > 2_469_696
    with pytest.raises(UnknownName, match="unknown network or recipe 'shapes'"):
        show("shapes", drawing=True)


def test_a_drawing_stands_above_a_recipe_and_each_list_on_one_line():
    for name in ("keras-lab", "torch-transfer"):
        told = show(name, drawing=True).text
        assert told.index("Multiply-adds:") < told.index("┌") < told.index(f'\nname = "{name}"')
    assert "\nhead = [4096, 1024]\n" in told
    held = {"head": ["a  b", "c"], "area": [0.5, 1.0], "sides": [[1, 2], [3, 4]], "at": []}
    assert tomllib.loads(recipe_card.short(tomli_w.dumps(held))) == held
    assert 'head = ["a  b", "c"]\narea = [0.5, 1.0]\n' in recipe_card.short(tomli_w.dumps(held))


@pytest.mark.parametrize("name", built_in.names())
def test_a_recipe_is_shown_with_the_table_that_it_trains(name):
    """Its layers, head and classes are those that training makes; what is frozen is not trained."""
    plan = recipes.load(name)
    classes = None if name in zoo.NETWORKS else 10
    made = table.trace(network_of_training(plan.model, classes))
    assert [layer["name"] for layer in show(name).values["layers"]] == [s.row.name for s in made]
    if classes:
        assert network_of(name)[0] == network_of_training(plan.model, classes)


def test_frozen_rows_are_counted_as_not_trained():
    said = show("torch-transfer").text
    assert "Trainable params: 41,958,410 " in said
    assert "Non-trainable params: 2,469,696 " in said
    assert "head1 (Dense, ReLU)" in said


def test_the_command_prints_and_draws(tmp_path, monkeypatch, capsys):
    path = tmp_path / "net.png"
    arguments = ["show", "alexnet-2012-source", "--drawing", "--picture", str(path)]
    monkeypatch.setattr(sys, "argv", ["alexnet", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code in (0, None)
    out = capsys.readouterr()
    assert "exchange" in out.out
    assert str(path) in out.err
    with Image.open(path) as picture:
        assert picture.width > picture.height > 300


@pytest.mark.parametrize("option", ["--drawing", "--sums", "--size=67", "--expect=a.txt"])
def test_what_is_of_one_network_is_refused_of_two(monkeypatch, capsys, option):
    monkeypatch.setattr(sys, "argv", ["alexnet", "show", "owt", "caffenet", option])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "of one network" in capsys.readouterr().err
