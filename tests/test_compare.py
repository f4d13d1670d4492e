"""Two networks side by side."""

from alexnet.models import zoo
from alexnet.reporting.compare import compare
from alexnet.reporting.layer_text import ALPHA


def differences(first, second):
    found = compare(zoo.network(first), zoo.network(second))[1]["differences"]
    return {d["where"]: (d["first"], d["second"]) for d in found}


def test_the_paper_and_the_program():
    """What the table of facts lists, found from the two tables alone."""
    assert differences("alexnet-2012", "alexnet-2012-source") == {
        "init": ("paper", "2012"),
        "relu1 comes after": ("conv1", "pool1"),
        "norm1 alpha": (5e-4, 1e-4),
        "norm1 towers": (1, 2),
        "norm2 alpha": (5e-4, 1e-4),
        "norm2 towers": (1, 2),
        "mapnorm2": ("absent", "MapNorm there"),
        "pool5 comes after": ("relu5", "conv5"),
        "pool1 ceil": (False, True),
        "pool2 ceil": (False, True),
        "pool5 ceil": (False, True),
    }


def test_moving_one_row_is_said_once():
    found = differences("bvlc-alexnet", "caffenet")
    assert found["init"] == ("bvlc", "caffenet")
    moved = {"pool1 comes after", "norm1 comes after", "pool2 comes after", "norm2 comes after"}
    assert len(found.keys() & moved) == 2


def test_sizes_widths_and_totals():
    found = differences("alexnet-2012", "owt")
    assert found["conv1 channels"] == (96, 64)
    assert found["parameters"] == (60_965_224, 61_100_840)


def test_what_a_moved_row_does_otherwise_is_said_too():
    found = differences("alexnet-2012", "owt")
    assert found["drop6 comes after"] == ("relu6", "flatten")
    assert found["drop6 classic"] == (True, False)


def test_the_text_marks_what_differs_and_shows_towers():
    text, _ = compare(zoo.network("alexnet-2012"), zoo.network("owt"))
    marked = {line.split()[1]: line for line in text.splitlines() if line.startswith("*")}
    assert "885,120 params" in marked["conv3"], "fewer maps come in"
    assert "Conv2D, 2 towers 256x27x27" in marked["conv2"]
    assert "  parameters: 60,965,224 / 61,100,840" in text.splitlines()


def test_whose_alpha_it_is_is_said_where_it_differs():
    text, _ = compare(zoo.network("alexnet-2012"), zoo.network("alexnet-2012-source"))
    assert "  norm1 alpha: 0.0005 / 0.0001" in text.splitlines()
    assert text.endswith(ALPHA)
    assert ALPHA not in compare(zoo.network("alexnet-2012"), zoo.network("owt"))[0]


def test_a_network_beside_itself_has_no_difference():
    text, values = compare(zoo.network("owt"), zoo.network("owt"))
    assert values["differences"] == []
    assert "0 differences" in text
    assert not any(line.startswith("*") for line in text.splitlines())
