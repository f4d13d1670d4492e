"""Commands out of annotated functions, on click's parser.

A parameter is ``name: Annotated[type, Option(...)] = default`` or ``Annotated[type, Argument(...)]``,
its type str, int, float, bool (a flag), Path, a StrEnum, a list of one of these, each of them or None.
The first paragraph of the docstring is the help. A command is read when it is called: the signatures
of the others cost nothing, and neither does pydantic where a command needs no recipe.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

import click

BadParameter, Exit, Abort, WrongCall = (
    click.BadParameter,
    click.exceptions.Exit,
    click.Abort,
    click.UsageError,
)
Function = TypeVar("Function", bound=Callable[..., None])
_NONE = type(None)
_CONTEXT: Mapping[str, Any] = {"help_option_names": ["-h", "--help"]}
_TYPES: Mapping[object, tuple[click.ParamType[Any], str]] = {
    str: (click.STRING, "<str>"),
    int: (click.INT, "<int>"),
    float: (click.FLOAT, "<float>"),
    Path: (click.Path(path_type=Path), "<path>"),
}


class Option:
    """How an option is called (by default ``--name``), what stands for its value, and its help."""

    def __init__(self, *names: str, metavar: str | None = None, help: str = "") -> None:
        self.names, self.metavar, self.help = names, metavar, help


class Argument:
    """What stands for an argument in a line of usage, and its help."""

    def __init__(self, *, metavar: str | None = None, help: str = "") -> None:
        self.metavar, self.help = metavar, help


class Program:
    """Commands under one name; ``default`` is the one that is meant where none is named.

    ``version``: printed by ``--version``; a program without a command then shows its help.
    """

    def __init__(self, name: str, help: str, *, default: str = "", version: str = "") -> None:
        self.name, self.help, self.default, self.version = name, help, default, version
        self.functions: dict[str, Callable[..., None]] = {}
        self.programs: dict[str, Program] = {}

    def command(self, name: str = "") -> Callable[[Function], Function]:
        """Make a command of a function, by default of its own name."""

        def add(function: Function) -> Function:
            self.functions[name or function.__name__] = function
            return function

        return add

    def add(self, program: Program) -> None:
        """Take in a program's commands below its name."""
        self.programs[program.name] = program

    def group(self) -> click.Group:
        """Return the program as click has it."""
        return _Group(self)

    def __call__(self, prog_name: str) -> int:
        """Read the command line and run what it calls; returns the exit status.

        Raises ``WrongCall`` for a line that cannot be read, ``Abort`` where a person broke off.
        """
        return int(self.group().main(prog_name=prog_name, standalone_mode=False) or 0)


class _Group(click.Group):
    """A program whose commands are built when they are asked for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        version = click.Option(
            ["--version"], is_flag=True, expose_value=False, is_eager=True,
            callback=self._say_version, help="Print the version and exit.",
        )  # fmt: skip
        super().__init__(
            program.name,
            help=program.help,
            callback=self._help_where_nothing_is_called,
            params=[version] if program.version else [],
            invoke_without_command=True,
            subcommand_metavar="COMMAND [ARGS]...",
            context_settings=dict(_CONTEXT),
        )

    def _say_version(self, ctx: click.Context, option: click.Parameter, asked: bool) -> None:
        if asked:
            print(self._program.version)
            ctx.exit()

    def _help_where_nothing_is_called(self) -> None:
        ctx = click.get_current_context()
        if ctx.invoked_subcommand is None:
            print(ctx.get_help())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        default = self._program.default
        own = {*ctx.help_option_names, *(name for p in self.params for name in p.opts)}
        if default and (not args or (_is_option(args[0]) and args[0] not in own)):
            args = [default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self._program.functions, *self._program.programs]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if function := self._program.functions.get(cmd_name):
            return build(cmd_name, function)
        program = self._program.programs.get(cmd_name)
        return program.group() if program else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not _is_option(args[0]):
            from difflib import get_close_matches  # what a right call does without

            close = ", ".join(map(repr, get_close_matches(args[0], known)))
            end = f" Did you mean {close}?" if close else ""
            ctx.fail(f"No such command {args[0]!r}.{end}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line a command out of its docstring alone."""
        about = {name: _about(f) for name, f in self._program.functions.items()}
        about |= {name: program.help for name, program in self._program.programs.items()}
        room = formatter.width - 6 - max(map(len, about))
        short = {n: click.Command(n, help=a).get_short_help_str(room) for n, a in about.items()}
        with formatter.section("Commands"):
            formatter.write_dl(list(short.items()))


