"""Two networks side by side."""

from alexnet.models import zoo
from alexnet.reporting.compare import compare


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


def test_a_network_beside_itself_has_no_difference():
    text, values = compare(zoo.network("owt"), zoo.network("owt"))
    assert values["differences"] == []
    assert "0 differences" in text
    assert not any(line.startswith("*") for line in text.splitlines())
