"""Mistakes in counting, voting and answering within the consensus core."""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.mutants.mutant import Case, Mutant, Patch, Simulated, Staged, scenario
from jepsen_like.mutants.shapes import CUTS, ROUGH
from kvraft.raft import election, replication
from kvraft.raft.core import RaftCore
from kvraft.raft.log import RaftLog
from kvraft.raft.message import Heartbeat
from kvraft.raft.quorum import reached_by_majority
from kvraft.raft.ready import ReadState
from kvraft.storage.datadir import Storage

REGRESSIONS: Final = "tests/raft/test_regressions.py"


def _commit_before_sync(core: RaftCore) -> None:
    """The commit rule, but the leader's own log counts whether it is synced or not."""
    matches = [progress.match for progress in core.voter_peers] + [core.log.last]
    index = reached_by_majority(matches)
    if index > core.commit and index >= core.own_first:
        core.commit = index
        core.send_pending = bool(core.progress)


def _answer_before_sync() -> list[Patch]:
    original = RaftCore.ready

    def ready(core: RaftCore) -> Any:
        if core.leader_reads is not None:
            _commit_before_sync(core)
        durable, core.log.durable = core.log.durable, core.log.last
        try:
            return original(core)
        finally:
            core.log.durable = durable

    return [(replication, "advance_commit", _commit_before_sync), (RaftCore, "ready", ready)]


def _own_log_counted_early() -> list[Patch]:
    """The leader's own log counts before its sync, as in etcd up to 3.5.4 with one member."""
    original = RaftCore.propose

    def propose(core: RaftCore, payloads: Any) -> int:
        first = original(core, payloads)
        _commit_before_sync(core)
        return first

    return [(replication, "advance_commit", _commit_before_sync), (RaftCore, "propose", propose)]


def _skip_own_term_rule() -> list[Patch]:
    def advance_commit(core: RaftCore) -> None:
        matches = [progress.match for progress in core.voter_peers] + [core.log.durable]
        index = reached_by_majority(matches)
        if index > core.commit:
            core.commit = index
            core.send_pending = bool(core.progress)

    return [(replication, "advance_commit", advance_commit)]


def _vote_twice() -> list[Patch]:
    return [(election, "_has_vote_for", lambda core, candidate: True)]


def _vote_for_shorter_log() -> list[Patch]:
    return [(RaftLog, "is_as_good", lambda log, last_index, last_term: True)]


def _promise_before_sync() -> list[Patch]:
    return [(RaftCore, "promise", lambda core, message: core.messages.append(message))]


def _vote_not_persisted() -> list[Patch]:
    original = Storage.save

    def save(storage: Storage, hard_state: Any, entries: Any, sync: bool) -> None:
        kept = hard_state._replace(vote=0) if hard_state is not None else None
        original(storage, kept, entries, sync)

    return [(Storage, "save", save)]


def _heartbeat_beyond_match() -> list[Patch]:
    def send_heartbeats(core: RaftCore) -> None:
        reads = core.leader_reads
        assert reads is not None
        core.heartbeat_elapsed = 0
        context = core.heartbeat_context
        for member in core.progress:
            core.messages.append(
                Heartbeat(member, core.member_id, core.term, core.commit, reads.number, context)
            )

    return [(replication, "send_heartbeats", send_heartbeats)]


def _commit_clipped() -> list[Patch]:
    """A member that has lost acknowledged entries goes on with what it still has."""
    original = replication.handle_heartbeat

    def handle_heartbeat(core: RaftCore, message: Heartbeat) -> None:
        original(core, message._replace(commit=min(message.commit, core.log.last)))

    handlers = dict(core_handlers())
    handlers[Heartbeat] = handle_heartbeat
    return [(core_module(), "_HANDLERS", handlers)]


def core_module() -> Any:
    """The module of the core: its table of handlers is replaced as a whole."""
    from kvraft.raft import core

    return core


def core_handlers() -> dict[type, Any]:
    """Which function handles which message."""
    handlers: dict[type, Any] = core_module()._HANDLERS
    return handlers


def _read_without_round() -> list[Patch]:
    def read_index(core: RaftCore, ctx: int) -> None:
        if core.leader_reads is not None:
            core.reads.append(ReadState(ctx, core.commit))
        elif core.leader:
            core.forwarded.waiting.append(ctx)
        else:
            core.reads_failed.append(ctx)

    return [(RaftCore, "read_index", read_index)]