class _Command(click.Command):
    """A command whose help tells of its arguments as of its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write arguments, then options."""
        arguments = [p.record() for p in self.params if isinstance(p, _Argument)]
        options = [p for p in self.get_params(ctx) if not isinstance(p, _Argument)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl(arguments)
        with formatter.section("Options"):
            formatter.write_dl([r for p in options if (r := p.get_help_record(ctx))])


class _Argument(click.Argument):
    """An argument with a help of its own, which click had not before 8.4."""

    about = shown = ""  # its help, and its default for a person

    def record(self) -> tuple[str, str]:
        """Return what stands for it, and its help."""
        default = f"  [default: {self.shown}]" if self.shown else ""
        end = "  [required]" if self.required else default
        return (self.metavar or "").strip("[]"), self.about + end


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-"


def _about(function: Callable[..., None]) -> str:
    return inspect.getdoc(function) or ""


def build(name: str, function: Callable[..., None]) -> click.Command:
    """Make click's command of a function."""
    hints = typing.get_type_hints(function, include_extras=True)
    asked = inspect.signature(function).parameters
    made = {key: _Parameter(key, hints[key], asked[key].default) for key in asked}

    def call(**values: Any) -> None:
        function(**{key: made[key].value(given) for key, given in values.items()})

    params = [each.parameter() for each in made.values()]
    return _Command(name, help=_about(function), callback=call, params=params)


class _Parameter:
    """One parameter of a function: its type, how it is called, what it is by default."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        whole, self.how = typing.get_args(hint)
        parts = [part for part in typing.get_args(whole) if part is not _NONE]
        kind = parts[0] if _NONE in typing.get_args(whole) else whole
        self.many = typing.get_origin(kind) is list
        self.kind: Any = typing.get_args(kind)[0] if self.many else kind
        self.name, self.required = name, default is inspect.Parameter.empty
        self.default = None if self.required else default

    def value(self, given: Any) -> Any:
        """Return what the function gets for what click has read."""
        if self.many:
            return list(given) or None
        return self.kind(given) if self._is_enum and given is not None else given

    @property
    def _is_enum(self) -> bool:
        return isinstance(self.kind, type) and issubclass(self.kind, Enum)

    def _type(self) -> tuple[click.ParamType[Any], str]:
        if not self._is_enum:
            kind, metavar = _TYPES[self.kind]
            return kind, metavar
        known = [member.value for member in self.kind]
        return click.Choice(known), f"<{'|'.join(known)}>"

    def parameter(self) -> click.Parameter:
        """Make click's parameter."""
        return self._argument() if isinstance(self.how, Argument) else self._option()

    def _argument(self) -> click.Parameter:
        metavar = self.how.metavar or (self.name.rstrip("_").upper() + "..." * self.many)
        bare = metavar if self.required or metavar.startswith("[") else f"[{metavar}]"
        given = {} if self.required or self.default is None else {"default": self.default}
        made = _Argument(
            [self.name],
            type=self._type()[0],
            required=self.required,
            nargs=-1 if self.many else 1,
            metavar=bare,
            **given,
        )
        known = f" One of {', '.join(m.value for m in self.kind)}." if self._is_enum else ""
        made.about = self.how.help + known
        made.shown = "" if self.default is None else str(self.default)
        return made

    def _option(self) -> click.Parameter:
        names = self.how.names or (f"--{self.name.rstrip('_').replace('_', '-')}",)
        if self.kind is bool:
            return click.Option([self.name, *names], is_flag=True, help=self.how.help)
        kind, metavar = self._type()
        return click.Option(
            [self.name, *names],
            type=kind,
            metavar=self.how.metavar or metavar,
            default=self.default,
            required=self.required,
            multiple=self.many,
            show_default=self.default not in (None, "", ()),
            help=self.how.help,
        )
