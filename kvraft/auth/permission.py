"""Who may read or write which key: a decision without any state of its own.

A pattern that ends in a star matches every path that begins with what stands before the star;
any other pattern is the path itself, and a star elsewhere is a plain character. Paths are those of
requests, decoded, their trailing slash kept: `/a/*` matches `/a/` and not `/a`. (admin-api, 7.6.)

Must not know: credentials, HTTP, where roles are kept. Invariant: without a matching pattern the
answer is no.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from kvraft.auth.model import ROOT, Names, Role


class Patterns(NamedTuple):
    """The patterns of one role for one kind of access, ready to be matched."""

    exact: frozenset[bytes]
    prefixes: tuple[bytes, ...]

    def match(self, path: bytes, recursive: bool) -> bool:
        """Whether one of them covers the path; and, if recursive, all that may lie below it."""
        return path.startswith(self.prefixes) or (not recursive and path in self.exact)


class Rules(NamedTuple):
    """What one role allows."""

    read: Patterns
    write: Patterns

    def allow(self, path: bytes, write: bool, recursive: bool) -> bool:
        """Whether this role alone allows it."""
        return (self.write if write else self.read).match(path, recursive)


class Verdict(NamedTuple):
    """A decision, and how many roles were looked up for it in vain and with success."""

    allowed: bool
    found: int
    missing: int


def compile_patterns(patterns: Names | None) -> Patterns:
    """Prepare patterns; an empty one, which only a foreign backup may hold, matches nothing."""
    encoded = [pattern.encode("utf-8", "surrogateescape") for pattern in patterns or ()]
    return Patterns(
        frozenset(pattern for pattern in encoded if pattern and not pattern.endswith(b"*")),
        tuple(pattern[:-1] for pattern in encoded if pattern.endswith(b"*")),
    )


def compile_role(role: Role) -> Rules:
    """Prepare a role."""
    access = role.permissions
    return Rules(compile_patterns(access.read), compile_patterns(access.write))


def decide_user(
    roles: Iterable[str],
    rules_of: Callable[[str], Rules | None],
    path: bytes,
    write: bool,
    recursive: bool,
) -> Verdict:
    """Judge a request of a user with these roles, which are asked in their order."""
    found = missing = 0
    for name in roles:
        if name == ROOT:
            return Verdict(True, found, missing)
        rules = rules_of(name)
        if rules is None:
            missing += 1
            continue
        found += 1
        if rules.allow(path, write, recursive):
            return Verdict(True, found, missing)
    return Verdict(False, found, missing)


def decide_guest(rules: Rules | None, path: bytes, write: bool) -> Verdict:
    """Judge a request without credentials by the rules of the role guest.

    A recursive one is judged like any other: an exact permission on a directory opens its tree.
    """
    if rules is None:
        return Verdict(False, 0, 1)
    return Verdict(rules.allow(path, write, recursive=False), 1, 0)
