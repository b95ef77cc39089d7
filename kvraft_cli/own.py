"""What the commands that etcdctl does not have share: arguments, connections, errors, exit codes.

    0    done, or nothing differs
    1    something differs, or not all could be done; the text says what
    2    bad arguments or files, or no server can be reached; nothing was changed
    130  interrupted by the user

Errors go to stderr as `kvraftctl COMMAND: TEXT`, and name the argument and what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import ssl
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, TextIO, TypeVar

from kvraft.client.client import Client
from kvraft.client.errors import ClientError, KeyNotFound, NotADirectory, Unauthorized
from kvraft_cli.errors import Failure
from kvraft_cli.exitcodes import OWN_USAGE
from kvraft_cli.table import PROGRAM

if TYPE_CHECKING:
    from kvraft_cli.context import Context

DIFFERENT: Final = 1
INTERRUPTED: Final = 130
TREE_TIMEOUT_S: Final = 120.0  # a tree of some millions of keys takes that long to be sent
MAX_DIGITS: Final = 18  # of a number on the command line: more fit nowhere


class Trouble(Exception):
    """The command ends here; the text is for the user."""


class Parser(argparse.ArgumentParser):
    """argparse on the streams of the context; a bad argument is a Failure with code 2."""

    def __init__(self, context: Context, name: str, summary: str, epilog: str) -> None:
        super().__init__(
            prog=f"{PROGRAM} {name}",
            description=summary,
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self._context = context

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise Failure(f"{self.prog}: {message}\nsee: {self.prog} --help\n", OWN_USAGE)

    def print_help(self, file: Any = None) -> None:
        """Print the help on the context's stdout."""
        self._context.stdout.write(self.format_help())
        self._context.stdout.flush()


Settings = argparse.Namespace
Answer = TypeVar("Answer")
Work = Callable[["Context", Settings], Coroutine[Any, Any, int]]


def run(context: Context, parser: Parser, words: Sequence[str], work: Work) -> int:
    """Parse the words and do the work on an event loop; returns the exit code."""
    try:
        settings = parser.parse_args(words)
    except SystemExit as end:  # --help
        return int(end.code or 0)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(work(context, settings))
    except KeyboardInterrupt:
        context.stderr.write(f"{parser.prog}: interrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except (Trouble, ClientError, OSError) as error:
        raise Failure(f"{parser.prog}: {explain(error)}\n", OWN_USAGE) from None
    except Failure as failure:  # from the global options
        raise Failure(f"{parser.prog}: {failure.text}", OWN_USAGE, failure.reason) from None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def explain(error: Exception, user_option: str = "--username") -> str:
    """An error in words, with what to do about it where that is known."""
    if isinstance(error, Unauthorized):
        return f"{error}; give a user that may: {user_option} NAME[:PASSWORD]"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or str(error)).lower()}"
    return str(error)


# --- connections ------------------------------------------------------------------------


def connect(context: Context) -> Client:
    """A client with the global options, but more time for one call: trees may be large."""
    files = context.tls_files()
    name, password = split_user(context.credentials())
    return _client(
        ",".join(map(str, context.endpoints())),
        (name, password),
        (files.ca, files.cert, files.key),
        timeout_s=max(TREE_TIMEOUT_S, context.total_timeout_s),
        sync=not context.options.boolean("no-sync"),
    )


def add_prefix(parser: Parser) -> None:
    """The argument of commands that may be about a part of the keys."""
    parser.add_argument(
        "--prefix", default="/", type=key, metavar="KEY", help="only what is at or below KEY"
    )


def add_hidden(parser: Parser, text: str) -> None:
    """The argument that names what no listing shows; `text` says what is done with it."""
    parser.add_argument("--hidden", action="append", default=[], type=key, metavar="KEY", help=text)


def add_side(parser: Parser, side: str) -> None:
    """The arguments of one of two servers: `source` or `target`."""
    group = parser.add_argument_group(f"access to the {side} (default: the global options)")
    group.add_argument(
        f"--{side}-user", metavar="NAME[:PASSWORD]", help=f"user at the {side}; asks for a password"
    )
    group.add_argument(f"--{side}-ca-file", metavar="FILE", help=f"CA of the {side}'s certificate")
    group.add_argument(f"--{side}-cert-file", metavar="FILE", help="certificate to show it")
    group.add_argument(f"--{side}-key-file", metavar="FILE", help="key of that certificate")


