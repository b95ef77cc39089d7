"""What a sync says in the end: whether it is safe to switch, and if not, why.

Pure: figures and differences in, lines and an exit code out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from kvraft_cli.mirror.figures import Figures
from kvraft_cli.mirror.tree import Difference

SHOWN: Final = 10


class Verdict(NamedTuple):
    """Lines for the user, and the exit code."""

    lines: tuple[str, ...]
    code: int


def judge(
    figures: Figures,
    found: Sequence[Difference],
    before: int,
    after: int,
    problem: str,
) -> Verdict:
    """`before` and `after`: the source's index at the last comparison and after it.

    `problem`: why there was no comparison; empty if there was one.
    """
    lines = [f"done: {figures.line()}"]
    if problem:
        lines.append(f"NOT VERIFIED: {problem}; give the same command again to go on")
        return Verdict(tuple(lines), 1)
    keys = [each.key for each in found]
    keys += [key for key in figures.conflicts if key not in keys]
    if keys or figures.difference:
        lines.append(
            f"NOT IDENTICAL: {max(len(keys), figures.difference)} keys differ; "
            + ("the source is being written" if after != before else "do not switch")
        )
        for key in keys[:SHOWN]:
            lines.append(f"  {key}: {figures.conflicts.get(key, 'differs')}")
        return Verdict(tuple(lines), 1)
    lines.append(
        f"IDENTICAL: {figures.keys} keys at the source's index {before}"
        + (f"; {figures.extra} more keys only at the target" if figures.extra else "")
    )
    if after == before:
        lines.append("the source did not change while both were compared: it is safe to switch")
    else:
        lines.append(
            f"the source's index has moved since (now {after}): stop what writes there, and run "
            "this again before you switch"
        )
    return Verdict(tuple(lines), 0)
