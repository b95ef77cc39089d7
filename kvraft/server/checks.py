"""Whether all members hold the same data: what they tell each other, and who is right.

The leader puts a CHECK into the log. Whoever applies it takes the digest of its store exactly there
and reports it to the leader, which compares. Equal logs make equal stores, so that a difference
means broken memory, a broken disk that no checksum noticed, or a defect of this program. The
majority is believed; without one nobody knows who is right.

No I/O. `corruption` is the shell around it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from kvraft.store.store import Store


class CheckReport(NamedTuple):
    """The sender's store has this digest after the entry `at`, which is the CHECK `number`.

    `version` names the program: another one may write the same data differently.
    """

    to: int
    sender: int
    term: int
    number: int
    at: int
    digest: bytes
    version: bytes


class CheckVerdict(NamedTuple):
    """The leader of `term` has compared: the receiver agrees with the majority, or not."""

    to: int
    sender: int
    term: int
    number: int
    at: int
    agrees: bool
    digest: bytes
    """That of the majority."""


CHECK_FRAMES = (CheckReport, CheckVerdict)
CheckFrame = CheckReport | CheckVerdict


class Judgement(NamedTuple):
    """The outcome of a comparison."""

    majority: bytes | None
    """The digest of more than half of the voters; None if there is none."""
    agreeing: tuple[int, ...]
    deviating: tuple[int, ...]
    """All that differ from the majority; without one, everybody if there is any difference."""


def judge(digests: Mapping[int, bytes], voters: Collection[int]) -> Judgement:
    """Compare the digests of members by id; `voters` are all of the cluster, heard of or not."""
    counts = Counter(digest for member, digest in digests.items() if member in voters)
    majority = next((d for d, count in counts.items() if 2 * count > len(voters)), None)
    if majority is None:
        alike = len(set(digests.values())) <= 1
        everybody = tuple(sorted(digests))
        return Judgement(None, everybody if alike else (), () if alike else everybody)
    agreeing = tuple(sorted(m for m, digest in digests.items() if digest == majority))
    return Judgement(majority, agreeing, tuple(sorted(set(digests) - set(agreeing))))


class CheckListener(Protocol):
    """Who carries out the checks of a replica."""

    def reached(self, number: int, at: int, store: Store) -> None:
        """The CHECK of this number has been applied at this index; called at exactly that time."""

    def received(self, frame: Any) -> None:
        """A CheckFrame has come from another member."""

    def leader_changed(self) -> None:
        """Another member leads, or nobody, or in another term; a CHECK of before may be lost."""
