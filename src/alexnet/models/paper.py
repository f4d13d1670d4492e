"""The network of 2012 and its close relatives, for ImageNet's thousand classes.

Two towers are two groups: conv2, conv4 and conv5 see their own tower, conv3 and the dense layers
both. 224 pixels become 55 positions only if the last window may hang over the edge by three pixels
(``ceil``), as the winning program's did; Caffe cuts 227 instead. The pools of both may hang over too,
which shows at other sizes than theirs.
"""

from __future__ import annotations

from alexnet.models.rows import (
    LRN,
    AdaptiveAvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MapNorm,
    MaxPool,
    ReLU,
    Row,
)
from alexnet.models.table import Network

PAPER = "Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep CNNs, NIPS 2012"
PROGRAM = "the program as it won in 2012, published 2025: layers-145.cfg and its parameters"


def upper_convolutions(groups: tuple[int, int, int], *, ceil: bool = False) -> tuple[Row, ...]:
    """Return conv3 to pool5 with their ReLUs; ``groups`` of conv3, conv4 and conv5, ``ceil`` of pool5."""
    third, fourth, fifth = groups
    return (
        Conv("conv3", channels=384, kernel=3, padding=1, groups=third),
        ReLU("relu3"),
        Conv("conv4", channels=384, kernel=3, padding=1, groups=fourth),
        ReLU("relu4"),
        Conv("conv5", channels=256, kernel=3, padding=1, groups=fifth),
        ReLU("relu5"),
        _pool(5, ceil=ceil),
    )


def dense_layers(classes: int, *, classic: bool = False) -> tuple[Row, ...]:
    """Return the two hidden dense layers, each with dropout behind it, and the classifier."""
    return (
        Flatten("flatten"),
        Dense("fc6", units=4096),
        ReLU("relu6"),
        Dropout("drop6", p=0.5, classic=classic),
        Dense("fc7", units=4096),
        ReLU("relu7"),
        Dropout("drop7", p=0.5, classic=classic),
        Dense("fc8", units=classes),
    )


def alexnet_2012() -> Network:
    """Build the network as the paper's text says (sections 3 and 5)."""

    def norm(n: int) -> LRN:
        # alpha = 1e-4 multiplies the plain sum over N = 5 kernel maps: 5e-4 in torch's convention.
        return LRN(f"norm{n}", size=5, alpha=5e-4, beta=0.75, k=2.0)

    rows = (
        Conv("conv1", channels=96, kernel=11, stride=4, ceil=True),
        ReLU("relu1"),
        norm(1),
        _pool(1),
        Conv("conv2", channels=256, kernel=5, padding=2, groups=2),
        ReLU("relu2"),
        norm(2),
        _pool(2),
        *upper_convolutions(groups=(1, 2, 2)),
        *dense_layers(1000, classic=True),
    )
    about = "the network of the 2012 paper, as its text says: two towers, 60,965,224 parameters"
    return Network("alexnet-2012", rows, size=224, init="paper", summary=about, source=PAPER)


def alexnet_2012_source() -> Network:
    """Build the network as the winning program ran it.

    Against the text: the first layer normalises the signed values and rectifies behind the pool,
    the response window stays inside a tower with a fifth of the strength, a second normalisation
    within each map follows it in layer 2, and conv3 to conv5 start with deviation .03. Pools round up as
    convolutions do, which changes nothing at 224 (layer.py).
    """

    def norm(n: int) -> LRN:
        return LRN(f"norm{n}", size=5, alpha=1e-4, beta=0.75, k=2.0, towers=2)

    *lower, _, fifth_pool = upper_convolutions(groups=(1, 2, 2), ceil=True)
    rows = (
        Conv("conv1", channels=96, kernel=11, stride=4, ceil=True),
        norm(1),
        _pool(1, ceil=True),
        ReLU("relu1"),
        Conv("conv2", channels=256, kernel=5, padding=2, groups=2),
        ReLU("relu2"),
        norm(2),
        MapNorm("mapnorm2", size=5, alpha=1e-3, beta=0.75),
        _pool(2, ceil=True),
        *lower,
        fifth_pool,
        ReLU("relu5"),
        *dense_layers(1000, classic=True),
    )
    about = "the network as the winning program ran it, which is not quite what the paper says"
    return Network(
        "alexnet-2012-source", rows, size=224, init="2012", summary=about, source=PROGRAM
    )


