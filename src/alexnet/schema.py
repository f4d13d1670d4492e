"""The sections of a recipe, frozen and checked: what may be asked of a run, and the defaults.

``alexnet.recipe`` reads and writes them. No torch here.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from alexnet import values
from alexnet.published import Fault, Published
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

    Weight decay falls on kernels of convolutions and dense layers alone; of ``ridge`` it is the penalty.
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
    patience: Annotated[int, Field(ge=1)] = 10  # plateau: epochs without improvement of val_loss
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
    early_stopping: Annotated[int, Field(ge=0)] = 0  # epochs of no better val_loss; 0: never
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
    every: ADuration = Duration(1, "epochs")
    keep: Literal["best", "last"] = "last"  # which weights the test scores and `load` gives


class Checkpoint(Section):
    """When the run is saved, besides its end."""

    every: ADuration = Duration(1, "epochs")
    keep: Annotated[int, Field(ge=2)] = 2  # newest ones kept, besides the best


class Recipe(Section):
    """One run. Build it with ``load`` or ``parse``, change it with ``override``."""

    name: str
    summary: str
    source: str = ""
    data: Data = Data()
    input: Input = Input()
    augment: Augment = Augment()
    model: Model = Model()
    optim: Optim = Optim()
    schedule: Schedule = Schedule()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    checkpoint: Checkpoint = Checkpoint()
    published: Published | None = None
    fault: tuple[Fault, ...] = ()

    @property
    def chooses(self) -> bool:
        """Tell whether something is chosen by the validation split."""
        by = (self.evaluation.keep == "best", self.schedule.name == "plateau")
        return any(by) or self.train.early_stopping > 0

    @model_validator(mode="after")
    def _rules_agree(self) -> Recipe:
        if self.optim.name == "2012" and self.optim.nesterov:
            raise ValueError("the rule of 2012 has plain momentum; leave out optim.nesterov")
        if bool(self.schedule.at) != (self.schedule.name == "drops"):
            raise ValueError(
                "schedule.name = 'drops' and schedule.at = ['25 epochs', ...] belong together; got "
                f"{self.schedule.name!r} with {len(self.schedule.at)} times"
            )
        return self

    @model_validator(mode="after")
    def _sections_agree(self) -> Recipe:
        if not self.data.validation and self.chooses:
            raise ValueError(
                "data.validation is empty, but evaluation.keep = 'best', schedule.name = 'plateau' "
                "and train.early_stopping choose by it; name a split, e.g. 'train[80%:]'"
            )
        if self.chooses and self.data.validation == self.data.test != "auto":
            raise ValueError("data.validation = data.test: what a split chooses it cannot test")
        if 0.0 in self.input.std:
            raise ValueError(f"input.std divides, so none of it may be 0; got {self.input.std}")
        return self

    @model_validator(mode="after")
    def _orders_agree(self) -> Recipe:
        plan = self.train
        if plan.balance == "sampling" and (plan.shuffle, plan.shuffle_window) != ("every", 0):
            raise ValueError("train.balance = 'sampling' draws its own order; drop train.shuffle*")
        if (self.input.resize, self.input.fit) == ("uint8", "crop"):
            raise ValueError("input.fit = 'crop' resizes nothing, so drop input.resize = 'uint8'")
        if self.evaluation.penalty and self.train.parallel == "towers":
            raise ValueError("evaluation.penalty: two towers each hold half of the weights")
        return self

    @model_validator(mode="after")
    def _windows_agree(self) -> Recipe:
        plan = self.augment
        if self.input.fit == "resize" and plan.window != "centre":
            raise ValueError(
                f"augment.window = {plan.window!r} cuts a window, but input.fit = 'resize' shows the "
                "whole picture; set input.fit = 'crop'"
            )
        if plan.window == "chunk" and plan.flip == "alternate":
            raise ValueError(
                "augment.window = 'chunk' mirrors 32 pictures alike, augment.flip = 'alternate' each "
                "by itself; set augment.flip = 'random'"
            )
        moves = [plan.crop > 0, plan.window != "centre", plan.area != (1.0, 1.0)]
        if sum(moves) > 1:
            raise ValueError(
                f"augment.crop = {plan.crop}, augment.window = {plan.window!r} and augment.area = "
                f"{plan.area} each choose what is seen of a picture; keep one"
            )
        if plan.area[1] > 1:
            raise ValueError(f"augment.area = {plan.area}: a share of the picture is at most 1")
        return self

    @model_validator(mode="after")
    def _copies_stay(self) -> Recipe:
        plan = self.augment
        if plan.copies and (not self.model.frozen or self.train.sides or plan.colour_until):
            raise ValueError(
                f"augment.copies = {plan.copies} keeps what frozen rows give of augmented pictures: it "
                "needs model.frozen, and neither train.sides nor augment.colour_until, which would "
                "have other pictures later"
            )
        return self

    @model_validator(mode="after")
    def _views_fit(self) -> Recipe:
        plan = self.evaluation
        if "scales" in (plan.views, *plan.also) and self.input.fit == "crop":
            raise ValueError(
                "views = 'scales' resizes the whole picture, but input.fit = 'crop' cuts a window out of "
                "it; set input.fit = 'resize'"
            )
        if "ten" in (plan.views, *plan.also) and self.input.fit == "resize":
            raise ValueError(
                "views = 'ten' cuts corners out of the stored picture, but input.fit = 'resize' shows "
                "the whole of it; set input.fit = 'crop'"
            )
        return self
