"""Asking for a password: the prompt goes to stdout, one line is read from stdin.

Stdin need not be a terminal: scripts pipe the password in, and what follows its line stays to be
read, such as the value of a key. Source: etcdctl.md, section 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO


def ask(prompt: str, stdin: BinaryIO, stdout: TextIO) -> str:
    """What is typed or piped in, without surrounding space; empty at the end of the input.

    A terminal shows nothing of it. Raises OSError if stdin cannot be read.
    """
    with _unseen(stdin):  # before the prompt: who answers fast is not seen either
        stdout.write(prompt)
        stdout.flush()
        line = stdin.readline()
    # the line end that the user typed was not shown either
    stdout.write("\n")
    stdout.flush()
    return line.decode("utf-8", "surrogateescape").strip()


@contextmanager
def _unseen(stdin: BinaryIO) -> Iterator[None]:
    """While this lasts a terminal does not show what is typed; it always does again after."""
    if not stdin.isatty():
        yield
        return
    import termios  # only here: most commands never ask, and start faster without

    descriptor = stdin.fileno()
    before = termios.tcgetattr(descriptor)
    quiet = termios.tcgetattr(descriptor)
    quiet[3] &= ~termios.ECHO
    try:
        # what was typed ahead may have been meant for the prompt
        termios.tcsetattr(descriptor, termios.TCSADRAIN, quiet)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
