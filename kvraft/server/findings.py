"""What an examination finds: a sentence that says what is, or what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, TextIO


class Mark(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # it would start, and may disappoint
    ERROR = "error"  # it would not start


class Finding(NamedTuple):
    """One line of a report."""

    mark: Mark
    text: str


def ok(text: str) -> Finding:
    """All is well."""
    return Finding(Mark.OK, text)


def warning(text: str) -> Finding:
    """Worth a thought."""
    return Finding(Mark.WARNING, text)


def error(text: str) -> Finding:
    """In the way of a start."""
    return Finding(Mark.ERROR, text)


_COLOURS = {Mark.OK: "32", Mark.WARNING: "33", Mark.ERROR: "31"}
_WIDTH = max(len(mark.value) for mark in Mark)


def write(findings: Iterable[Finding], out: TextIO, colour: bool) -> dict[Mark, int]:
    """Print each as soon as it is known; how many there were of each mark."""
    counts = dict.fromkeys(Mark, 0)
    for mark, text in findings:
        counts[mark] += 1
        word = f"{mark.value:{_WIDTH}}"
        if colour:
            word = f"\x1b[{_COLOURS[mark]}m{word}\x1b[0m"
        out.write(f"{word}  {' '.join(text.split())}\n")
        out.flush()
    return counts
