"""Eight layers with what came after 2012: AlexNet's shape, five convolutions and three dense, and another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alexnet.models.rows import (
    GELU,
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
EIGHT = (64, 256, 256)  # filters of the three pairs of convolutions of cifar-eight
QUICKLY = 0.4  # how running statistics follow in a short run
SLOWLY = 0.1
ACTIVATIONS: dict[str, type[ReLU | GELU]] = {"relu": ReLU, "gelu": GELU}


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


def cifar_eight() -> Network:
    """Build the shape of the public speed records on CIFAR-10: seven convolutions, one dense layer.

    After Jordan (2024), "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", section 3: filters of 2x2
    that whiten their patches and are not learned, three pairs of 3x3 convolutions with a pool inside
    each, batch norms whose scale stays 1. Other than there: ReLU for GELU, no bias behind the first
    layer, and 32 first filters for 24, a width that processors like; the last eight stay random.
    """
    numbered = enumerate(EIGHT)
    rows = (
        Conv("conv1", channels=32, kernel=2, bias=False, whitening=True),
        ReLU("relu1"),
        *(row for n, width in numbered for row in _pair(2 * n + 2, width)),
        MaxPool("pool8", kernel=3, stride=3),
        Flatten("flatten"),
        Dense("fc8", units=10, bias=False),
    )
    return Network(
        name="cifar-eight",
        rows=rows,
        size=32,
        init="torch",
        summary="seven convolutions and one dense layer for 32x32, the shape of the speed records",
        source="Jordan 2024, arXiv 2404.00498, with ReLU",
    )


def cifar_eight_gelu() -> Network:
    """Build ``cifar-eight`` as published: GELU, 24 whitening filters with a learned bias, identities.

    The program divides its logits by 256; here the head starts 256 times as small (``init.py``).
    """
    rows = (
        Conv("conv1", channels=24, kernel=2, whitening=True),
        GELU("gelu1"),
        *(row for n, width in enumerate(EIGHT) for row in _pair(2 * n + 2, width, "gelu")),
        MaxPool("pool8", kernel=3, stride=3),
        Flatten("flatten"),
        Dense("fc8", units=10, bias=False),
    )
    return Network(
        name="cifar-eight-gelu",
        rows=rows,
        size=32,
        init="dirac",
        summary="seven convolutions and one dense layer for 32x32, as the speed records have them",
        source="Jordan 2024, arXiv 2404.00498, and airbench94_muon.py",
    )


def _pair(n: int, width: int, activation: str = "relu") -> tuple[Row, ...]:
    return (
        Conv(f"conv{n}", channels=width, kernel=3, padding=1, bias=False),
        MaxPool(f"pool{n}", kernel=2, stride=2),
        *_normed(n, activation),
        Conv(f"conv{n + 1}", channels=width, kernel=3, padding=1, bias=False),
        *_normed(n + 1, activation),
    )


def _normed(n: int, activation: str, momentum: float = QUICKLY) -> tuple[Row, ...]:
    norm = BatchNorm(f"norm{n}", momentum=momentum, scale=False)
    return norm, ACTIVATIONS[activation](f"{activation}{n}")


def alexnet_cifar_gelu() -> Network:
    """Build AlexNet's shape for 32x32 with what the speed records taught: minutes on two cores.

    Other than ``alexnet-cifar``: the second convolution still sees every pixel, behind fewer whitening
    filters; GELU; convolutions start as the identity; dense layers of half the width, which Muon's
    products take a quarter of the time for.
    """
    return _gelu(
        "alexnet-cifar-gelu",
        "AlexNet's shape for 32x32 with what the speed records taught",
        _Form(
            widths=(24, 64, 128, 160, 160),
            pools={n: MaxPool(f"pool{n}", kernel=3, stride=2) for n in (2, 3, 5)},
            dense=(256, 256),
            dropout=0.1,
            bias=False,
            momentum=QUICKLY,
        ),
    )


def alexnet_cifar_wide() -> Network:
    """Build AlexNet's shape for 32x32 with the most that one large GPU does in a minute or two.

    Whitening filters with a learned bias, all 54 that a 3x3 patch has and two random ones; then four
    convolutions wide enough that the dense layers see 512 maps. The first two share a resolution:
    of 32 pixels there are few to pool away.
    """
    return _wide("alexnet-cifar-wide", MaxPool("pool5", kernel=3, stride=2), "overlapping pools")


def alexnet_cifar_wide_global() -> Network:
    """Build the same with the maximum over each whole map before the dense layers."""
    pool = MaxPool("pool5", kernel=7, stride=7)
    return _wide("alexnet-cifar-wide-global", pool, "a global last pool")


def _wide(name: str, last: MaxPool, told: str) -> Network:
    return _gelu(
        name,
        f"five wide convolutions and three dense layers for 32x32, {told}",
        _Form(
            widths=(56, 256, 512, 512, 512),
            pools={n: MaxPool(f"pool{n}", kernel=3, stride=2) for n in (2, 4)} | {5: last},
            dense=(1024, 512),
            dropout=0.1,
            bias=True,
            momentum=SLOWLY,
        ),
    )


@dataclass(frozen=True)
class _Form:
    """What two networks of one build differ in. ``bias``: a learned one behind the whitening filters."""

    widths: tuple[int, ...]  # filters of conv1 to conv5
    pools: Mapping[int, MaxPool]  # by the number of the convolution before
    dense: tuple[int, ...]  # units of fc6 and fc7
    dropout: float
    bias: bool
    momentum: float  # of the norms


def _gelu(name: str, summary: str, form: _Form) -> Network:
    """Build five 3x3 convolutions, the first of which whitens, and three dense layers, with GELU."""

    def block(n: int, width: int) -> tuple[Row, ...]:
        conv = Conv(f"conv{n}", channels=width, kernel=3, padding=1, bias=False)
        pool = (form.pools[n],) if n in form.pools else ()
        return (conv, *pool, *_normed(n, "gelu", form.momentum))

    def dense(n: int, units: int) -> tuple[Row, ...]:
        layer = Dense(f"fc{n}", units=units, bias=False)
        return (
            layer,
            *_normed(n, "gelu", form.momentum),
            Dropout(f"drop{n}", p=form.dropout),
        )

    first, *others = form.widths
    rows = (
        Conv("conv1", channels=first, kernel=3, padding=1, bias=form.bias, whitening=True),
        GELU("gelu1"),
        *(row for n, width in enumerate(others, start=2) for row in block(n, width)),
        Flatten("flatten"),
        *(row for n, units in enumerate(form.dense, start=6) for row in dense(n, units)),
        Dense("fc8", units=10, bias=False),
    )
    return Network(name, rows, 32, "dirac", summary, "this package; pieces after Jordan (2024)")
