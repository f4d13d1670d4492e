"""Eight layers with what came after 2012: AlexNet's shape, five convolutions and three dense, and another."""

from __future__ import annotations

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
GELU_WIDTHS = (24, 64, 128, 160, 160)  # filters of conv1 to conv5 of alexnet-cifar-gelu
GELU_DENSE = 256
GELU_DROPOUT = 0.1
WIDE = (56, 256, 512, 512, 512)  # filters of conv1 to conv5 of alexnet-cifar-wide
WIDE_DENSE = (1024, 512)
WIDE_DROPOUT = 0.1
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


def _normed(n: int, activation: str) -> tuple[Row, ...]:
    # A short run needs running statistics that follow quickly.
    return BatchNorm(f"norm{n}", momentum=0.4, scale=False), ACTIVATIONS[activation](
        f"{activation}{n}"
    )


def alexnet_cifar_gelu() -> Network:
    """Build AlexNet's shape for 32x32 with what the speed records taught: minutes on two cores.

    Other than ``alexnet-cifar``: the second convolution still sees every pixel, behind fewer whitening
    filters; GELU; convolutions start as the identity; dense layers of half the width, which Muon's
    products take a quarter of the time for.
    """
    pooled = (2, 3, 5)

    def block(n: int, width: int) -> tuple[Row, ...]:
        conv = Conv(f"conv{n}", channels=width, kernel=3, padding=1, bias=False)
        pool = (MaxPool(f"pool{n}", kernel=3, stride=2),) if n in pooled else ()
        return (conv, *pool, *_normed(n, "gelu"))

    def dense(n: int) -> tuple[Row, ...]:
        layer = Dense(f"fc{n}", units=GELU_DENSE, bias=False)
        return (layer, *_normed(n, "gelu"), Dropout(f"drop{n}", p=GELU_DROPOUT))

    rows = (
        Conv("conv1", channels=GELU_WIDTHS[0], kernel=3, padding=1, bias=False, whitening=True),
        GELU("gelu1"),
        *(row for n, width in enumerate(GELU_WIDTHS[1:], start=2) for row in block(n, width)),
        Flatten("flatten"),
        *(row for n in (6, 7) for row in dense(n)),
        Dense("fc8", units=10, bias=False),
    )
    return Network(
        name="alexnet-cifar-gelu",
        rows=rows,
        size=32,
        init="dirac",
        summary="AlexNet's shape for 32x32 with what the speed records taught",
        source="this package; pieces after Jordan (2024)",
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
    rows = (
        Conv("conv1", channels=WIDE[0], kernel=3, padding=1, whitening=True),
        GELU("gelu1"),
        *(row for n, width in enumerate(WIDE[1:], start=2) for row in _wide_block(n, width, last)),
        Flatten("flatten"),
        *(row for n, units in enumerate(WIDE_DENSE, start=6) for row in _wide_dense(n, units)),
        Dense("fc8", units=10, bias=False),
    )
    summary = f"five wide convolutions and three dense layers for 32x32, {told}"
    return Network(name, rows, 32, "dirac", summary, "this package; pieces after Jordan (2024)")


def _wide_block(n: int, width: int, last: MaxPool) -> tuple[Row, ...]:
    conv = Conv(f"conv{n}", channels=width, kernel=3, padding=1, bias=False)
    pools = {
        2: MaxPool("pool2", kernel=3, stride=2),
        4: MaxPool("pool4", kernel=3, stride=2),
        5: last,
    }
    return (conv, *((pools[n],) if n in pools else ()), *_wide_normed(n))


def _wide_dense(n: int, units: int) -> tuple[Row, ...]:
    dense = Dense(f"fc{n}", units=units, bias=False)
    return (dense, *_wide_normed(n), Dropout(f"drop{n}", p=WIDE_DROPOUT))


def _wide_normed(n: int) -> tuple[Row, ...]:
    return BatchNorm(f"norm{n}", scale=False), GELU(f"gelu{n}")
