"""`watch` and `exec-watch`: one request after the other, each waiting for the next change.

Nothing is done about lost history: an error answer ends the command. An interrupt ends it with
exit code 0. (etcdctl reference, section 5.)
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Final

from kvraft_cli.answers import Answer, EmptyBody, read_answer
from kvraft_cli.commands.keys import PREFIX
from kvraft_cli.context import Context
from kvraft_cli.errors import Failure, RequestError, command_failure, missing
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS
from kvraft_cli.flags import Flags
from kvraft_cli.output import rendered, unsupported
from kvraft_cli.session import Session

_UINT64: Final = (1 << 64) - 1


def watch(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Print the next change of a key, or all to come."""
    api = context.api
    if not arguments:
        raise missing("key")
    end_on_interrupt()
    recursive = flags.boolean("recursive")
    for answer in changes(api, arguments[0], recursive, wait_index(flags.number("after-index"))):
        if answer.node.dir:
            continue
        if recursive:
            context.stdout.write(f"[{answer.action}] {answer.node.key}\n")
        text = rendered(answer, context.output)
        context.stdout.write(text or "")
        context.stdout.flush()
        if text is None:
            context.stderr.write(unsupported(context.output))
            context.stderr.flush()
        if not flags.boolean("forever"):
            break
    return SUCCESS


def exec_watch(context: Context, flags: Flags, arguments: list[str]) -> int:
    """Run a command for each change of a key."""
    api = context.api
    key, command = key_and_command(arguments)
    end_on_interrupt()
    after = flags.number("after-index")
    start = wait_index(after + 1 if after else 0)
    for answer in changes(api, key, flags.boolean("recursive"), start):
        if answer.node.dir:
            context.stderr.write(f"Ignored dir {answer.node.key} change")
            context.stderr.flush()
            continue
        _start(command, event_environment(answer))
    return SUCCESS


def wait_index(after: int) -> int:
    """The `waitIndex` that asks for what comes after an index; 0 is from now on."""
    return (after + 1) & _UINT64 if after else 0


def key_and_command(arguments: list[str]) -> tuple[str, list[str]]:
    """What to watch and what to run.

    With a `--` anywhere but first the key stands first and the command begins with the third
    word; otherwise the key is the last word, since flags before it moved it there.
    """
    if len(arguments) > 1:
        if "--" in arguments[1:]:
            key, command = arguments[0], arguments[2:]
        else:
            key, command = arguments[-1], arguments[:-1]
        if command:
            return key, command
    raise Failure("Error:  key and command to exec required\n", BAD_ARGUMENTS)


def event_environment(answer: Answer) -> dict[str, str]:
    """The variables that tell a command of an event."""
    return {
        "ETCD_WATCH_ACTION": answer.action,
        "ETCD_WATCH_MODIFIED_INDEX": str(answer.node.modified_index),
        "ETCD_WATCH_KEY": answer.node.key,
        "ETCD_WATCH_VALUE": answer.node.value,
    }


def changes(api: Session, key: str, recursive: bool, index: int) -> Iterator[Answer]:
    """Change after change, directories included; raises Failure when a request fails."""
    path = f"{PREFIX}/{key.removeprefix('/')}" if key else PREFIX
    while True:
        query = [
            ("recursive", "true" if recursive else "false"),
            ("wait", "true"),
            ("waitIndex", str(index)),
        ]
        try:
            reply = api.request("GET", path, query=query, limited=False, waits=True)
            etcd_index = reply.headers.get("x-etcd-index", "")
            answer = read_answer(reply.status, etcd_index, reply.body)
        except EmptyBody:
            continue
        except RequestError as error:
            raise command_failure(error) from None
        yield answer
        index = answer.node.modified_index + 1


def end_on_interrupt(code: int = SUCCESS) -> None:
    """From here on an interrupt ends the process at once, with this exit code."""
    leave: Callable[..., object] = lambda *_: os._exit(code)  # noqa: E731
    signal.signal(signal.SIGINT, leave)


def _start(command: list[str], variables: dict[str, str]) -> None:
    """Start a command without waiting for it; raises Failure if that cannot be done."""
    environment = dict(os.environb)
    for name, value in variables.items():
        # a variable cannot hold a zero byte; what follows it would be lost in any case
        text = value.partition("\0")[0]
        environment[name.encode()] = text.encode("utf-8", "surrogateescape")
    words = [word.encode("utf-8", "surrogateescape") for word in command]
    try:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, env=environment)
    except OSError as error:
        raise Failure(cannot_start(command[0], error), BAD_ARGUMENTS) from None
    # its end has to be noticed, or it stays as a zombie
    threading.Thread(target=process.wait, daemon=True).start()


def cannot_start(program: str, error: OSError) -> str:
    """Why a command did not start, without a line end."""
    if "/" not in program and error.errno in (errno.ENOENT, errno.EACCES):
        from kvraft.server.quoting import quote

        return f"exec: {quote(program)}: executable file not found in $PATH"
    return f"fork/exec {program}: {os.strerror(error.errno or 0).lower()}"
