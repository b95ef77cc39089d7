"""What the commands have in common: numbers within bounds, files to be written, an interruption."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import signal
import tempfile
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Final

WRONG_USE: Final = 2  # the exit status


def positive(text: str) -> float:
    """A finite number above 0."""
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("has to be more than 0")
    return value


def not_negative(text: str) -> float:
    """A finite number of 0 or more."""
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be less than 0")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not finite")
    return value


def whole(text: str) -> int:
    """A whole number above 0."""
    value = count(text)
    if value < 1:
        raise argparse.ArgumentTypeError("has to be more than 0")
    return value


def count(text: str) -> int:
    """A whole number of 0 or more."""
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError("must not be less than 0")
    return value


def output(text: str) -> Path:
    """A file that can be written: said before the work that it is to hold, not after."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a directory")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no directory {path.parent}; make it first")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} must not be written by this user")
    return path


def told(error: Exception) -> str:
    """An error for people; of the system's, the file and the reason."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or repr(error)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, also where a shell had that ignored (`&`)."""
    before = (
        signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT)),
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def run_to_end(coroutine: Coroutine[object, object, None]) -> None:
    """`asyncio.run`, where an interruption stays one, however what it struck has ended.

    Ctrl-C reaches the members, too. That they die of it breaks no promise.
    """
    interrupted = False

    async def noting() -> None:
        nonlocal interrupted
        try:
            await coroutine
        finally:
            task = asyncio.current_task()
            interrupted = task is not None and task.cancelling() > 0

    try:
        asyncio.run(noting())
    finally:
        if interrupted:
            raise KeyboardInterrupt


def begin_worker() -> None:
    """In a process of a pool: Ctrl-C is the parent's, which then ends this one by SIGTERM."""
    # a handler, for programs started here must not ignore it as this process does
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A directory for what may have to be kept; if nothing is in it in the end, it goes."""
    path = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield path
    finally:
        if not any(path.iterdir()):
            path.rmdir()
