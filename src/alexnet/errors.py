"""The exception tree, the exit codes, and "did you mean".

::

    AlexNetError                 exit status 1
    ├── UsageError               exit status 2: the call itself is wrong
    │   ├── UnknownName          a recipe, network, data set, split or key that does not exist
    │   └── RecipeError          a recipe value of the wrong type or out of range
    ├── DataError                bytes that are not what they should be, or are not there
    │   ├── BadPicture           one picture that cannot be read
    │   └── DownloadError        every source of a data set failed
    ├── CheckpointError          a saved state that is missing, damaged or of another network
    └── TrainingError            a run that cannot go on
        ├── NotFinite            the loss is no longer a number
        ├── RankLost             another process of the run stopped or does not answer
        └── Interrupted          Ctrl-C or SIGTERM; saved; exit status 130 or 143

Every message names the value at fault, what was expected, and what to do.
The command line prints the message alone; a traceback is always a bug of ours.
"""

from __future__ import annotations

from collections.abc import Iterable


class AlexNetError(Exception):
    """Any error that this package raises on purpose."""

    exit_code = 1


class UsageError(AlexNetError):
    """The call is wrong: nothing was started, nothing was changed."""

    exit_code = 2


class UnknownName(UsageError):
    """A name that is not in a known list; the message carries the list and the closest match."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        super().__init__(
            f"unknown {kind} {name!r}{did_you_mean(name, known)}; known: {', '.join(known) or 'none'}"
        )


class RecipeError(UsageError):
    """A recipe value of the wrong type, out of range, or at odds with another."""


class DataError(AlexNetError):
    """Data that is missing, damaged, or not what it claims to be."""


class BadPicture(DataError):
    """One picture that cannot be read; the message says which and why."""


class DownloadError(DataError):
    """No source of a data set answered; the message carries the way by hand."""


class CheckpointError(AlexNetError):
    """A saved state that is missing, incomplete, damaged, or of another network."""


class TrainingError(AlexNetError):
    """A training run that cannot go on; what was saved before stays."""


class NotFinite(TrainingError):
    """The loss became NaN or infinite."""


class RankLost(TrainingError):
    """Another process of the run stopped or does not answer."""

    def __init__(self, rank: int, world: int, reason: str) -> None:
        super().__init__(
            f"rank {rank} of {world} lost another one ({reason}); that one's message says why. "
            "`alexnet resume RUN` goes on from the last checkpoint, with any number of ranks"
        )


class Interrupted(TrainingError):
    """The run was asked to stop, finished its step and saved."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the closest known word, or an empty string."""
    import difflib  # what most calls do without

    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.5)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
