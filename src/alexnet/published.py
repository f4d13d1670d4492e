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
    training_seconds: NotNegative | None = None  # of the whole run, where that was printed
    claim: str = (
        ""  # what RESULTS.md judges, in words; empty: this recipe is beside another's claim
    )
    remark: str = ""  # what else is to be known about the claim, without figures of ours


def epoch_seconds(published: Published, epochs: float) -> float | None:
    """Return what an epoch took them, by their clock or by that of a whole run of ``epochs``."""
    if published.seconds_per_epoch is not None or published.training_seconds is None:
        return published.seconds_per_epoch
    return published.training_seconds / epochs


class Fault(Section):
    """A fault of a published program: ``NAME`` corrects it, ``NAME-as-published`` keeps it."""

    key: str = ""  # by which the two recipes differ; empty: corrected in both
    also: tuple[str, ...] = ()  # keys of the second recipe that the fault needs to show
    published: str  # what the program does
    corrected: str  # what is done here
    effect: str = ""  # in words, where no two runs are needed; empty: from records of both
