"""Mistakes in who counts, and when."""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.mutants import situations
from jepsen_like.mutants.mutant import Mutant, Patch, Simulated, scenario
from jepsen_like.mutants.shapes import CHANGING, CUTS
from jepsen_like.mutants.situations import CALM
from kvraft.raft import confchange, replication
from kvraft.raft.core import RaftCore, Role
from kvraft.raft.entry import Entry, EntryKind, encode_conf_change
from kvraft.raft.quorum import majority
from kvraft.server.changes import Queue
from kvraft.server.removals import Removals
from kvraft.server.replica import Replica


def _learner_counts() -> list[Patch]:
    """What a learner has counts for the commit, as if it voted."""

    def collect_voter_peers(core: RaftCore) -> None:
        core.voter_peers = list(core.progress.values())

    return [
        (RaftCore, "collect_voter_peers", collect_voter_peers),
        (replication, "advance_commit", _count_all_voter_peers),
    ]


def _change_before_own_commit() -> list[Patch]:
    """A fresh leader changes the membership although an older change may still be undone."""

    def may_go_on(queue: Queue) -> bool:
        core, waiting = queue._core, queue._queue
        return (
            bool(waiting)
            and core.role is Role.LEADER
            and core.term == queue._term
            and not core.transferee
            and not waiting[0].asking
            and not waiting[0].held
        )

    def propose_conf_change(core: RaftCore, change: Any) -> int:
        core._require_open_leader()
        confchange.check(core.membership, change)
        index = core.log.last + 1
        data = encode_conf_change(change)
        core.log.append([Entry(core.term, index, int(EntryKind.CONFIG), data)])
        core.send_pending = bool(core.progress)
        return index

    return [
        (Queue, "_may_go_on", may_go_on),
        (RaftCore, "propose_conf_change", propose_conf_change),
        (RaftCore, "commit_previous_change", lambda core: None),
    ]


def _change_repeated() -> list[Patch]:
    """The leader takes a repeated frame for a new change."""
    original = Queue.take

    def take(queue: Queue, frame: Any, now_ns: int) -> None:
        queue._handled.pop(frame.sender, None)
        original(queue, frame, now_ns)

    return [(Queue, "take", take)]


def _leaves_at_once() -> list[Patch]:
    """A removed member ends as soon as it knows, though nobody else may know it for good."""
    original = RaftCore.apply_conf_change

    def apply_conf_change(core: RaftCore, change: Any) -> Any:
        after = original(core, change)
        core._sync_commit = False
        return after

    return [
        (Removals, "may_leave", lambda removals, others, now_ns: removals.own_ns is not None),
        (RaftCore, "apply_conf_change", apply_conf_change),
    ]


def _removed_member_counts() -> list[Patch]:
    """A removed member goes on receiving, and what it acknowledges counts."""
    original = RaftCore._adopt_membership

    def adopt_membership(core: RaftCore) -> None:
        before = dict(core.progress)
        original(core)
        if core.role is Role.LEADER:
            core.progress = before | core.progress
            core.collect_voter_peers()

    def collect_voter_peers(core: RaftCore) -> None:
        learners = core.membership.learners
        core.voter_peers = [peer for peer in core.progress.values() if peer.member not in learners]

    return [
        (RaftCore, "_adopt_membership", adopt_membership),
        (RaftCore, "collect_voter_peers", collect_voter_peers),
        (replication, "advance_commit", _count_all_voter_peers),
        (Replica, "may_be_told_of_removal", lambda replica, member: False),
    ]


def _count_all_voter_peers(core: RaftCore) -> None:
    """Commit what so many have as make a majority of the voters, whoever they are."""
    needed = majority(len(core.membership.voters))
    matches = sorted([peer.match for peer in core.voter_peers] + [core.log.durable])
    index = matches[-needed]
    if index > core.commit and index >= core.own_first:
        core.commit = index
        core.send_pending = bool(core.progress)


FORKED: Final = "applies Entry|data were lost|differs from what is committed"
LOST_ENTRY: Final = "a committed entry differs|lacks a committed entry"

MUTANTS: Final = (
    Mutant(
        "learner counts",
        "Commits count what learners have.",
        "",
        _learner_counts,
        (
            Simulated(CALM, FORKED, script=situations.CUT_OFF_WITH_A_LEARNER),
            scenario("membership_learner_counts_for_nothing", "expect 1 commit"),
        ),
    ),
    Mutant(
        "count a removed member",
        "Commits count what removed members have acknowledged.",
        "section 5",
        _removed_member_counts,
        (
            Simulated(
                CALM._replace(members=4), FORKED, script=situations.CUT_OFF_WITH_A_REMOVED_MEMBER
            ),
            scenario("membership_removed_member_does_not_count", "expect 1 commit", blind=True),
        ),
    ),
    Mutant(
        "membership change before own-term commit",
        "A fresh leader changes the membership, though an older change may still be undone.",
        "section 7: membership change by a fresh leader", _change_before_own_commit,
        (
            Simulated(
                CHANGING._replace(
                    change_every_ms=60, faults=(*CUTS, "kill leader"), strict_reconfig=False,
                    max_append_bytes=300,
                ),
                f"{FORKED}|did not agree|both lead|no 20 writes",
            ),
            scenario("membership_fresh_leader_adds_two", LOST_ENTRY, blind=True),
            scenario("membership_fresh_leader_adds_and_removes", LOST_ENTRY, blind=True),
            scenario("membership_fresh_leader_removes_two", LOST_ENTRY, blind=True),
        ),
    ),
    Mutant(
        "change repeated", "A repeated membership change is taken for a new one.", "",
        _change_repeated,
        (
            Simulated(
                CHANGING._replace(
                    faults=("loss", "duplicate", "clog", "reorder"), fault_every_ms=150
                ),
                "was answered with|entries made|made .* times",
            ),
        ),
    ),
    Mutant(
        "removed member leaves at once",
        "Nobody else may know for good that it is removed.",
        "",
        _leaves_at_once,
        (
            Simulated(
                CALM._replace(members=2, clients=2, think_ms=400),
                "no 20 writes|did not agree",
                script=situations.REMOVED_BEFORE_A_POWER_CUT,
            ),
        ),
    ),
)  # fmt: skip
