"""From the words of the command line to the function of a command.

Usage errors go to stdout and are no failure: exit code 0. (etcdctl reference, sections 1.2, 1.3.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Final

from kvraft_cli.flags import Flags, Parsed, parse, rearrange
from kvraft_cli.table import COMMANDS, GLOBAL_FLAGS, HELP, OWN, VERSION, Command, Group

if TYPE_CHECKING:
    from kvraft_cli.context import Context

HELP_NAMES: Final = ("help", "h")
MakeContext = Callable[[Flags], "Context"]


class Usage(Exception):
    """Something is to be printed on stdout instead of running a command.

    `unknown` is the command that nobody knows, if that is the reason; `overview` says that this is
    the help of the whole application.
    """

    def __init__(self, text: str, unknown: str | None = None, *, overview: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.unknown = unknown
        self.overview = overview


def run(words: Sequence[str], make_context: MakeContext) -> int:
    """Run what the words (without the program's name) ask for; returns the exit code.

    Raises Usage for help and usage errors, and Failure when the command fails.
    """
    parsed = parse(GLOBAL_FLAGS, words)
    if parsed.two_forms:
        raise Usage(f"{parsed.two_forms}\n{_application_help()}")
    if parsed.error:
        raise Usage(f"Incorrect Usage.\n\n{_application_help()}")
    if parsed.wants_help:
        raise Usage(_application_help(), overview=True)
    if parsed.flags.boolean("version"):
        raise Usage(f"etcdctl version {VERSION}\n")
    if not parsed.arguments:
        raise Usage(_application_help(), overview=True)
    name, *rest = parsed.arguments
    if name in OWN:
        function = _load(OWN[name])
        return function(make_context(parsed.flags), rest)
    if name in HELP_NAMES:
        _help(rest, make_context, parsed.flags)
    command = _find(COMMANDS, name)
    if command is None:
        raise _no_topic(name)
    if isinstance(command, Group):
        return _run_group(command, rest, make_context, parsed.flags)
    return _run_command(command, None, rest, make_context, parsed.flags)


def _run_group(
    group: Group, words: Sequence[str], make_context: MakeContext, options: Flags
) -> int:
    from kvraft_cli import helptext

    parsed = parse((HELP,), words)
    if parsed.two_forms:
        raise Usage(f"{parsed.two_forms}\n\n{helptext.group_help(group)}")
    if parsed.error:
        raise Usage(f"Incorrect Usage.\n\n{helptext.group_help(group)}")
    if parsed.wants_help or not parsed.arguments:
        raise Usage(helptext.group_help(group))
    name, *rest = parsed.arguments
    if name in HELP_NAMES:
        _group_help(group, rest)
    command = _find(group.commands, name)
    if command is None:
        raise _no_topic(name)
    assert isinstance(command, Command)
    return _run_command(command, group, rest, make_context, options)


def _run_command(
    command: Command,
    group: Group | None,
    words: Sequence[str],
    make_context: MakeContext,
    options: Flags,
) -> int:
    parsed = _parse_command(command, group, words)
    function = _load(f"kvraft_cli.commands.{command.run}")
    return function(make_context(options), parsed.flags, parsed.arguments)


def _parse_command(command: Command, group: Group | None, words: Sequence[str]) -> Parsed:
    parsed = parse((*command.flags, HELP), rearrange(words))
    if parsed.error:
        raise Usage(f"Incorrect Usage.\n\n{_command_help(command, group)}")
    if parsed.two_forms:
        raise Usage(f"{parsed.two_forms}\n\n{_command_help(command, group)}")
    if parsed.wants_help:
        raise Usage(_command_help(command, group))
    return parsed


def _help(words: Sequence[str], make_context: MakeContext, options: Flags) -> None:
    """`help`, `help NAME`: always raises Usage, but for the help of our own commands."""
    from kvraft_cli import helptext

    parsed = _parse_command(helptext.HELP_COMMAND, None, words)
    if not parsed.arguments:
        raise Usage(_application_help(), overview=True)
    name = parsed.arguments[0]
    if name in OWN:
        raise SystemExit(_load(OWN[name])(make_context(options), ["--help"]))
    command = _find(COMMANDS, name)
    if isinstance(command, Group):
        raise Usage(helptext.group_stub(command))
    if command is not None:
        raise Usage(helptext.command_help(command))
    if name in HELP_NAMES:
        raise Usage(helptext.command_help(helptext.HELP_COMMAND))
    raise _no_topic(name)


def _group_help(group: Group, words: Sequence[str]) -> None:
    """`GROUP help`, `GROUP help NAME`: always raises Usage."""
    from kvraft_cli import helptext

    parsed = _parse_command(helptext.HELP_COMMAND, group, words)
    if not parsed.arguments:
        raise Usage(helptext.group_help(group))
    name = parsed.arguments[0]
    command = _find(group.commands, name)
    if command is None and name in HELP_NAMES:
        command = helptext.HELP_COMMAND
    if command is None:
        raise _no_topic(name)
    assert isinstance(command, Command)
    raise Usage(helptext.command_help(command, group))


def _no_topic(name: str) -> Usage:
    if not name:
        from kvraft_cli import helptext

        return Usage(helptext.overview(COMMANDS))
    return Usage(f"No help topic for '{name}'\n", unknown=name)


def _find(commands: Sequence[Command | Group], name: str) -> Command | Group | None:
    return next((command for command in commands if command.name == name), None)


def _load(place: str) -> Callable[..., int]:
    module, _, function = place.partition(":")
    loaded: Callable[..., int] = getattr(import_module(module), function)
    return loaded


def _application_help() -> str:
    from kvraft_cli import helptext

    return helptext.application_help(COMMANDS)


def _command_help(command: Command, group: Group | None) -> str:
    from kvraft_cli import helptext

    return helptext.command_help(command, group)
