"""Where this process stands among those of a run, as torchrun tells it. No torch here.

The only reader of RANK, WORLD_SIZE and their like.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass

from alexnet.errors import UsageError

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
OWN_ERROR, LOST_ERROR = 1.0, 3.0  # seconds in which another rank may speak first


@dataclass(frozen=True)
class Place:
    """One process among ``world``; ``local`` and ``node`` say which on which machine.

    ``attempt`` counts the restarts of all processes by torchrun (``--max-restarts``).
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    node: int = 0
    nodes: int = 1
    attempt: int = 0


def place() -> Place:
    """Read the place from the environment; a process that no torchrun started is alone.

    Raises ``UsageError`` for a variable that is no number or a rank outside the world.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return Place()
    found = Place(
        _number("RANK"),
        _number("WORLD_SIZE"),
        _number("LOCAL_RANK"),
        _number("GROUP_RANK"),
        max(1, _number("GROUP_WORLD_SIZE")),
        _number("TORCHELASTIC_RESTART_COUNT"),
    )
    if not 0 <= found.rank < found.world:
        raise UsageError(
            f"RANK={found.rank} lies outside WORLD_SIZE={found.world}; torchrun sets both, "
            "unset them to run one process"
        )
    return found


def _number(name: str) -> int:
    text = os.environ.get(name, "0")
    if not text.isdecimal():
        raise UsageError(f"{name}={text!r} is not a number; torchrun sets it, or unset RANK")
    return int(text)


def die_with_parent() -> None:
    """Let this process be asked to stop when its parent dies, so that no rank is left an orphan.

    Linux only: elsewhere the ranks outlive a torchrun that was killed outright until their next
    exchange fails.
    """
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died in between
            os.kill(os.getpid(), signal.SIGTERM)


def let_others_speak(*, lost: bool) -> None:
    """Wait before an error is said that another rank may say better; torchrun then ends this one.

    An error that every rank has is said by rank 0; that another rank is gone, by nobody but
    torchrun, which names it.
    """
    here = place()
    if here.world > 1 and (lost or here.rank):
        time.sleep(LOST_ERROR if lost else OWN_ERROR)
