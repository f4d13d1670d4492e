"""What a network's card says of the settings of its rows."""

import json
import math
from dataclasses import replace

import pytest

from alexnet.models import rows, zoo
from alexnet.reporting import cards
from alexnet.reporting.layer_text import ALPHA, settings, settings_text

SOURCE = """\
Layers               Settings
-------------------  ----------------------------------------------
conv1                11x11, stride 4, rounded up
norm1, norm2         size 5, alpha 0.0001, beta 0.75, k 2, towers 2
pool1, pool2, pool5  3x3, stride 2, rounded up
conv2                5x5, stride 1, padding 2, groups 2
mapnorm2             size 5, alpha 0.001, beta 0.75
conv3                3x3, stride 1, padding 1
conv4, conv5         3x3, stride 1, padding 1, groups 2
drop6, drop7         p 0.5, in a test times 1 - p"""


def test_the_program_of_2012_in_words():
    table, alpha = settings_text(zoo.network("alexnet-2012-source")).split("\n\n")
    assert (table, alpha) == (SOURCE, ALPHA)


def test_the_paper_s_alpha_is_what_the_words_say():
    """Torch's, over size, is the paper's coefficient of the plain sum; the program's is a fifth of it."""
    paper, program = (
        next(r for r in zoo.network(n).rows if isinstance(r, rows.LRN))
        for n in ("alexnet-2012", "alexnet-2012-source")
    )
    assert math.isclose(paper.alpha / paper.size, 1e-4)
    assert math.isclose(program.alpha / program.size, 2e-5)
    assert "its 0.0001 is 0.0005 here, of size 5" in ALPHA


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_a_row_is_built_again_from_its_card_and_the_text_stays_narrow(name):
    network = zoo.network(name)
    values = cards.network_card(network)
    card = json.loads(json.dumps(values))
    for row, layer in zip(network.rows, card["layers"], strict=True):
        assert replace(row, **layer["settings"]) == row
        assert set(layer["settings"]) == set(settings(row))
    text = cards.network_text(network, values)
    assert f"\nInitialised: {network.init}\nSource: {network.source}" in text
    said = settings_text(network)
    assert said in text
    assert max(map(len, said.splitlines())) <= 100
    rates = {row.p for row in network.rows if isinstance(row, rows.Dropout)}
    assert all(f"p {rate:g}" in said for rate in rates)
