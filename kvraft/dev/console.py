"""The commands that `kvraft dev` takes on a terminal: ways to break a cluster and to mend it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft.testing.control import ControlError

if TYPE_CHECKING:
    from kvraft.testing.control import AsyncCluster

QUIT: Final = ("quit", "exit", "q")
_NOBODY: Final = "Nobody leads: there is no majority, or the election is not over yet."


class Command(NamedTuple):
    """One word of the console, and what comes behind it."""

    arguments: str
    summary: str
    run: Callable[[AsyncCluster, Sequence[str]], Awaitable[str]]


class UsageError(Exception):
    """A command was not understood; the text is for the user."""


async def execute(cluster: AsyncCluster, line: str) -> str:
    """Carry out one line; returns what to show. Whatever goes wrong is told in the same way."""
    words = line.split()
    if not words:
        return ""
    name, *arguments = words
    command = COMMANDS.get(name)
    if command is None:
        return f'There is no command "{name}"; "help" lists them.'
    try:
        return await command.run(cluster, arguments)
    except UsageError as error:
        return f"{error} Usage: {name} {command.arguments}".rstrip()
    except ControlError as error:
        return str(error)


async def _status(cluster: AsyncCluster, words: Sequence[str]) -> str:
    _none(words)
    return status_text(cluster)


def status_text(cluster: AsyncCluster) -> str:
    """A line for each member."""
    rows = []
    for name in cluster.members:
        status = cluster.status(name)
        indices = f"term {status.term}, index {status.applied}" if status.running else ""
        rows.append(f"  {name}  {status.url:<24}  {status.state:<10} {indices}".rstrip())
    if cluster.leader is None:
        rows.append(f"  {_NOBODY}")
    return "\n".join(rows)


async def _stop(cluster: AsyncCluster, words: Sequence[str]) -> str:
    name = _one(words)
    await cluster.stop(name)
    return f'{name} has stopped; "start {name}" brings it back.'


async def _kill(cluster: AsyncCluster, words: Sequence[str]) -> str:
    name = await cluster.kill(_optional(words))
    return f'{name} is dead, as after kill -9; "start {name}" brings it back.'


async def _start(cluster: AsyncCluster, words: Sequence[str]) -> str:
    name = _one(words)
    if cluster.status(name).running:
        return f"{name} runs already"
    await cluster.restart(name)
    return f"{name} is back at {cluster.url(name)}."


async def _pause(cluster: AsyncCluster, words: Sequence[str]) -> str:
    name = await cluster.pause(_optional(words))
    return f'{name} stands still, as after SIGSTOP; "resume {name}" lets it go on.'


async def _resume(cluster: AsyncCluster, words: Sequence[str]) -> str:
    name = _optional(words)
    resumed = await cluster.resume(name)
    if not resumed:
        return "Nobody was paused."
    return f"{', '.join(resumed)} {'goes' if len(resumed) == 1 else 'go'} on."


async def _partition(cluster: AsyncCluster, words: Sequence[str]) -> str:
    groups = await cluster.partition(*(word.split(",") for word in words))
    sides = " | ".join(" ".join(group) for group in groups)
    return f'Cut: {sides}; clients still reach every member. "heal" joins them again.'


async def _heal(cluster: AsyncCluster, words: Sequence[str]) -> str:
    _none(words)
    await cluster.heal()
    return "All members reach each other."


async def _advance(cluster: AsyncCluster, words: Sequence[str]) -> str:
    word = _one(words)
    try:
        seconds = float(word)
    except ValueError:
        raise UsageError(f"{word!r} is not a number of seconds.") from None
    await cluster.advance(seconds)
    return f"{word} seconds have passed for keys with a TTL."


async def _help(_cluster: AsyncCluster, words: Sequence[str]) -> str:
    _none(words)
    rows = [
        (f"{name} {command.arguments}".rstrip(), command.summary)
        for name, command in COMMANDS.items()
    ]
    rows.append((QUIT[0], "stop the cluster; so does Ctrl-C"))
    width = max(len(usage) for usage, _ in rows)
    return "\n".join(f"  {usage:<{width}}  {summary}" for usage, summary in rows)


COMMANDS: Final[Mapping[str, Command]] = {
    "status": Command("", "who is there, and who leads", _status),
    "stop": Command("MEMBER", "stop a member in order; a leader hands over first", _stop),
    "kill": Command("[MEMBER]", "end one like kill -9; the leader if none is named", _kill),
    "start": Command("MEMBER", "bring back a member that was stopped or killed", _start),
    "pause": Command("[MEMBER]", "freeze one like SIGSTOP; the leader if none is named", _pause),
    "resume": Command("[MEMBER]", "let it go on; all if none is named", _resume),
    "partition": Command(
        "[GROUP ...]",
        "cut the members apart: m1 m2,m3; the leader alone if none is named",
        _partition,
    ),
    "heal": Command("", "connect all members again", _heal),
    "advance": Command("SECONDS", "let time pass for keys with a TTL", _advance),
    "help": Command("", "this list", _help),
}


def _none(words: Sequence[str]) -> None:
    if words:
        raise UsageError(f"{words[0]!r} is one word too many.")


def _one(words: Sequence[str]) -> str:
    if not words:
        raise UsageError("A word is missing.")
    _none(words[1:])
    return words[0]


def _optional(words: Sequence[str]) -> str | None:
    return _one(words) if words else None
