"""Every network against counts that were worked out elsewhere."""

from itertools import pairwise

import pytest

from alexnet.errors import UnknownName, UsageError
from alexnet.models import table, zoo
from alexnet.models.rows import Conv, Dense, Dropout, MaxPool, Window

# name: (trained values, untrained values, multiply-adds forward), at the network's own size and
# number of classes. From the published programs' summaries, counts of Keras and torchvision, and the
# sums of the paper's tables; 1,131,201,056 is the ungrouped 1000-class net's 1,135,256,096 less
# 990 x 4096. alexnet-cifar and alexnet-bn are added up by hand below. cuda-convnet's parameters are
# those of its example layers; its multiply-adds are filters x inputs x 25 (or 9) x positions:
# 19pct 32*3*25*1024 + 32*32*25*256 + 64*32*25*64 + 1024*10; 80sec with 1024*64 + 64*10 at its end;
# 13pct 64*3*25*576 + 64*64*25*144 + (32*64 + 32*32)*9*36 + 1152*10; 11pct with 64 filters in local3.
# alexnet-small: weights 32*363 + 64*800 + 96*576 + 96*864 + 64*864 + 576*512 + 512*512 + 512*1000 and
# 2,376 biases; multiply-adds 32*363*31*31 + 64*800*15*15 + (96*576 + 96*864 + 64*864)*7*7 and the dense.
# owt-skip adds 256*256 weights and 256 biases; its weights are used at 6*6 places.
EXPECTED = {
    "alexnet-2012": (60_965_224, 0, 724_406_816),
    "alexnet-2012-source": (60_965_224, 0, 724_406_816),
    "alexnet-bn": None,
    "alexnet-cifar": None,
    "alexnet-cifar-gelu": None,
    "alexnet-cifar-wide": None,
    "alexnet-cifar-wide-global": None,
    "alexnet-small": (1_327_784, 0, 33_235_296),
    "alexnet-small-no-lrn": (1_327_784, 0, 33_235_296),
    "alexnet-small-pool2": (1_327_784, 0, 33_235_296),
    "bvlc-alexnet": (60_965_224, 0, 724_406_816),
    "caffenet": (60_965_224, 0, 724_406_816),
    "cifar-eight": None,
    "cifar-eight-gelu": None,
    "cuda-convnet-11pct": (2_112_970, 0, 19_512_576),
    "cuda-convnet-13pct": (1_116_490, 0, 18_517_248),
    "cuda-convnet-18pct": (89_578, 0, 12_298_240),
    "cuda-convnet-19pct": (89_578, 0, 12_298_240),
    "cuda-convnet-80sec": (145_578, 0, 12_354_176),
    "keras-bn5": (58_325_066, 2_752, 1_131_201_056),
    "keras-lab": (58_323_530, 1_216, 1_131_201_056),
    "one-tower": (62_378_344, 0, 1_135_256_096),
    "owt": (61_100_840, 0, 714_188_480),
    "owt-skip": (61_166_632, 0, 716_547_776),
    "owt-skip-as-published": (61_100_840, 0, 714_188_480),
    "torch-lrn": (58_322_314, 0, 1_131_201_056),
}

# (network, side): what leaves each convolution and pool, along one side (facts, published tables).
SIDES = {
    ("keras-lab", 227): [55, 27, 27, 13, 13, 13, 13, 6],
    ("alexnet-2012", 224): [55, 27, 27, 13, 13, 13, 13, 6],
    ("alexnet-2012-source", 224): [55, 27, 27, 13, 13, 13, 13, 6],
    ("alexnet-small", 128): [31, 15, 15, 7, 7, 7, 7, 3],
    ("alexnet-small-pool2", 128): [31, 15, 15, 7, 7, 7, 7, 3],
    ("bvlc-alexnet", 227): [55, 27, 27, 13, 13, 13, 13, 6],
    ("bvlc-alexnet", 224): [54, 27, 27, 13, 13, 13, 13, 6],
    ("caffenet", 224): [54, 27, 27, 13, 13, 13, 13, 6],
    ("alexnet-2012-source", 128): [31, 15, 15, 7, 7, 7, 7, 3],
    ("alexnet-2012-source", 132): [32, 16, 16, 8, 8, 8, 8, 4],
    ("keras-bn5", 128): [30, 14, 14, 6, 6, 6, 6, 2],
    ("cifar-eight", 32): [31, 31, 15, 15, 15, 7, 7, 7, 3, 3, 1],
    ("cifar-eight-gelu", 32): [31, 31, 15, 15, 15, 7, 7, 7, 3, 3, 1],
    ("alexnet-cifar-gelu", 32): [32, 32, 15, 15, 7, 7, 7, 3],
    ("alexnet-cifar-wide", 32): [32, 32, 15, 15, 15, 7, 7, 3],
    ("alexnet-cifar-wide-global", 32): [32, 32, 15, 15, 15, 7, 7, 1],
    ("cuda-convnet-80sec", 32): [32, 16, 16, 8, 8, 4],
    ("cuda-convnet-13pct", 24): [24, 12, 12, 6, 6, 6],
    ("alexnet-bn", 160): [80, 39, 39, 19, 19, 19, 19, 9],
    ("alexnet-bn", 128): [64, 31, 31, 15, 15, 15, 15, 7],
    ("alexnet-bn", 224): [112, 55, 55, 27, 27, 27, 27, 13],
    ("owt", 224): [55, 27, 27, 13, 13, 13, 13, 6],
    ("owt", 227): [56, 27, 27, 13, 13, 13, 13, 6],
    ("one-tower", 224): [54, 26, 26, 12, 12, 12, 12, 5],
}


