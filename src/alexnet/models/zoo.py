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
    """Build AlexNet for 32x32 pictures: five convolutions, three dense, overlapping pools."""

    def block(n: int, channels: int, kernel: int, pool: bool) -> tuple[Row, ...]:
        # The batch norm behind each convolution brings the shift, so the convolution has no bias.
        rows: tuple[Row, ...] = (
            Conv(f"conv{n}", channels=channels, kernel=kernel, padding=kernel // 2, bias=False),
            BatchNorm(f"norm{n}"),
            ReLU(f"relu{n}"),
        )
        return (*rows, MaxPool(f"pool{n}", kernel=3, stride=2)) if pool else rows

    rows = (
        *block(1, 64, 5, pool=True),
        *block(2, 192, 3, pool=True),
        *block(3, 256, 3, pool=False),
        *block(4, 256, 3, pool=False),
        *block(5, 192, 3, pool=True),
        Flatten("flatten"),
        Dense("fc6", units=512),
        ReLU("relu6"),
        Dropout("drop6", p=0.2),
        Dense("fc7", units=512),
        ReLU("relu7"),
        Dropout("drop7", p=0.2),
        Dense("fc8", units=10),
    )
    return Network(
        name="alexnet-cifar",
        rows=rows,
        size=32,
        init="he",
        summary="AlexNet's shape (five convolutions, three dense layers, overlapping pools) for 32x32",
        source="this package",
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
