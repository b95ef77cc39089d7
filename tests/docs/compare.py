"""Whether a program printed what a page shows, and what to show instead.

A page shows a real run, so some of it is never the same twice: ids, moments, indices. Such words
are equal to any other of their kind. Everything else is compared to the letter, but for the
placeholder `...`: inside a line it stands for anything, alone on a line for any number of lines.
"""

from __future__ import annotations

import re
from typing import Final

# What is taken for equal, in this order: a pattern, and what stands for it.
VARYING: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)", "<time>"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?", "<time>"),
        (r"\b[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", "<time>"),
        (r'("(?:created|modified)Index": ?)\d+', r"\1<index>"),
        (r'("(?:created|modified|etcd)_index": ?)\d+', r"\1<index>"),
        (r'("(?:time|ttl)": ?)[\d.]+', r"\1<time>"),
        (r"((?:Created|Modified|Etcd|Raft)-Index: )\d+", r"\1<index>"),
        (r"(X-Raft-Term: )\d+", r"\1<term>"),
        (r"(Content-Length: )\d+", r"\1<length>"),
        (r"^(Index: )\d+", r"\1<index>"),
        (r'("index": ?)\d+', r"\1<index>"),
        (r"(\) |^)\[\d+(?:/\d+)?\]$", r"\1[<index>]"),
        (r"\b\d{20}\b", "<in order>"),
        (r"\b(?=[0-9a-f]*\d)[0-9a-f]{12,16}\b", "<id>"),
        (r"\b[0-9a-f]{32}\b", "<token>"),
        (r"\b[0-9a-f]{64}\b", "<digest>"),
        (r"\b(raft index +)\d+", r"\1<index>"),
        (r"\b\d+(?:\.\d+)?(?: ?(?:ms|µs|us)| ?s(?:econds)?)\b", "<duration>"),
        (r"/tmp/[\w.-]+", "<directory>"),
        (r"\bisLeader=(?:true|false)\b", "isLeader=<yes or no>"),
        # who leads is settled by chance
        (r"^\s*m\d  (http://\S+ +)(?:leader|follower) +term \d+, index \d+", r"\1<role>"),
        (r"^m\d (is dead|leads|stands still|goes on|is back|has stopped)", r"<member> \1"),
        (r"( is back at )http://\S+", r"\1<its URL>"),
        (r"\b(leads in term )\d+", r"\1<term>"),
        (r'"((?:start|resume)) m\d"', r'"\1 <member>"'),
    )
)
_ANY: Final = "..."


def plain(line: str) -> str:
    """A line with what varies replaced by its kind; spaces at the end do not count."""
    for pattern, name in VARYING:
        line = pattern.sub(name, line)
    return line.rstrip()


def same(expected: list[str], actual: list[str]) -> bool:
    """Whether the output is what the page shows."""
    if not expected:
        return not actual
    if expected[0].strip() == _ANY:
        return any(same(expected[1:], actual[skip:]) for skip in range(len(actual) + 1))
    return bool(actual) and _same_line(expected[0], actual[0]) and same(expected[1:], actual[1:])


def _same_line(expected: str, actual: str) -> bool:
    if _ANY not in expected:
        return plain(expected) == plain(actual)
    pattern = ".*".join(re.escape(part) for part in plain(expected).split(_ANY))
    return re.fullmatch(pattern, plain(actual)) is not None


def renewed(expected: list[str], actual: list[str]) -> list[str]:
    """What the page should show: what it shows already where that is still true."""
    if same(expected, actual):
        return expected
    return [line.rstrip() for line in actual]
