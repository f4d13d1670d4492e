"""AlexNet's shape, five convolutions and three dense layers, with what came after 2012."""

from __future__ import annotations

from alexnet.models.rows import (
    AdaptiveAvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    ReLU,
    Row,
)
from alexnet.models.table import Network

WIDTHS = (64, 128, 256, 256, 256)  # filters of conv1 to conv5
KERNELS = (7, 3, 3, 3, 3)
POOLED = (1, 2, 5)
SQUARE = 3  # side of the map that the dense layers see, whatever the picture's
DENSE = (512, 512)
DROPOUT = 0.3


def alexnet_bn() -> Network:
    """Build the table for photographs of any size, 64 to 224 pixels.

    As in ``alexnet-cifar``, each pool stands before norm and ReLU, which then touch a quarter of the
    values, and a norm's scale stays 1. The mean over windows before the dense layers makes the
    weights fit pictures of any size, so that a run may begin with small ones.
    """
    numbered = enumerate(zip(WIDTHS, KERNELS, strict=True), start=1)
    rows = (
        *(row for n, (width, kernel) in numbered for row in _block(n, width, kernel)),
        AdaptiveAvgPool("avgpool", side=SQUARE),
        Flatten("flatten"),
        *(row for n, units in enumerate(DENSE, start=6) for row in _dense(n, units)),
        Dense("fc8", units=1000),
    )
    return Network(
        name="alexnet-bn",
        rows=rows,
        size=128,
        init="torch",
        summary="AlexNet's shape with batch norm and a finer first layer, for photographs",
        source="this package; batch norm after Ioffe and Szegedy (2015)",
    )


def _block(n: int, width: int, kernel: int) -> tuple[Row, ...]:
    conv = Conv(
        f"conv{n}",
        channels=width,
        kernel=kernel,
        stride=2 if n == 1 else 1,
        padding=kernel // 2,
        bias=False,
    )
    pool = (MaxPool(f"pool{n}", kernel=3, stride=2),) if n in POOLED else ()
    return (conv, *pool, BatchNorm(f"norm{n}", scale=False), ReLU(f"relu{n}"))


def _dense(n: int, units: int) -> tuple[Row, ...]:
    return (
        Dense(f"fc{n}", units=units, bias=False),
        BatchNorm(f"norm{n}", scale=False),
        ReLU(f"relu{n}"),
        Dropout(f"drop{n}", p=DROPOUT),
    )
