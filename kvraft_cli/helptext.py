"""The help, laid out as etcdctl's: blocks aligned with tabs, each ending in three spaces.

Pure: commands in, text out. (etcdctl reference, section 1.3.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from kvraft_cli.flags import BOOL, LIST, Flag
from kvraft_cli.table import GLOBAL_FLAGS, HELP, PROGRAM, SUMMARY, VERSION, Command, Group

TAB: Final = 8
INDENT: Final = "   "
HELP_COMMAND: Final = Command("help", "", "list the commands, or show the help of one", "[command]")
_HELP_LINE: Final = ("help, h", HELP_COMMAND.summary)


def application_help(commands: Sequence[Command | Group]) -> str:
    """What `kvraftctl` alone says."""
    return (
        f"NAME:\n{INDENT}{PROGRAM} - {SUMMARY}\n\n"
        f"USAGE:\n{INDENT}{PROGRAM} [global options] command [command options] [arguments...]\n"
        f"{INDENT}\n"
        f"VERSION:\n{INDENT}{VERSION}\n{INDENT}\n"
        f"COMMANDS:\n{_command_block(commands)}\n"
        f"GLOBAL OPTIONS:\n{_flag_block(GLOBAL_FLAGS)}\n"
    )


def group_help(group: Group) -> str:
    """What a group without a subcommand says."""
    return _overview(f"{PROGRAM} {group.name}", group.summary, group.commands, (HELP,))


def overview(commands: Sequence[Command | Group]) -> str:
    """The answer to an empty command name: the application, shown like a group."""
    return _overview(PROGRAM, SUMMARY, commands, GLOBAL_FLAGS)


def _overview(
    name: str, summary: str, commands: Sequence[Command | Group], flags: Sequence[Flag]
) -> str:
    return (
        f"NAME:\n{INDENT}{name} - {summary}\n\n"
        f"USAGE:\n{INDENT}{name} command [command options] [arguments...]\n\n"
        f"COMMANDS:\n{_command_block(commands)}\n"
        f"OPTIONS:\n{_flag_block(flags)}\n"
    )


def command_help(command: Command, group: Group | None = None) -> str:
    """The help of one command or subcommand."""
    name = f"{PROGRAM} {group.name} {command.name}" if group else f"{PROGRAM} {command.name}"
    options = " [command options]" if command.flags else ""
    text = (
        f"NAME:\n{INDENT}{name} - {command.summary}\n\n"
        f"USAGE:\n{INDENT}{name}{options} {command.arguments}\n"
    )
    if command.description:
        text += f"\nDESCRIPTION:\n{INDENT}{command.description}\n"
    if command.flags:
        text += f"\nOPTIONS:\n{_flag_block(command.flags)}\n"
    return text


def group_stub(group: Group) -> str:
    """What `help GROUP` says: less than `GROUP help`."""
    name = f"{PROGRAM} {group.name}"
    return f"NAME:\n{INDENT}{name} - {group.summary}\n\nUSAGE:\n{INDENT}{name} [arguments...]\n"


def flag_label(flag: Flag) -> str:
    """A flag's names and default, as they stand at the left."""
    names = ", ".join(f"--{name}" if len(name) > 1 else f"-{name}" for name in flag.names)
    if flag.kind is BOOL:
        return names
    if flag.kind is LIST:
        first = names.split(",")[0]
        return f"{names} [{first} option {first} option]"
    return f'{names} "{flag.default}"' if flag.default else f"{names} "


def aligned(rows: Iterable[tuple[str, str]]) -> str:
    """Two columns, the left one filled up with tabs to a common stop."""
    left = [(INDENT + label, text) for label, text in rows]
    widest = max(len(label) for label, _ in left)
    column = (widest // TAB + 1) * TAB
    return "".join(
        label + "\t" * -((len(label) - column) // TAB) + text + "\n" for label, text in left
    )


def _command_block(commands: Sequence[Command | Group]) -> str:
    rows = [(command.name, command.summary) for command in commands]
    return aligned([*rows, _HELP_LINE]) + INDENT


def _flag_block(flags: Sequence[Flag]) -> str:
    return aligned((flag_label(flag), flag.summary) for flag in flags) + INDENT
