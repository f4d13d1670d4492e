"""The sections of a recipe, frozen and checked each by itself: what may be asked, and the defaults. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator

from alexnet import values
from alexnet.values import (
    ADuration,
    Duration,
    MeanName,
    NotNegative,
    Positive,
    Probability,
    Range,
    Section,
    Side,
    Triple,
    some,
    word,
)

Views = Literal["centre", "flip", "shift", "scales", "ten"]  # run/views.py


class Data(Section):
    """Which pictures, and which of them for what."""

    name: str = "cifar10"  # or the path of a folder, a tar or a list of photographs
    train: str = "train[:80%]"  # "auto", as the two below: what there is, else cut from train
    validation: str = "train[80%:]"  # chooses; the test part only gives the recorded number
    test: str = "test"
    split: Literal["slice", "stratified", "sklearn"] = "slice"
    split_seed: Annotated[int, Field(ge=0)] = 0
    size: Side | None = None  # side, for data sets drawn at any size
    fit: Literal["crop", "stretch"] = "crop"  # of photographs: the centre, or all of each, squeezed


class Input(Section):
    """How stored pictures become what the network sees; travels with the weights."""

    size: Annotated[int, Field(ge=1)] = 32
    fit: Literal["resize", "crop"] = "resize"  # the stored picture, or the window at its centre
    resize: Literal["float", "uint8"] = "float"  # uint8: to whole levels, as OpenCV does
    scale: Literal["0..1", "0..255"] = "0..1"
    # Subtracted after scaling; "channel", "picture": the mean of the training split.
    mean: Annotated[Triple | MeanName, PlainValidator(values.mean)] = (0.0, 0.0, 0.0)
    std: Triple = (1.0, 1.0, 1.0)


class Augment(Section):
    """What happens to a training batch, on the device."""

    flip: Literal["none", "random", "alternate"] = "none"
    crop: Annotated[int, Field(ge=0)] = 0  # pixels of border added by reflection, then cropped away
    # Of a larger picture; chunk: one for 32 pictures, as in 2012.
    window: Literal["centre", "random", "chunk"] = "centre"
    area: Range = (1.0, 1.0)  # share of the picture that is seen, resized; (1, 1): all of it
    ratio: Range = (0.75, 1.333)  # of that part's width to its height
    jitter: Probability = 0.0  # brightness, contrast, saturation: each by a factor of 1 +- this
    colour: NotNegative = 0.0  # deviation of noise along the colours' principal components
    colour_reading: Literal["variance", "deviation"] = "deviation"  # data/colour.py
    colour_until: ADuration | None = None  # from then on there is no such noise; None: never
    colour_shrink: Annotated[float, Field(ge=1)] = 1.0  # divides the noisy picture; 1.1 in 2012
    cutout: Annotated[int, Field(ge=0)] = 0  # side of the square set to zero
    # The alpha of mixup (training/mixing.py); training accuracy then counts the heavier label.
    mixup: NotNegative = 0.0
    # Of each picture, made once for frozen rows that run once; 0: it and its mirror image.
    copies: Annotated[int, Field(ge=0)] = 0


class Model(Section):
    """Which network, what it starts from, and which of it is trained."""

    network: str = "alexnet-cifar"
    init: Annotated[str, BeforeValidator(word)] = ""  # empty: the network's own
    dropout: Probability | None = None  # None: the network's own; a head of one's own: none
    weights: str = ""  # a name (exchange/pretrained.py), a file or a run; empty: none
    frozen: tuple[str, ...] = ()  # patterns of rows that are not trained, e.g. "conv*"
    pool: Annotated[int, Field(ge=0)] = 0  # side of the means before Flatten; 0: the network's own
    head: tuple[Annotated[int, Field(ge=1)], ...] | None = None  # hidden widths behind Flatten
    head_norm: bool = False  # a batch norm in each hidden layer of the head
    kernel: NotNegative = 0.0  # gamma of a kernel machine in its place, for ridge; 0: none


class Group(Section):
    """Tensors with a rate or a decay of their own, by name pattern, e.g. ``conv*.bias``."""

    match: str
    lr_factor: NotNegative = 1.0
    weight_decay: NotNegative | None = None  # None: the section's, for kernels; none for the rest
    until: ADuration | None = None  # from then on these tensors stay as they are; None: never
    falls: bool = False  # in a straight line to zero at ``until``, in place of the schedule
    drops: tuple[ADuration, ...] = ()  # their rate is multiplied by schedule.factor then, besides


class Optim(Section):
    """The update rule. ``sgd``/``adam`` as torch writes them, ``keras-*`` and ``rmsprop`` as Keras
    does, ``2012`` as the paper does (section 5).

    Weight decay falls on kernels of convolutions and dense layers alone, with ``muon`` on the last one
    alone: it sets the lengths of the others itself. Of ``ridge`` it is the penalty.
    """

    name: Annotated[
        Literal["sgd", "adam", "keras-sgd", "keras-adam", "muon", "2012", "rmsprop", "ridge"],
        BeforeValidator(word),
    ] = "sgd"
    lr: Positive = 0.1
    momentum: Probability = 0.9
    nesterov: bool = False
    beta1: Probability = 0.9
    beta2: Probability = 0.999
    eps: Positive = 1e-7
    rho: Probability = 0.9  # rmsprop: what is kept of the mean square, which it has for momentum
    centered: bool = False  # rmsprop: divide by the deviation of the gradient, not by its size
    weight_decay: NotNegative = 0.0
    aux: Literal["adam", "sgd"] = "adam"  # muon: the rule for what is not a hidden kernel
    aux_lr: NotNegative = 0.01  # muon: that rule's rate
    aux_momentum: Probability = 0.85  # muon with aux = "sgd": nesterov, as Muon's own
    group: tuple[Group, ...] = ()  # the first whose ``match`` fits a tensor's name rules it


class Schedule(Section):
    """The learning rate over time, as a factor of ``optim.lr``."""

    name: Literal["constant", "step", "drops", "one-cycle", "cosine", "plateau"] = "constant"
    warmup: ADuration = Duration(0, "epochs")  # linear from ``start`` to 1
    start: NotNegative = 0.0
    end: NotNegative = 0.0  # one-cycle, cosine: the last factor
    every: ADuration = Duration(30, "epochs")  # step: multiply by ``factor`` so often
    at: tuple[ADuration, ...] = ()  # drops: multiply by ``factor`` at each of these times
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Annotated[int, Field(ge=1)] = 10  # plateau: validations without improvement
    min_delta: NotNegative = 1e-4
    cooldown: Annotated[int, Field(ge=0)] = 0
    min_lr: NotNegative = 0.0


class Train(Section):
    """How long, in what portions, and how exactly."""

    epochs: Annotated[Duration, BeforeValidator(some), PlainSerializer(str)] = Duration(
        10, "epochs"
    )
    batch: Annotated[int, Field(ge=1)] = 128
    seed: Annotated[int, Field(ge=0)] = 0
    label_smoothing: Probability = 0.0
    precision: Literal["auto", "bf16", "tf32", "float32"] = "auto"
    average: Probability = 0.0  # decay of the running average of the weights, per step; 0: none
    early_stopping: Annotated[int, Field(ge=0)] = 0  # validations of no better loss; 0: never
    compile: bool = False
    graph: bool = True  # on a CUDA device, a step is one graph where it can be
    convolutions: Literal["auto", "winograd", "direct"] = "auto"  # run/computing.py says which
    drop_last: bool = False  # leave out the last, smaller batch of an epoch
    # First and last side of the training pictures (training/sides.py); (): input.size throughout.
    sides: tuple[()] | tuple[Side, Side] = ()
    shuffle: Literal["every", "after-first", "never"] = "every"  # of the epochs
    shuffle_window: Annotated[int, Field(ge=0)] = 0  # as tf.data's buffer; 0: the whole split
    log_every: ADuration = Duration(0, "epochs")  # a line about a batch so often; 0: none
    balance: Literal["none", "sampling", "loss"] = "none"  # what makes up for rare classes
    # Several processes divide the batch, or two of them the two towers of the network.
    parallel: Literal["data", "towers"] = "data"


class Evaluation(Section):
    """How pictures are scored."""

    views: Views = "centre"
    also: tuple[Views, ...] = ()  # views that the test part is scored in besides
    # And once more, with batch norm's statistics taken anew from so many training pictures.
    precise_bn: Annotated[int, Field(ge=0)] = 0
    batch: Annotated[int, Field(ge=1)] = 500
    top: tuple[Annotated[int, Field(ge=1)], ...] = (1, 3)
    drop_last: bool = False  # leave out the pictures of a last, smaller batch
    dropout: bool = False  # stays active while scoring, by masks of train.seed
    penalty: bool = False  # losses include that of optim's weight decay, as Keras's do
    every: ADuration = Duration(1, "epochs")  # at the end of an epoch in which it is due
    keep: Literal["best", "last"] = "last"  # which weights the test scores and `load` gives


class Checkpoint(Section):
    """When the run is saved, besides its end."""

    every: ADuration = Duration(1, "epochs")
    keep: Annotated[int, Field(ge=2)] = 2  # newest ones kept, besides the best
