"""What somebody else published: their numbers and their faults, as sections of a recipe."""

from __future__ import annotations

from alexnet.values import NotNegative, Probability, Section


class Published(Section):
    """What somebody else measured, to stand beside our own numbers."""

    source: str
    protocol: str
    hardware: str = ""
    test_accuracy: Probability | None = None
    test_top3: Probability | None = None
    tolerance: Probability = 0.0  # what ours may fall short by and still meet theirs
    test_loss: NotNegative | None = None
    val_accuracy: tuple[float, ...] = ()  # per epoch
    val_loss: tuple[float, ...] = ()
    seconds_per_epoch: NotNegative | None = None


class Fault(Section):
    """A fault of a published program: ``NAME`` corrects it, ``NAME-as-published`` keeps it."""

    key: str = ""  # by which the two recipes differ; empty: corrected in both
    published: str  # what the program does
    corrected: str  # what is done here
    effect: str = ""  # measured, in words; empty: not measured yet