def _second_snapshot_forgotten() -> list[Patch]:
    """When one snapshot is installed, a second one that came meanwhile counts as installed, too."""
    original = RaftCore.snapshot_restored

    def snapshot_restored(core: RaftCore, meta: Any) -> None:
        original(core, meta)
        core.installing = None

    return [(RaftCore, "snapshot_restored", snapshot_restored)]


MUTANTS: Final = (
    Mutant(
        "answer before sync", "A single member answers before its own log is on disk.",
        "section 5", _answer_before_sync,
        (
            Simulated(
                ROUGH._replace(
                    members=1, faults=("power",), fault_every_ms=1000, think_ms=5, clients=8
                ),
                "Violation: (member 1 (applies|recovered less)|answered, yet in no log)",
            ),
            Staged("power cut of one", 1, "the model says|no order|acknowledged|began after"),
        ),
    ),
    Mutant(
        "own log counted early", "The leader's vote for its own entries counts before its sync.",
        "section 7: single-member early ack", _own_log_counted_early,
        (
            Case(f"{REGRESSIONS}::test_single_member_early_acknowledgement", r"commit == 2"),
        ),
    ),
    Mutant(
        "skip the own-term commit rule", "Entries of earlier terms are committed by counting.",
        "section 7: counting old-term entries as committed", _skip_own_term_rule,
        (
            Simulated(
                ROUGH._replace(
                    members=5, faults=(*CUTS, "kill leader", "isolate leader"),
                    fault_every_ms=250, max_append_bytes=300, max_inflight_appends=2, tick_ms=29,
                    election_ticks=9,
                ),
                "by counting",
            ),
            Case(f"{REGRESSIONS}::test_old_term_entries_counted_as_committed", "commit == 1"),
        ),
    ),
    Mutant(
        "two votes", "A member votes twice in one term.", "", _vote_twice,
        (
            Simulated(
                ROUGH._replace(
                    members=5, pre_vote=False, tick_ms=29, election_ticks=2, fault_every_ms=120,
                    faults=("kill leader", "isolate leader"),
                ),
                "both lead term|two leaders in one term",
            ),
        ),
    ),
    Mutant(
        "vote for a shorter log", "Votes do not compare logs.", "", _vote_for_shorter_log,
        (
            Simulated(ROUGH, "applies Entry|committed entry|data were lost|differs from what is"),
            scenario("election_needs_the_better_log", "entries up to 4 differ"),
        ),
    ),
    Mutant(
        "promise before sync", "Votes and acceptances leave before they are durable.", "",
        _promise_before_sync,
        (
            Simulated(ROUGH, "data were lost|applies Entry|both lead term|recovered less"),
        ),
    ),
    Mutant(
        "vote not persisted", "A vote is forgotten in a restart.", "", _vote_not_persisted,
        (
            Simulated(ROUGH, "recovered less than its storage had confirmed"),
        ),
    ),
    Mutant(
        "heartbeat beyond match", "The commit index is told beyond what the follower has.", "",
        _heartbeat_beyond_match,
        (
            Simulated(ROUGH, "data were lost"),
        ),
    ),
    Mutant(
        "commit clipped", "A member that has lost acknowledged entries goes on without them.",
        "section 7: commit beyond the log after data loss", _commit_clipped,
        (
            Case(f"{REGRESSIONS}::test_commit_beyond_the_log_after_data_loss", "DID NOT RAISE"),
        ),
    ),
    Mutant(
        "read without a round", "The leader answers reads without asking a majority.",
        "section 7: stale leader read", _read_without_round,
        (
            # With check-quorum a leader that is cut off steps down almost before it is overtaken.
            Simulated(
                ROUGH._replace(
                    check_quorum=False, faults=("one way", "isolate leader", "partition"),
                    fault_every_ms=800, think_ms=10, clients=8,
                ),
                "comes before it",
            ),
            Case(f"{REGRESSIONS}::test_stale_leader_read", "not in cluster.hosts"),
        ),
    ),
    Mutant(
        "second snapshot forgotten",
        "A snapshot that comes while another is being installed counts as installed.",
        "section 7: two quick snapshots", _second_snapshot_forgotten,
        (
            Case(f"{REGRESSIONS}::test_two_quick_snapshots", "compacted what is not applied"),
        ),
    ),
)  # fmt: skip