def test_every_network_is_in_the_table():
    assert EXPECTED.keys() == zoo.NETWORKS.keys()


@pytest.mark.parametrize("name", [n for n, counts in EXPECTED.items() if counts])
def test_counts(name):
    network = zoo.network(name)
    total = table.totals(table.trace(network))
    assert (total.trainable, total.buffers, total.multiply_adds) == EXPECTED[name]


@pytest.mark.parametrize(("name", "side"), SIDES)
def test_sides(name, side):
    steps = table.trace(zoo.network(name), side)
    sides = [s.outputs[1] for s in steps if isinstance(s.row, Window)]
    assert sides == SIDES[name, side]


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [("alexnet-2012", 10, 56_909_194), ("owt", 10, 57_044_810), ("one-tower", 10, 58_322_314)],
)
def test_counts_at_ten_classes(name, classes, parameters):
    total = table.totals(table.trace(zoo.network(name, classes=classes)))
    assert total.trainable == parameters


def test_keras_bn5_at_128():
    total = table.totals(table.trace(zoo.network("keras-bn5"), 128))
    assert (total.parameters, total.trainable, total.buffers) == (24_773_386, 24_770_634, 2_752)


@pytest.mark.parametrize("side", [63, 128, 160, 224])
def test_the_weights_of_owt_fit_every_size(side):
    steps = {s.row.name: s for s in table.trace(zoo.network("owt"), side)}
    assert steps["avgpool"].outputs == (256, 6, 6)
    assert table.totals(list(steps.values())).trainable == 61_100_840
    assert steps["fc6"].receptive_field >= side


def test_owt_needs_63_pixels_as_torchvision_says():
    assert table.smallest_size(zoo.network("owt")) == 63
    assert table.smallest_size(zoo.network("keras-lab")) == 67


def test_keras_lab_has_the_published_total_and_per_layer_counts():
    steps = {s.row.name: s for s in table.trace(zoo.network("keras-lab"))}
    assert table.totals(list(steps.values())).parameters == 58_324_746
    published = {
        "conv1": 34_944,
        "conv2": 614_656,
        "conv3": 885_120,
        "conv4": 1_327_488,
        "conv5": 884_992,
        "fc6": 37_752_832,
        "fc7": 16_781_312,
        "fc8": 40_970,
    }
    assert {n: steps[n].parameters for n in published} == published
    assert steps["norm1"].parameters + steps["norm1"].buffers == 4 * 96


def test_keras_lab_at_1000_classes():
    total = table.totals(table.trace(zoo.network("keras-lab", classes=1000)))
    assert total.parameters == 62_380_776
    assert total.multiply_adds == 1_135_256_096


def test_alexnet_cifar_by_hand():
    """Eight layers with weights; each count written out from widths and sides alone."""
    widths, sides = [3, *CIFAR_WIDTHS], [32, 15, 7, 7, 7]
    kernels = [a * b * 9 for a, b in pairwise(widths)]
    flat, dense = CIFAR_WIDTHS[-1] * 3 * 3, CIFAR_DENSE
    matrices = [flat * dense[0], dense[0] * dense[1], dense[1] * 10]
    work = [k * s * s for k, s in zip(kernels, sides, strict=True)]
    norms = sum(CIFAR_WIDTHS) + sum(dense)
    total = table.totals(table.trace(zoo.network("alexnet-cifar")))
    assert total.multiply_adds == sum(work) + sum(matrices)
    assert total.trainable == sum(kernels[1:]) + sum(matrices) + 10 + norms
    assert total.buffers == kernels[0] + 3 * norms  # whitening filters; scale, mean, variance
    assert total.training_multiply_adds == 3 * (sum(work) + sum(matrices)) - 2 * work[0]


def test_alexnet_bn_by_hand():
    """At 128 pixels; the dense layers see 3x3 whatever conv5's pool leaves."""
    widths, sides, areas = [3, *BN_WIDTHS], [64, 31, 15, 15, 15], [49, 9, 9, 9, 9]
    kernels = [a * b * k for (a, b), k in zip(pairwise(widths), areas, strict=True)]
    flat, dense = BN_WIDTHS[-1] * 3 * 3, BN_DENSE
    matrices = [flat * dense[0], dense[0] * dense[1], dense[1] * 1000]
    norms = sum(BN_WIDTHS) + sum(dense)
    total = table.totals(table.trace(zoo.network("alexnet-bn")))
    work = sum(k * s * s for k, s in zip(kernels, sides, strict=True))
    assert total.multiply_adds == work + sum(matrices)
    assert total.trainable == sum(kernels) + sum(matrices) + 1000 + norms
    assert total.buffers == 3 * norms  # scale, mean, variance


