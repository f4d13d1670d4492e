"""The CIFAR-10 networks that came with cuda-convnet (2011), each named after the error it reached.

All pools are 3x3 at stride 2 and let their last window hang over the edge: 32 becomes 16, 8, 4 and
the cropped 24 becomes 12, 6. Filters are 5x5 with two pixels of padding. The weights start as
``initW`` of each layer says (``init.INITIALISATIONS``), the biases at zero.
"""

from __future__ import annotations

from alexnet.models.rows import (
    LRN,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    Local,
    MapNorm,
    MaxPool,
    ReLU,
    Row,
)
from alexnet.models.table import Network

SOURCE = "cuda-convnet, example-layers/layers-{}.cfg and its parameters"


def layers_80sec() -> Network:
    """Build the quick one: 26 % error in 80 seconds of its day."""
    rows = (
        *_convolutions(),
        Dense("fc64", units=64),
        ReLU("relu4"),
        Dense("fc10", units=10),
    )
    about = "three convolutions and two dense layers: 26 % error, published with cuda-convnet"
    return _network("80sec", rows, size=32, init="cuda-convnet-80sec", about=about)


def layers_19pct() -> Network:
    """Build the same without its hidden dense layer: 19 %, and 14.2 % with translations."""
    rows = (*_convolutions(), Dense("fc10", units=10))
    about = "three convolutions and a classifier: 19 % error, published with cuda-convnet"
    return _network("19pct", rows, size=32, init="cuda-convnet", about=about)


def layers_18pct() -> Network:
    """Build the 19 % network with a response norm within each map behind the first two pools."""

    def norm(n: int) -> tuple[Row, ...]:
        return (MapNorm(f"mapnorm{n}", size=3, alpha=5e-5, beta=0.75),)

    rows = (*_convolutions(norm(1), norm(2)), Dense("fc10", units=10))
    about = "the 19 % network with response norms within each map: 18 % error"
    return _network("18pct", rows, size=32, init="cuda-convnet", about=about)


def conv_local_13pct() -> Network:
    """Build two convolutions and two locally connected layers, for the 24x24 centre: 13 %."""
    rows = (
        Conv("conv1", channels=64, kernel=5, padding=2),
        ReLU("relu1"),
        _max_pool(1),
        Conv("conv2", channels=64, kernel=5, padding=2),
        ReLU("relu2"),
        _max_pool(2),
        *_local_layers(32),
    )
    about = "two convolutions and two locally connected layers at 24x24: 13 % error"
    return _network("13pct", rows, size=24, init="cuda-convnet", about=about)


def conv_local_11pct() -> Network:
    """Build the same with response norms over nine maps and twice the filters in local3: 11 %."""

    def norm(n: int) -> LRN:
        return LRN(f"norm{n}", size=9, alpha=1e-3, beta=0.75, k=1.0)

    rows = (
        Conv("conv1", channels=64, kernel=5, padding=2),
        ReLU("relu1"),
        _max_pool(1),
        norm(1),
        Conv("conv2", channels=64, kernel=5, padding=2),
        ReLU("relu2"),
        norm(2),
        _max_pool(2),
        *_local_layers(64),
    )
    about = "the 13 % network with response norms over nine maps and a wider local3: 11 % error"
    return _network("11pct", rows, size=24, init="cuda-convnet", about=about)


def _convolutions(first: tuple[Row, ...] = (), second: tuple[Row, ...] = ()) -> tuple[Row, ...]:
    """Return conv1 to the flattened pool3; ``first`` and ``second`` stand behind the first pools."""
    return (
        Conv("conv1", channels=32, kernel=5, padding=2),
        _max_pool(1),
        ReLU("relu1"),
        *first,
        Conv("conv2", channels=32, kernel=5, padding=2),
        ReLU("relu2"),
        AvgPool("pool2", kernel=3, stride=2, ceil=True),
        *second,
        Conv("conv3", channels=64, kernel=5, padding=2),
        ReLU("relu3"),
        AvgPool("pool3", kernel=3, stride=2, ceil=True),
        Flatten("flatten"),
    )


def _local_layers(third: int) -> tuple[Row, ...]:
    return (
        Local("local3", channels=third, kernel=3, padding=1),
        ReLU("relu3"),
        Local("local4", channels=32, kernel=3, padding=1),
        ReLU("relu4"),
        Flatten("flatten"),
        Dense("fc10", units=10),
    )


def _max_pool(n: int) -> MaxPool:
    return MaxPool(f"pool{n}", kernel=3, stride=2, ceil=True)


def _network(name: str, rows: tuple[Row, ...], *, size: int, init: str, about: str) -> Network:
    file = f"conv-local-{name}" if size == 24 else name
    return Network(f"cuda-convnet-{name}", rows, size, init, about, SOURCE.format(file))
