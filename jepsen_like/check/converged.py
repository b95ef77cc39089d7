"""After all faults have ended, members show the same, and what the order of changes leads to."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.replay import nodes_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jepsen_like.check.evidence import LastLook


def check_converged(finals: Sequence[LastLook]) -> None:
    """The same index means the same state, byte for byte; and all are to reach the same index."""
    roots: dict[bytes, list[LastLook]] = defaultdict(list)
    for final in finals:
        roots[final.root].append(final)
    for below in roots.values():
        first = below[0]
        for other in below[1:]:
            _check_pair(first, other)


def _check_pair(one: LastLook, other: LastLook) -> None:
    names = f"members {one.member} and {other.member}"
    if one.store_index != other.store_index:
        raise Violation(
            f"{names} stand at index {one.store_index} and {other.store_index} in the end"
        )
    mine, theirs = nodes_of(one.document), nodes_of(other.document)
    for path in sorted(mine.keys() | theirs.keys()):
        if mine.get(path) != theirs.get(path):
            raise Violation(
                f"{names} differ at index {one.store_index} in {path!r}: {mine.get(path)} and "
                f"{theirs.get(path)}"
            )