def test_cifar_eight_by_hand():
    """Two by two leaves 31; a pool inside each pair 15, 7 and 3; only norms' shifts are learned."""
    widths, sides = [32, 64, 64, 256, 256, 256, 256], [31, 15, 15, 7, 7, 3]
    kernels, first = [a * b * 9 for a, b in pairwise(widths)], 32 * 3 * 4
    work = sum(k * s * s for k, s in zip(kernels, sides, strict=True)) + first * 31 * 31 + 2560
    total = table.totals(table.trace(zoo.network("cifar-eight")))
    assert total.multiply_adds == work
    assert total.trainable == sum(kernels) + 2560 + sum(widths[1:])
    assert total.buffers == first + 3 * sum(widths[1:])
    learned = [r for r in zoo.network("cifar-eight").rows if isinstance(r, Conv | Dense)]
    assert len(learned) == 8


def test_cifar_eight_gelu_by_hand():
    """As above from 24 first filters, whose biases are learned: the program's 1,971,352 values."""
    kernels = [a * b * 9 for a, b in pairwise([24, 64, 64, 256, 256, 256, 256])]
    work = [k * s * s for k, s in zip(kernels, [31, 15, 15, 7, 7, 3], strict=True)]
    first = 24 * 12 * 31 * 31
    total = table.totals(table.trace(zoo.network("cifar-eight-gelu")))
    assert total.multiply_adds == first + sum(work) + 2560
    assert total.training_multiply_adds == first + 3 * (sum(work) + 2560)
    assert total.trainable == 24 + sum(kernels) + 2560 + 2 * (64 + 256 + 256)
    assert total.buffers == 24 * 12 + 3 * 2 * (64 + 256 + 256)


@pytest.mark.parametrize(
    ("name", "side"), [("alexnet-cifar-wide", 3), ("alexnet-cifar-wide-global", 1)]
)
def test_alexnet_cifar_wide_by_hand(name, side):
    """Filters over the patch of what they read, at every place; the dense layers see 512 maps."""
    work = [64_512 * 2048, 1_179_648 * 225, 2_359_296 * 225, 2_359_296 * 49]
    matrices = 512 * side**2 * 1024 + 1024 * 512 + 512 * 10
    norms = 256 + 512 + 512 + 512 + 1024 + 512
    total = table.totals(table.trace(zoo.network(name)))
    assert total.multiply_adds == 56 * 27 * 1024 + sum(work) + matrices < 1.3e9
    assert total.trainable == 56 + 129_024 + 1_179_648 + 2 * 2_359_296 + matrices + norms
    assert total.buffers == 56 * 27 + 3 * norms


def test_alexnet_cifar_gelu_by_hand():
    """Filters over the patch of what they read, at every place; the dense layers see 160 maps of 3x3."""
    kernels = [64 * 24 * 9, 128 * 64 * 9, 160 * 128 * 9, 160 * 160 * 9]
    places = [32 * 32, 15 * 15, 7 * 7, 7 * 7]
    matrices = 1440 * 256 + 256 * 256 + 256 * 10
    norms = 64 + 128 + 160 + 160 + 256 + 256
    total = table.totals(table.trace(zoo.network("alexnet-cifar-gelu")))
    work = sum(k * n for k, n in zip(kernels, places, strict=True))
    assert total.multiply_adds == 24 * 27 * 1024 + work + matrices == 52_166_144
    assert total.trainable == sum(kernels) + matrices + norms
    assert total.buffers == 24 * 27 + 3 * norms


CIFAR = ("alexnet-cifar", "alexnet-cifar-gelu", "alexnet-cifar-wide")


@pytest.mark.parametrize("name", [*CIFAR, "alexnet-bn"])
def test_it_keeps_the_shape_of_alexnet(name):
    rows = zoo.network(name).rows
    assert sum(isinstance(r, Conv) for r in rows) == 5
    assert sum(isinstance(r, Dense) for r in rows) == 3
    assert any(isinstance(r, Dropout) and r.p > 0 for r in rows)
    pools = [r for r in rows if isinstance(r, MaxPool)]
    assert len(pools) == 3
    assert all(pool.stride < pool.kernel for pool in pools)


@pytest.mark.parametrize("name", zoo.NETWORKS)
def test_names_are_unique_and_classes_can_be_changed(name):
    rows = zoo.network(name, classes=7).rows
    assert len({row.name for row in rows}) == len(rows)
    assert zoo.network(name, classes=7).classes == 7


def test_unknown_network_is_answered_with_the_closest():
    with pytest.raises(UnknownName, match="did you mean 'keras-lab'"):
        zoo.network("keras-lap")


def test_one_class_is_refused():
    with pytest.raises(UsageError, match="at least 2 classes, got 1"):
        zoo.network("keras-lab", classes=1)


CIFAR_WIDTHS = [64, 96, 160, 160, 160]
CIFAR_DENSE = [512, 512]
BN_WIDTHS = [64, 128, 256, 256, 256]
BN_DENSE = [512, 512]
