"""Pasted summaries: as Keras itself printed them, and as people change them."""

from __future__ import annotations

from pathlib import Path

import pytest

from alexnet.errors import DataError
from alexnet.models import zoo
from alexnet.reporting.expect import Line, check, parse

GOLDEN = Path(__file__).parent / "golden"
# Keras 3.15.1's own print of the lab's network, wide, and in 60 columns where cells wrap.
PRINTED = [GOLDEN / "keras3-summary.txt", GOLDEN / "keras3-summary-narrow.txt"]

KERAS_2 = """\
Model: "sequential"
_________________________________________________________________
 Layer (type)                Output Shape              Param #
=================================================================
 input_1 (InputLayer)        [(None, 227, 227, 3)]     0
 conv2d (Conv2D)             (None, 55, 55, 96)        34944

 activation (Activation)     (None, 55, 55, 96)        0

 batch_normalization (BatchN  (None, 55, 55, 96)       384
 ormalization)
=================================================================
Total params: 58,324,746
Trainable params: 58,323,530
Non-trainable params: 1,216
_________________________________________________________________
"""


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_kerass_own_print_matches(path):
    found = check(path, zoo.network("keras-lab"))
    assert found.differences == ()
    assert str(found).startswith("the table matches keras-lab: 17 layers")
    assert found.to_json()["matches"] is True


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_another_network_differs_where_it_differs(path):
    assert check(path, zoo.network("keras-bn5")).differences == (
        "after layer 7: absent / BatchNormalization (None, 13, 13, 384) 1,536",
        "after layer 8: absent / BatchNormalization (None, 13, 13, 384) 1,536",
        "total parameters: 58,324,746 / 58,327,818",
        "trainable parameters: 58,323,530 / 58,325,066",
        "non-trainable parameters: 1,216 / 2,752",
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "(None, 55, 55, 96)     │        34,944",
            "(None, 55, 55, 96)     │        34,945",
            "layer 1: ",
        ),
        (
            "(None, 9216)",
            "(None, 9215)",
            "layer 12: Flatten (None, 9215) 0 / Flatten (None, 9216) 0",
        ),
        ("(Flatten)", "(Flat)", "layer 12: Flat (None, 9216) 0 / absent"),
        ("58,323,530", "58,323,531", "trainable parameters: 58,323,531 / 58,323,530"),
        (
            "34,944",
            "384",
            "layer 1: Conv2D (None, 55, 55, 96) 384 / Conv2D (None, 55, 55, 96) 34,944",
        ),
    ],
)
def test_one_change_is_found(tmp_path, old, new, said):
    text = PRINTED[0].read_text(encoding="utf-8")
    assert text.count(old) == 1 or old == "(None, 9216)"
    (tmp_path / "a.txt").write_text(text.replace(old, new, 1), encoding="utf-8")
    found = check(tmp_path / "a.txt", zoo.network("keras-lab"))
    if old == "(Flatten)":
        assert found.differences == ()  # a type that was cut short, as Keras 2 does
    else:
        assert len(found.differences) == 1
        assert found.differences[0].startswith(said)


def test_keras_2_cuts_types_and_prints_activations():
    found = parse(KERAS_2)
    assert found.layers == (
        Line("Conv2D", (55, 55, 96), 34944),
        Line("BatchN", (55, 55, 96), 384),
    )
    assert found.totals == {
        "total": 58_324_746,
        "trainable": 58_323_530,
        "non-trainable": 1_216,
    }


def test_what_keras_2_cut_is_completed(tmp_path):
    (tmp_path / "a.txt").write_text(KERAS_2)
    found = check(tmp_path / "a.txt", zoo.network("keras-lab"))
    assert len(found.differences) == 15
    assert all("absent / " in line for line in found.differences)


@pytest.mark.parametrize("content", [b"", b"no table here\n", b"\xff\xfe\x00"])
def test_a_file_without_a_summary(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.txt"):
        check(tmp_path / "a.txt", zoo.network("keras-lab"))
    with pytest.raises(DataError, match=r"missing\.txt cannot be read"):
        check(tmp_path / "missing.txt", zoo.network("keras-lab"))
