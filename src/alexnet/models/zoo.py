"""The AlexNet family, one table each.

Adding a network is adding one function here and one row of expected counts to
``tests/models/test_zoo.py``.
"""

from __future__ import annotations

from collections.abc import Callable

from alexnet.errors import UnknownName, UsageError
from alexnet.models.table import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    ReLU,
    Row,
)


def keras_lab() -> Network:
    """Build the table of a published Keras lab: batch norm after the ReLU of conv 1, 2 and 5."""

    def norm(name: str) -> BatchNorm:
        # Keras's defaults: momentum .99, epsilon 1e-3, biased running variance.
        return BatchNorm(name, momentum=0.01, eps=1e-3, unbiased=False)

    rows: tuple[Row, ...] = (
        Conv("conv1", channels=96, kernel=11, stride=4),
        ReLU("relu1"),
        norm("norm1"),
        MaxPool("pool1", kernel=3, stride=2),
        Conv("conv2", channels=256, kernel=5, padding=2),
        ReLU("relu2"),
        norm("norm2"),
        MaxPool("pool2", kernel=3, stride=2),
        Conv("conv3", channels=384, kernel=3, padding=1),
        ReLU("relu3"),
        Conv("conv4", channels=384, kernel=3, padding=1),
        ReLU("relu4"),
        Conv("conv5", channels=256, kernel=3, padding=1),
        ReLU("relu5"),
        norm("norm5"),
        MaxPool("pool5", kernel=3, stride=2),
        Flatten("flatten"),
        Dense("fc6", units=4096),
        ReLU("relu6"),
        Dropout("drop6", p=0.5),
        Dense("fc7", units=4096),
        ReLU("relu7"),
        Dropout("drop7", p=0.5),
        Dense("fc8", units=10),
    )
    return Network(
        name="keras-lab",
        rows=rows,
        size=227,
        init="keras",
        summary="one-tower AlexNet with three batch norms, as a Keras lab published it for CIFAR-10",
        source="a Keras Sequential lab on CIFAR-10 (see `alexnet show keras-lab`)",
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
    "alexnet-cifar": alexnet_cifar,
    "keras-lab": keras_lab,
}


def network(name: str, *, classes: int = 10) -> Network:
    """Return the table called ``name`` with ``classes`` outputs (2 or more).

    Raises ``UnknownName`` with the closest match, ``UsageError`` for fewer than two classes.
    """
    if name not in NETWORKS:
        raise UnknownName("network", name, NETWORKS)
    if classes < 2:
        raise UsageError(f"a classifier needs at least 2 classes, got {classes}")
    return NETWORKS[name]().with_classes(classes)
