"""The command `kvraftctl`: the process around the commands.

Text passes through as bytes, whatever the locale: words of the command line, values, output.
An interrupt, or a reader of the output that has gone, ends the process as it does any program in C.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn, TextIO

from kvraft_cli import app
from kvraft_cli.errors import Failure
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS
from kvraft_cli.table import PROGRAM

if TYPE_CHECKING:
    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point of the command; ends the process."""
    words = [_as_utf8(word) for word in (sys.argv[1:] if argv is None else argv)]
    stdin, stdout, stderr = _stream(sys.stdin, 0), _stream(sys.stdout, 1), _stream(sys.stderr, 2)
    try:
        code = run(words, stdin, stdout, stderr)
        stdout.flush()
        stderr.flush()
    except KeyboardInterrupt:
        _die_of("SIGINT")
    except BrokenPipeError:
        _die_of("SIGPIPE")
    except OSError as error:  # nothing else lets one through: the output cannot be written
        os.write(2, f"{PROGRAM}: cannot write: {os.strerror(error.errno or 0)}\n".encode())
        code = BAD_ARGUMENTS
    # The interpreter's own end costs milliseconds and has nothing left to do.
    os._exit(code)


def run(words: Sequence[str], stdin: TextIO, stdout: TextIO, stderr: TextIO) -> int:
    """Run one command; prints what it has to say and returns the exit code."""

    made: list[Context] = []

    def make_context(options: Flags) -> Context:
        from kvraft_cli.context import Context

        made.append(Context(options, os.environ, stdin, stdout, stderr))
        return made[-1]

    try:
        return app.run(words, make_context)
    except app.Usage as usage:
        stdout.write(usage.text)
        stdout.flush()
        if stderr.isatty():
            from kvraft_cli.hints import for_usage

            stderr.write(for_usage(usage.unknown, overview=usage.overview))
        return SUCCESS
    except Failure as failure:
        stdout.flush()
        stderr.write(failure.text)
        if stderr.isatty():
            from kvraft_cli.hints import for_failure

            stderr.write(for_failure(failure))
        return failure.code
    finally:
        for context in made:
            context.close()


def _as_utf8(word: str) -> str:
    """A word of the command line, decoded as UTF-8 whatever the locale made of it."""
    return os.fsencode(word).decode("utf-8", "surrogateescape")


def _stream(stream: TextIO | None, number: int) -> TextIO:
    """A standard stream that takes any bytes; a closed one is replaced by nothing."""
    if not isinstance(stream, io.TextIOWrapper):
        stream = open(os.devnull, "r" if number == 0 else "w", encoding="utf-8")  # noqa: SIM115
        assert isinstance(stream, io.TextIOWrapper)
    stream.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")
    return stream


def _die_of(name: str) -> NoReturn:
    import signal

    number = signal.Signals[name]
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)


if __name__ == "__main__":
    main()
