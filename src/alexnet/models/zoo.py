"""The AlexNet family, one table each.

Adding a network is adding one function here and one row of expected counts to
``tests/models/test_zoo.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from alexnet.errors import UnknownName, UsageError
from alexnet.models import cuda_convnet, modern, paper, skip, small
from alexnet.models.rows import LRN, BatchNorm, Conv, Dense, Dropout, Flatten, MaxPool, ReLU, Row
from alexnet.models.table import Network


def _keras(name: str, normed: str, summary: str, source: str) -> Network:
    """Build the ungrouped 96-256-384-384-256 net with Keras's batch norm behind some layers."""

    def block(n: int, conv: Conv, *, pool: bool) -> tuple[Row, ...]:
        # Keras's defaults: momentum .99, epsilon 1e-3, biased running variance.
        norm = BatchNorm(f"norm{n}", momentum=0.01, eps=1e-3, unbiased=False)
        rows = (conv, ReLU(f"relu{n}"), *((norm,) if str(n) in normed else ()))
        return (*rows, MaxPool(f"pool{n}", kernel=3, stride=2)) if pool else rows

    rows = (
        *block(1, Conv("conv1", channels=96, kernel=11, stride=4), pool=True),
        *block(2, Conv("conv2", channels=256, kernel=5, padding=2), pool=True),
        *block(3, Conv("conv3", channels=384, kernel=3, padding=1), pool=False),
        *block(4, Conv("conv4", channels=384, kernel=3, padding=1), pool=False),
        *block(5, Conv("conv5", channels=256, kernel=3, padding=1), pool=True),
        *paper.dense_layers(10),
    )
    return Network(name, rows, size=227, init="keras", summary=summary, source=source)


def keras_lab() -> Network:
    """Build the table of a published Keras lab: batch norm after the ReLU of conv 1, 2 and 5."""
    return _keras(
        "keras-lab",
        normed="125",
        summary="one-tower AlexNet with three batch norms, as a Keras lab published it for CIFAR-10",
        source="a Keras Sequential lab on CIFAR-10 (see the recipe of the same name)",
    )


def keras_bn5() -> Network:
    """Build the same with batch norm after each of the five convolutions."""
    return _keras(
        "keras-bn5",
        normed="12345",
        summary="one-tower AlexNet with a batch norm after every convolution",
        source="two published tf.keras programs, at 227x227 and at 128x128",
    )


def torch_lrn() -> Network:
    """Build a published PyTorch program's net: pool before response normalisation, no batch norm."""

    def norm(name: str) -> LRN:
        return LRN(name, size=5, alpha=1e-4, beta=0.75, k=2.0)

    rows: tuple[Row, ...] = (
        Conv("conv1", channels=96, kernel=11, stride=4),
        ReLU("relu1"),
        MaxPool("pool1", kernel=3, stride=2),
        norm("norm1"),
        Conv("conv2", channels=256, kernel=5, padding=2),
        ReLU("relu2"),
        MaxPool("pool2", kernel=3, stride=2),
        norm("norm2"),
        *paper.upper_convolutions(groups=(1, 1, 1)),
        *paper.dense_layers(10),
    )
    return Network(
        "torch-lrn",
        rows,
        size=227,
        init="torch",
        summary="one-tower AlexNet with response normalisation behind the pools, for CIFAR-10",
        source="a published PyTorch program on CIFAR-10",
    )


def alexnet_cifar() -> Network:
    """Build AlexNet's shape for 32x32: five convolutions, three dense layers, overlapping pools.

    Three things differ from 2012 and make it quick. The first filters whiten their patches and are
    not learned, so that nothing flows back through the largest maps. Each pool stands before norm
    and ReLU, which then touch a quarter of the values. Batch norm replaces response normalisation;
    its scale stays 1, since the layer behind it can scale as well.
    """

    def norm(name: str) -> BatchNorm:
        # A short run needs running statistics that follow quickly.
        return BatchNorm(name, momentum=0.4, scale=False)

    def block(n: int, channels: int, *, pool: bool, whitening: bool = False) -> tuple[Row, ...]:
        conv = Conv(
            f"conv{n}", channels=channels, kernel=3, padding=1, bias=False, whitening=whitening
        )
        pools = (MaxPool(f"pool{n}", kernel=3, stride=2),) if pool else ()
        return (conv, *pools, norm(f"norm{n}"), ReLU(f"relu{n}"))

    def dense(n: int, units: int) -> tuple[Row, ...]:
        return (
            Dense(f"fc{n}", units=units, bias=False),
            norm(f"norm{n}"),
            ReLU(f"relu{n}"),
            Dropout(f"drop{n}", p=0.1),
        )

    rows = (
        *block(1, 64, pool=True, whitening=True),
        *block(2, 96, pool=True),
        *block(3, 160, pool=False),
        *block(4, 160, pool=False),
        *block(5, 160, pool=True),
        Flatten("flatten"),
        *dense(6, 512),
        *dense(7, 512),
        Dense("fc8", units=10),
    )
    return Network(
        name="alexnet-cifar",
        rows=rows,
        size=32,
        init="torch",
        summary="AlexNet's shape (five convolutions, three dense layers, overlapping pools) for 32x32",
        source="this package; the first layer and the update rule after Jordan (2024)",
    )


NETWORKS: dict[str, Callable[[], Network]] = {
    "alexnet-2012": paper.alexnet_2012,
    "alexnet-2012-source": paper.alexnet_2012_source,
    "alexnet-bn": modern.alexnet_bn,
    "alexnet-cifar": alexnet_cifar,
    "alexnet-cifar-gelu": modern.alexnet_cifar_gelu,
    "alexnet-cifar-wide": modern.alexnet_cifar_wide,
    "alexnet-cifar-wide-global": modern.alexnet_cifar_wide_global,
    "alexnet-small": small.alexnet_small,
    "alexnet-small-no-lrn": small.alexnet_small_no_lrn,
    "alexnet-small-pool2": small.alexnet_small_pool2,
    "bvlc-alexnet": paper.bvlc_alexnet,
    "caffenet": paper.caffenet,
    "cifar-eight": modern.cifar_eight,
    "cifar-eight-gelu": modern.cifar_eight_gelu,
    "cuda-convnet-11pct": cuda_convnet.conv_local_11pct,
    "cuda-convnet-13pct": cuda_convnet.conv_local_13pct,
    "cuda-convnet-18pct": cuda_convnet.layers_18pct,
    "cuda-convnet-19pct": cuda_convnet.layers_19pct,
    "cuda-convnet-80sec": cuda_convnet.layers_80sec,
    "keras-bn5": keras_bn5,
    "keras-lab": keras_lab,
    "one-tower": paper.one_tower,
    "owt": paper.owt,
    "owt-skip": skip.owt_skip,
    "owt-skip-as-published": skip.owt_skip_as_published,
    "torch-lrn": torch_lrn,
}


def network(name: str, *, classes: int | None = None) -> Network:
    """Return the table called ``name``, with ``classes`` outputs (2 or more; None: as published).

    Raises ``UnknownName`` with the closest match, ``UsageError`` for fewer than two classes.
    """
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    if classes is None:
        return NETWORKS[name]()
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, got {classes}")
    return NETWORKS[name]().with_classes(classes)
