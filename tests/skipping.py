"""A small network with a skip connection, in the two readings of owt-skip, for 32x32 pictures."""

from __future__ import annotations

from alexnet.models import zoo
from alexnet.models.rows import AdaptiveAvgPool, Conv, Dense, Flatten, MaxPool, ReLU, Row
from alexnet.models.table import Network
from alexnet.models.wiring import Add


def trained() -> Network:
    """The branch behind a ReLU, with a convolution of its own."""
    branch = (_mean("relu2"), Conv("skipconv", channels=8, kernel=1))
    return _with("skip-trained", branch)


def plain() -> Network:
    """The branch before the ReLU, with nothing to train."""
    return _with("skip-plain", (_mean("conv2"),))


def _mean(of: str) -> AdaptiveAvgPool:
    return AdaptiveAvgPool("skippool", side=7, reads=of)


def _with(name: str, branch: tuple[Row, ...]) -> Network:
    rows = (
        Conv("conv1", channels=6, kernel=3, padding=1),
        ReLU("relu1"),
        MaxPool("pool1", kernel=3, stride=2),
        Conv("conv2", channels=8, kernel=3, padding=1),
        ReLU("relu2"),
        Conv("conv3", channels=8, kernel=3, padding=1),
        ReLU("relu3"),
        MaxPool("pool3", kernel=3, stride=2),
        *branch,
        Add("skip", other="pool3"),
        Flatten("flatten"),
        Dense("fc4", units=10),
    )
    return Network(name, rows, size=32, init="he", summary="", source="")


NETWORKS = {"skip-trained": trained, "skip-plain": plain}


def register() -> None:
    """Let recipes name them, in this process."""
    zoo.NETWORKS.update(NETWORKS)
