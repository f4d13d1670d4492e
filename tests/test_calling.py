"""Commands out of annotated functions: what is read is what the function gets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import pytest

from alexnet.calling import Argument, Exit, Option, Program, WrongCall


class Kind(StrEnum):
    """Two kinds."""

    one = "one"
    two = "two"


got: dict[str, Any] = {}
program = Program("try", "To try things.", default="all", version="1.2")
below = Program("below", "Further commands.")
program.add(below)


@program.command("all")
def all_(
    count: Annotated[int, Option(help="How many.")] = 3,
    share: Annotated[float | None, Option(help="A share.")] = None,
    path: Annotated[Path | None, Option("--out", "-o", metavar="DIR", help="A folder.")] = None,
    many: Annotated[list[int] | None, Option("--top", help="Again and again.")] = None,
    flag: Annotated[bool, Option("--flag", help="Yes.")] = False,
) -> None:
    """Take every kind of option."""
    got.update(locals())


@program.command()
def names(
    kind: Annotated[Kind, Argument(help="Which.")],
    files: Annotated[list[str], Argument(metavar="FILE...", help="Files.")],
) -> None:
    """Take arguments.

    A second paragraph.
    """
    got.update(locals())


@below.command()
def deep(name: Annotated[str, Argument(help="A name.")] = "x") -> None:
    """Lie below."""
    got.update(locals())


@below.command()
def fails() -> None:
    """End with a status."""
    raise Exit(7)


@pytest.fixture
def call(monkeypatch):
    def run(line: str) -> int:
        got.clear()
        monkeypatch.setattr("sys.argv", ["try", *line.split()])
        return program("try")

    return run


PLAIN = {"count": 3, "share": None, "path": None, "many": None, "flag": False}


@pytest.mark.parametrize(
    ("line", "changes"),
    [
        ("all", {}),
        ("", {}),
        ("--count 5", {"count": 5}),
        ("all --share .5 --flag", {"share": 0.5, "flag": True}),
        ("all -o a/b --top 1 --top 3", {"path": Path("a/b"), "many": [1, 3]}),
    ],
)
def test_options(call, line, changes):
    assert call(line) == 0
    assert got == PLAIN | changes


def test_arguments(call):
    call("names two a b")
    assert got == {"kind": Kind.two, "files": ["a", "b"]}
    assert isinstance(got["kind"], Kind)


def test_a_program_below(call):
    assert call("below deep") == 0
    assert got == {"name": "x"}
    call("below deep y")
    assert got == {"name": "y"}
    assert call("below fails") == 7


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nams one", "No such command 'nams'. Did you mean 'names'?"),
        ("zzz", "No such command 'zzz'."),
        ("names three a", "'three' is not one of 'one', 'two'"),
        ("names one", "Missing argument 'FILE...'"),
        ("--count many", "'many' is not a valid integer"),
        ("all x", "unexpected extra argument"),
        ("--cont 3", "--cont"),
        ("below", ""),
    ],
)
def test_wrong_calls(call, line, said):
    if not said:
        assert call(line) == 0  # its help
        return
    with pytest.raises(WrongCall) as error:
        call(line)
    assert said in error.value.format_message()
    assert not got


def test_help_tells_of_all_there_is(call, capsys):
    call("--help")
    said = capsys.readouterr().out
    assert "Usage: try [OPTIONS] COMMAND [ARGS]..." in said
    assert "names  Take arguments." in said
    assert "below  Further commands." in said
    call("--version")
    assert capsys.readouterr().out == "1.2\n"
    call("names -h")
    said = " ".join(capsys.readouterr().out.split())
    assert "Usage: try names [OPTIONS] KIND FILE..." in said
    assert "KIND Which. One of one, two. [required]" in said
    call("all --help")
    said = " ".join(capsys.readouterr().out.split())
    assert "--count <int> How many. [default: 3]" in said
    assert "-o, --out DIR A folder." in said
