"""The one-tower network of 2014 with a skip connection from conv4 to the last map, in two readings.

A published PyTorch program on CIFAR-10 added one to torchvision's ``alexnet``. Both maps must be 6x6
where they are added: pictures of 223 to 254 pixels, its own 224 and 227 among them. At 128 the
program stops with an error; at 64 it spreads a single value over 36 places unnoticed.
"""

from __future__ import annotations

from dataclasses import replace

from alexnet.models import paper
from alexnet.models.rows import AdaptiveAvgPool, Conv, Row
from alexnet.models.table import Network
from alexnet.models.wiring import Add

SOURCE = "a published PyTorch program on CIFAR-10, built on torchvision's alexnet"


def owt_skip() -> Network:
    """Build the corrected reading: the map that enters conv5, by a trained 1x1 convolution.

    The program averages to 6x6 behind that convolution. A mean over positions and a 1x1 convolution
    commute, so here it stands first: the same function at a fifth of the multiply-adds, and less
    to keep of a picture where the convolutions are frozen.
    """
    branch = (_mean("relu4"), Conv("skipconv", channels=256, kernel=1))
    about = "owt with a skip connection: conv4 behind its ReLU, by a trained 1x1 convolution"
    return _owt_with("owt-skip", branch, about)


def owt_skip_as_published() -> Network:
    """Build what the program computes: conv4 before its ReLU, with no convolution of its own.

    Its 1x1 convolution is made but never called. The features may therefore be negative.
    """
    about = "owt with a skip connection as a program published it: conv4 before its ReLU, as it is"
    return _owt_with("owt-skip-as-published", (_mean("conv4"),), about)


def _mean(of: str) -> AdaptiveAvgPool:
    return AdaptiveAvgPool("skippool", side=6, reads=of)


def _owt_with(name: str, branch: tuple[Row, ...], about: str) -> Network:
    owt = paper.owt()
    behind = 1 + [row.name for row in owt.rows].index("pool5")
    rows = (*owt.rows[:behind], *branch, Add("skip", other="pool5"), *owt.rows[behind:])
    return replace(owt, name=name, rows=rows, summary=about, source=SOURCE)
