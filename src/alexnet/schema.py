"""A recipe: its sections (``alexnet.sections``), and what of them must agree.

``alexnet.recipe`` reads and writes it. No torch here.
"""

from __future__ import annotations

from pydantic import model_validator

from alexnet.published import Fault, Published
from alexnet.sections import (
    Augment,
    Checkpoint,
    Data,
    Evaluation,
    Input,
    Model,
    Optim,
    Schedule,
    Train,
)
from alexnet.values import Section


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
        rule = self.optim
        if rule.name == "2012" and rule.nesterov:
            raise ValueError("the rule of 2012 has plain momentum; leave out optim.nesterov")
        if rule.nesterov and (rule.name not in ("sgd", "keras-sgd") or not rule.momentum):
            raise ValueError(
                "optim.nesterov = true is for the momentum of sgd and keras-sgd; got optim.name = "
                f"{rule.name!r} with optim.momentum = {rule.momentum}; set optim.nesterov=false"
            )
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
    def _seeds_fit(self) -> Recipe:
        data = self.data
        if data.split == "sklearn" and data.split_seed >= 2**32:
            raise ValueError(
                f"data.split_seed = {data.split_seed}: scikit-learn's splits take a seed below {2**32}"
            )
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
    def _nothing_is_in_vain(self) -> Recipe:
        if self.model.head_norm and not self.model.head:
            raise ValueError(
                "model.head_norm = true is for the hidden layers of model.head, and it has none; set "
                "model.head, e.g. [512], or model.head_norm=false"
            )
        if self.augment.colour_shrink != 1 and not self.augment.colour:
            raise ValueError(
                f"augment.colour_shrink = {self.augment.colour_shrink} divides pictures with colour noise, "
                "and augment.colour is 0; set augment.colour_shrink=1"
            )
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