def connect_side(context: Context, settings: Settings, side: str) -> Client:
    """A client of the source or target, which uses exactly the endpoints that were given.

    What members advertise may be `localhost`, which leads somewhere else from here.
    """
    given = getattr(settings, f"{side}_user")
    if given is not None and ":" not in given:
        from kvraft_cli.prompts import ask

        given = f"{given}:{ask(f'Password at the {side}: ', context.stdin.buffer, context.stdout)}"
    files = context.tls_files()
    paths = [
        getattr(settings, f"{side}_{kind}_file") or default
        for kind, default in zip(("ca", "cert", "key"), files, strict=True)
    ]
    return _client(
        getattr(settings, side),
        split_user(given if given is not None else context.credentials()),
        (paths[0], paths[1], paths[2]),
        timeout_s=max(TREE_TIMEOUT_S, context.total_timeout_s),
        sync=False,
        argument=side.upper(),
    )


def split_user(given: str | None) -> tuple[str | None, str | None]:
    """Name and password of `name:password`."""
    name, colon, password = (given or "").partition(":")
    return (name, password) if colon else (None, None)


def _client(
    urls: str,
    user: tuple[str | None, str | None],
    files: tuple[str, str, str],
    *,
    timeout_s: float,
    sync: bool,
    argument: str = "--endpoints",
) -> Client:
    try:
        return Client(
            urls,
            username=user[0],
            password=user[1],
            ca_file=files[0] or None,
            cert_file=files[1] or None,
            key_file=files[2] or None,
            timeout_s=timeout_s,
            connect_timeout_s=5.0,
            sync_endpoints=sync,
        )
    except ssl.SSLError as error:
        named = ", ".join(path for path in files if path)
        raise Trouble(f"the TLS files cannot be used ({named}): {error.reason or error}") from None
    except OSError as error:
        raise Trouble(f"a TLS file cannot be read: {explain(error)}; name another") from None
    except ValueError as error:
        raise Trouble(f"{argument}: {error}; give URLs such as http://10.0.0.1:2379") from None


# --- output -----------------------------------------------------------------------------


def say(stream: TextIO, text: str) -> None:
    """A line that is seen at once."""
    stream.write(text + "\n")
    stream.flush()


def shortened(value: str | None, limit: int = 40) -> str:
    """A value on one line, in quotation marks; what is longer is cut and its length told."""
    import json

    if value is None:
        return "directory"
    text = json.dumps(value if len(value) <= limit else value[:limit], ensure_ascii=False)
    return text if len(value) <= limit else f"{text}... ({len(value)} characters)"


def amount(count: int, noun: str) -> str:
    """A number with its noun: `1 key`, `2 keys`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def at_least(lowest: float, unit: str) -> Callable[[str], float]:
    """A type for argparse: a number that is not below the lowest."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not (math.isfinite(value) and value >= lowest):
            raise argparse.ArgumentTypeError(f"{text!r} has to be {unit}, at least {lowest:g}")
        return value

    return read


def whole(lowest: int, what: str, highest: int | None = None) -> Callable[[str], int]:
    """A type for argparse: a whole number from the lowest to the highest."""

    def read(text: str) -> int:
        digits = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
        if not digits or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} has to be {what}, at least {lowest}")
        if highest is not None and int(text) > highest:
            raise argparse.ArgumentTypeError(f"{text!r} has to be {what}, at most {highest}")
        return int(text)

    return read


def key(text: str) -> str:
    """A type for argparse: a key in its clean form."""
    from kvraft_cli.mirror.tree import clean_key

    if any(part == ".." for part in text.split("/")):
        raise argparse.ArgumentTypeError(f"{text!r} has to be a key without `..`")
    return clean_key(text)


async def naming(argument: str, call: Coroutine[Any, Any, Answer]) -> Answer:
    """Await a call; if it fails, the text says for which argument, SOURCE or TARGET.

    Raises Trouble; KeyNotFound and NotADirectory pass, as they say something about a key.
    """
    try:
        return await call
    except (KeyNotFound, NotADirectory):
        raise
    except ClientError as error:
        raise Trouble(f"{argument}: {explain(error, f'--{argument.lower()}-user')}") from None
