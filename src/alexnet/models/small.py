"""The network of the paper at a third to a quarter of its width, to try its choices in minutes.

Of the three tables one keeps every choice of 2012 and the others drop one each: response
normalisation, or the overlap of the pools. A picture of 128 pixels has an odd side before every pool
(31, 15, 7), as 224 has in the paper (55, 27, 13): there a window of 2 leaves as many positions as an
overlapping one of 3, and the dense layers stay the same.
"""

from __future__ import annotations

from alexnet.models.rows import LRN, Conv, Dense, Dropout, Flatten, MaxPool, ReLU, Row
from alexnet.models.table import Network

UNIT = 58  # levels, of 0..255, that the recipe divides a picture by
# The paper's 1e-4 is for maps of pictures in levels; maps of pictures in units are 58 times smaller,
# and alpha multiplies their squares. 5: torch's alpha is divided by the size of the window.
ALPHA = 5 * 1e-4 * UNIT**2
SOURCE = "this package; the choices after Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3"


def alexnet_small() -> Network:
    """Build the small table with every choice of the paper."""
    return _network("alexnet-small", "the network of the paper, small", normed=True, pool=3)


def alexnet_small_no_lrn() -> Network:
    """Build the same without response normalisation (section 3.3)."""
    about = "alexnet-small without response normalisation"
    return _network("alexnet-small-no-lrn", about, normed=False, pool=3)


def alexnet_small_pool2() -> Network:
    """Build the same with pools that do not overlap (section 3.4)."""
    about = "alexnet-small with 2x2 pools, which do not overlap"
    return _network("alexnet-small-pool2", about, normed=True, pool=2)


def _network(name: str, about: str, *, normed: bool, pool: int) -> Network:
    def behind(n: int) -> tuple[Row, ...]:
        norm = (LRN(f"norm{n}", size=5, alpha=ALPHA, beta=0.75, k=2.0),) if normed else ()
        return (ReLU(f"relu{n}"), *norm, MaxPool(f"pool{n}", kernel=pool, stride=2))

    rows = (
        Conv("conv1", channels=32, kernel=11, stride=4, ceil=True),
        *behind(1),
        Conv("conv2", channels=64, kernel=5, padding=2),
        *behind(2),
        Conv("conv3", channels=96, kernel=3, padding=1),
        ReLU("relu3"),
        Conv("conv4", channels=96, kernel=3, padding=1),
        ReLU("relu4"),
        Conv("conv5", channels=64, kernel=3, padding=1),
        ReLU("relu5"),
        MaxPool("pool5", kernel=pool, stride=2),
        *_dense_layers(),
    )
    return Network(name, rows, size=128, init="he", summary=about, source=SOURCE)


def _dense_layers() -> tuple[Row, ...]:
    return (
        Flatten("flatten"),
        Dense("fc6", units=512),
        ReLU("relu6"),
        Dropout("drop6", p=0.5),
        Dense("fc7", units=512),
        ReLU("relu7"),
        Dropout("drop7", p=0.5),
        Dense("fc8", units=1000),
    )