def bvlc_alexnet() -> Network:
    """Build Caffe's replication: as the paper, with k = 1, at 227 pixels."""
    about = "Caffe's replication of AlexNet: two groups, response normalisation before the pool"
    return _caffe("bvlc-alexnet", "bvlc", about, "models/bvlc_alexnet", norm_first=True)


def caffenet() -> Network:
    """Build Caffe's variant: the pool comes before the response normalisation."""
    about = "Caffe's reference net: AlexNet with the pool before response normalisation"
    return _caffe("caffenet", "caffenet", about, "models/bvlc_reference_caffenet", norm_first=False)


def one_tower() -> Network:
    """Build the two towers joined into one: the same widths without groups."""
    rows = (
        Conv("conv1", channels=96, kernel=11, stride=4),
        ReLU("relu1"),
        _pool(1),
        Conv("conv2", channels=256, kernel=5, padding=2),
        ReLU("relu2"),
        _pool(2),
        *upper_convolutions(groups=(1, 1, 1)),
        *dense_layers(1000),
    )
    about = "96-256-384-384-256 without groups and without normalisation"
    return Network("one-tower", rows, size=227, init="torch", summary=about, source=PAPER)


def owt() -> Network:
    """Build the one-tower network of 2014 as torchvision has it.

    Dropout stands before the dense layers; the last maps are averaged to 6x6, so that the same
    weights fit every size (at 224 they are 6x6 already).
    """
    rows = (
        Conv("conv1", channels=64, kernel=11, stride=4, padding=2),
        ReLU("relu1"),
        _pool(1),
        Conv("conv2", channels=192, kernel=5, padding=2),
        ReLU("relu2"),
        _pool(2),
        Conv("conv3", channels=384, kernel=3, padding=1),
        ReLU("relu3"),
        Conv("conv4", channels=256, kernel=3, padding=1),
        ReLU("relu4"),
        Conv("conv5", channels=256, kernel=3, padding=1),
        ReLU("relu5"),
        _pool(5),
        AdaptiveAvgPool("avgpool", side=6),
        Flatten("flatten"),
        Dropout("drop6", p=0.5),
        Dense("fc6", units=4096),
        ReLU("relu6"),
        Dropout("drop7", p=0.5),
        Dense("fc7", units=4096),
        ReLU("relu7"),
        Dense("fc8", units=1000),
    )
    return Network(
        "owt",
        rows,
        size=224,
        init="torch",
        summary="the one-tower network of 2014, as torchvision has it",
        source="Krizhevsky: One weird trick for parallelizing CNNs, 2014; torchvision's alexnet",
    )


def _caffe(name: str, init: str, about: str, folder: str, *, norm_first: bool) -> Network:
    def behind(n: int) -> tuple[Row, ...]:
        # The window runs over all channels, across the groups' border.
        norm = LRN(f"norm{n}", size=5, alpha=1e-4, beta=0.75, k=1.0)
        pool = _pool(n, ceil=True)  # pooling_layer.cpp rounds up, conv_layer.cpp down
        return (norm, pool) if norm_first else (pool, norm)

    rows = (
        Conv("conv1", channels=96, kernel=11, stride=4),
        ReLU("relu1"),
        *behind(1),
        Conv("conv2", channels=256, kernel=5, padding=2, groups=2),
        ReLU("relu2"),
        *behind(2),
        *upper_convolutions(groups=(1, 2, 2), ceil=True),
        *dense_layers(1000),
    )
    source = f"BVLC/caffe, {folder}/train_val.prototxt"
    return Network(name, rows, size=227, init=init, summary=about, source=source)


def _pool(n: int, *, ceil: bool = False) -> MaxPool:
    return MaxPool(f"pool{n}", kernel=3, stride=2, ceil=ceil)
