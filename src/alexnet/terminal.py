"""How the command line speaks and how it ends: results, messages, exit statuses, no tracebacks."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from alexnet.calling import Abort, Program, WrongCall
from alexnet.errors import AlexNetError, Interrupted, RankLost
from alexnet.run.launch import let_others_speak, place

INTERRUPTED, NOT_READ = 130, 141  # 128 and the number of SIGINT, of SIGPIPE


def run(app: Program) -> NoReturn:
    """Run a command and exit; an expected error is its message and its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that cannot write Hangul, say
    try:
        status = app(prog_name="alexnet")
        print(end="", flush=True)
    except AlexNetError as error:
        if isinstance(error, Interrupted) and place().rank:
            sys.exit(error.exit_code)  # all stopped at one step; rank 0 says so
        let_others_speak(lost=isinstance(error, RankLost))
        fail(str(error), error.exit_code)
    except WrongCall as error:
        fail(_in_our_words(error), 2)
    except (KeyboardInterrupt, Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        _end_unread()
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        fail(f"cannot read or write{where}: {error.strerror or error}", 1)
    if status == INTERRUPTED:
        fail("stopped at once; what was saved before stays", INTERRUPTED)
    sys.exit(status)


def _in_our_words(error: Any) -> str:
    where = error.ctx.command_path if error.ctx else "alexnet"
    message = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")
    end = "" if message.endswith(("?", "?)")) else "."
    return f"{message[:1].lower()}{message[1:]}{end} See `{where} --help`"


def _end_unread() -> NoReturn:
    """End as other programs do when their output is no longer read, e.g. by ``head``."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python flushes at exit
    sys.exit(NOT_READ)


def fail(message: str, status: int) -> NoReturn:
    """Say what went wrong, and exit."""
    say(f"alexnet: {message}")
    sys.exit(status)


def say(text: str) -> None:
    """Write a line where it does not mix with results."""
    print(text, file=sys.stderr, flush=True)


def write(value: str | Mapping[str, Any] | list[Any]) -> None:
    """Write a result: text as it is, plain values as JSON, which loses no name in any encoding."""
    ascii_only = "utf" not in (getattr(sys.stdout, "encoding", None) or "utf-8").lower()
    text = value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=ascii_only)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        _end_unread()


def typed() -> str:
    """Return the command that this process was started by, ready for a shell."""
    return shlex.join(["alexnet", *sys.argv[1:]])
