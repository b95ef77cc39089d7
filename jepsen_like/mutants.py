"""`python -m jepsen_like.mutants`: does the harness notice planted bugs?

Each mutant replaces a part of the production code, for the duration of its runs, by a version
with one well-known mistake. It is caught when a run ends with a failure; the table names the seed
and the verdict. Most run with the core's own invariants switched off, so that what catches them
is what clients and disks could see. Exit status 1 if any survives.

Nothing in the production code knows of this; a mutant whose target no longer exists fails loudly.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from jepsen_like.sim.disk import DiskFiles
from jepsen_like.sim.run import run_seed
from jepsen_like.sim.shape import Shape
from kvraft.raft import confchange, election, replication
from kvraft.raft.core import RaftCore, Role
from kvraft.raft.entry import Entry, EntryKind, encode_conf_change
from kvraft.raft.log import RaftLog
from kvraft.raft.message import Heartbeat
from kvraft.raft.quorum import majority, reached_by_majority
from kvraft.raft.ready import ReadState
from kvraft.server.changes import Queue
from kvraft.server.logtime import LogTime
from kvraft.server.removals import Removals
from kvraft.server.replica import Replica
from kvraft.storage import record
from kvraft.storage.datadir import Storage
from kvraft.store.request import decode_request
from kvraft.store.store import Restorer, Store
from kvraft.store.watch import Hub

Patch = tuple[Any, str, Any]

RESTARTS = ("kill", "kill leader", "power", "power everywhere", "kill at a step")
CUTS = ("partition", "isolate leader", "one way", "pause", "loss")
ROUGH = Shape(
    faults=RESTARTS + CUTS, fault_every_ms=400, safety_ms=8_000, think_ms=30, snapshot_count=50,
    check_core=False,
)  # fmt: skip


CHANGING = ROUGH._replace(change_every_ms=150, snapshot_count=100)


class Mutant(NamedTuple):
    """One planted bug."""

    name: str
    mistake: str
    patches: Callable[[], list[Patch]]
    shape: Shape = ROUGH
    seeds: int = 60


# --- consensus -------------------------------------------------------------------------


def _answer_before_sync() -> list[Patch]:
    def advance_commit(core: RaftCore) -> None:
        matches = [progress.match for progress in core.voter_peers] + [core.log.last]
        index = reached_by_majority(matches)
        if index > core.commit and index >= core.own_first:
            core.commit = index
            core.send_pending = bool(core.progress)

    original = RaftCore.ready

    def ready(core: RaftCore) -> Any:
        if core.leader_reads is not None:
            advance_commit(core)
        durable, core.log.durable = core.log.durable, core.log.last
        try:
            return original(core)
        finally:
            core.log.durable = durable

    return [(replication, "advance_commit", advance_commit), (RaftCore, "ready", ready)]


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


def _accept_before_sync() -> list[Patch]:
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
        for member in core.progress:
            core.messages.append(
                Heartbeat(
                    member, core.member_id, core.term, core.commit, reads.number, core.log.last
                )
            )

    return [(replication, "send_heartbeats", send_heartbeats)]


def _read_without_round() -> list[Patch]:
    def read_index(core: RaftCore, ctx: int) -> None:
        if core.leader_reads is not None:
            core.reads.append(ReadState(ctx, core.commit))
        elif core.leader:
            core.forwarded.waiting.append(ctx)
        else:
            core.reads_failed.append(ctx)

    return [(RaftCore, "read_index", read_index)]


# --- membership ------------------------------------------------------------------------


def _learner_counts() -> list[Patch]:
    """What a learner has counts for the commit, as if it voted."""

    def collect_voter_peers(core: RaftCore) -> None:
        core.voter_peers = list(core.progress.values())

    def advance_commit(core: RaftCore) -> None:
        needed = majority(len(core.membership.voters))
        matches = sorted([peer.match for peer in core.voter_peers] + [core.log.durable])
        index = matches[-needed]
        if index > core.commit and index >= core.own_first:
            core.commit = index
            core.send_pending = bool(core.progress)

    return [
        (RaftCore, "collect_voter_peers", collect_voter_peers),
        (replication, "advance_commit", advance_commit),
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


# --- replica ---------------------------------------------------------------------------


def _local_read_as_quorum_read() -> list[Patch]:
    return [(Replica, "read_barrier", lambda replica, done: done(None))]


def _apply_twice() -> list[Patch]:
    """The last entry before a change of leader is applied once more."""
    original = Replica.apply

    def apply(replica: Replica, committed: list[Any]) -> None:
        before = replica.applied_term
        original(replica, committed)
        last = committed[-1]
        if before != replica.applied_term and last.kind == EntryKind.NORMAL and last.data:
            _, request = decode_request(last.data)
            try:
                replica.store.apply(request)
            except Exception:  # a refusal the second time changes nothing
                return

    return [(Replica, "apply", apply)]


def _retry_uncertain_forward() -> list[Patch]:
    """What was handed to a leader that is gone is proposed again, although it may be in the log."""
    changed = Replica._leader_changed

    def leader_changed(replica: Replica) -> None:
        replica._proposals.requeue_lost(replica.core.term)
        changed(replica)

    return [(Replica, "_leader_changed", leader_changed)]


def _timeout_called_definite() -> list[Patch]:
    original = Replica._timed_out

    def timed_out(replica: Replica, created_ns: int, definite: bool) -> Any:
        return original(replica, created_ns, True)

    return [(Replica, "_timed_out", timed_out)]


def _expiry_by_local_clock() -> list[Patch]:
    return [(LogTime, "now_ns", lambda self: self._clock.wall_ns())]


# --- store -----------------------------------------------------------------------------


def _drop_on_overflow() -> list[Patch]:
    def deliver(hub: Hub, watcher: Any, event: Any) -> None:
        if event.index < watcher.since_index:
            return
        if len(watcher.events) < 100:
            watcher.events.append(event)
            if not watcher.stream:
                hub.remove(watcher)
        hub.wake(watcher)

    return [(Hub, "_deliver", deliver)]


def _compare_ignored() -> list[Patch]:
    return [(Store, "_compare", lambda store, node, request: None)]


def _snapshot_without_history() -> list[Patch]:
    original = Restorer.finish

    def finish(restorer: Restorer) -> Any:
        store = original(restorer)
        store._history.places.clear()
        return store

    return [(Restorer, "finish", finish)]


# --- storage ---------------------------------------------------------------------------


def _cut_at_first_bad_crc() -> list[Patch]:
    return [(record, "_judge", lambda *_: (record.Tail.TORN, "cut", None))]


def _no_sync() -> list[Patch]:
    return [(DiskFiles, "sync", lambda files, handle: files._disk.call())]


def _no_directory_sync() -> list[Patch]:
    return [(DiskFiles, "sync_dir", lambda files, path: files._disk.call())]


def _failed_sync_ignored() -> list[Patch]:
    original = DiskFiles.sync

    def sync(files: DiskFiles, handle: int) -> None:
        try:
            original(files, handle)
        except OSError:
            original(files, handle)  # "try again": succeeds without the data

    return [(DiskFiles, "sync", sync)]


MUTANTS = (
    Mutant(
        "answer before sync", "own log counted and applied before it is on disk",
        _answer_before_sync,
        ROUGH._replace(members=1, faults=("power",), fault_every_ms=1000, think_ms=5, clients=8),
    ),
    Mutant(
        "own-term rule skipped", "entries of earlier terms committed by counting",
        _skip_own_term_rule,
        ROUGH._replace(
            members=5, faults=(*CUTS, "kill leader", "isolate leader"), fault_every_ms=250,
            max_append_bytes=300, max_inflight_appends=2, tick_ms=29, election_ticks=9,
        ),
    ),
    Mutant(
        "two votes", "a second vote in one term", _vote_twice,
        ROUGH._replace(
            pre_vote=False, tick_ms=29, election_ticks=3, faults=("kill leader", "pause"),
            fault_every_ms=200,
        ),
    ),
    Mutant(
        "vote for a shorter log", "votes do not compare logs", _vote_for_shorter_log,
    ),
    Mutant(
        "promise before sync", "votes and acceptances leave before they are durable",
        _accept_before_sync,
    ),
    Mutant("vote not persisted", "the vote is lost by a restart", _vote_not_persisted),
    Mutant(
        "heartbeat beyond match", "commit index told beyond what the follower has",
        _heartbeat_beyond_match,
    ),
    Mutant(
        "read without a round", "the leader answers reads without asking a majority",
        _read_without_round,
        # With check-quorum a leader that is cut off steps down almost before it can be overtaken.
        ROUGH._replace(check_quorum=False, faults=CUTS, think_ms=10, clients=8),
    ),
    Mutant(
        "learner counts", "commits count what learners have", _learner_counts, CHANGING,
    ),
    Mutant(
        "change before own commit", "membership changes without the two guards",
        _change_before_own_commit,
        CHANGING._replace(
            change_every_ms=60, faults=(*CUTS, "kill leader"), strict_reconfig=False,
            max_append_bytes=300,
        ),
    ),
    Mutant(
        "change repeated", "a repeated membership change taken for a new one", _change_repeated,
        CHANGING._replace(faults=("loss", "duplicate", "clog", "reorder"), fault_every_ms=150),
    ),
    Mutant(
        "removed member leaves at once", "nobody else may know that it is removed",
        _leaves_at_once,
        CHANGING._replace(
            members=2, faults=("power everywhere", "power"), fault_every_ms=300, think_ms=150,
            clients=3, safety_ms=15_000,
        ),
    ),
    Mutant(
        "local read as quorum read", "quorum=true served from the local state",
        _local_read_as_quorum_read,
    ),
    Mutant("apply twice", "an entry applied twice at a change of leader", _apply_twice),
    Mutant(
        "uncertain retry", "a forwarded write proposed again while the first may be in the log",
        _retry_uncertain_forward,
    ),
    Mutant(
        "timeout called definite", "a write that timed out is answered as certainly not done",
        _timeout_called_definite, ROUGH._replace(request_timeout_ms=300),
    ),
    Mutant(
        "expiry by local clock", "log time taken from the wall clock",
        _expiry_by_local_clock, ROUGH._replace(faults=("wall jump", "kill leader")),
    ),
    Mutant(
        "event dropped on overflow", "a full watch queue loses events in silence",
        _drop_on_overflow,
        ROUGH._replace(faults=(), slow_watch_share=0.5, watch_share=0.2, think_ms=10, clients=8),
    ),
    Mutant("compare ignored", "a compare-and-swap always swaps", _compare_ignored),
    Mutant(
        "snapshot without history", "watchers miss events after a restore",
        _snapshot_without_history, ROUGH._replace(digest_every=1 << 30),
    ),
    Mutant(
        "cut at first bad crc", "damage in the middle taken for a torn end",
        _cut_at_first_bad_crc, ROUGH._replace(faults=("bit flip", "kill")),
    ),
    Mutant("no sync", "files are never synced", _no_sync),
    Mutant("no directory sync", "new names are never synced", _no_directory_sync),
    Mutant(
        "failed sync repeated", "a failed sync is tried again and believed",
        _failed_sync_ignored,
        ROUGH._replace(faults=("failed sync", "power", "power everywhere"), fault_every_ms=200),
    ),
)  # fmt: skip


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The production code with this bug."""
    patches = mutant.patches()
    kept = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
    for owner, name, value in patches:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


class Finding(NamedTuple):
    """What became of one mutant."""

    name: str
    seed: int  # 0: survived
    verdict: str


def hunt(name: str) -> Finding:
    """Run seeds until the mutant of this name is caught."""
    mutant = next(one for one in MUTANTS if one.name == name)
    with planted(mutant):
        for seed in range(1, mutant.seeds + 1):
            verdict = run_seed(seed, mutant.shape)
            if verdict.failure:
                reason = verdict.failure.strip().splitlines()[-1]
                # Anything else than a verdict or an assertion means that the mutant itself is ill.
                caught = reason.startswith(("Violation", "InvariantViolation", "AssertionError"))
                return Finding(name, seed if caught else 0, reason)
    return Finding(name, 0, "")


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jepsen_like.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("names", nargs="*", help="which mutants (all)")
    options = parser.parse_args(arguments)
    names = options.names or [mutant.name for mutant in MUTANTS]
    mistakes = {mutant.name: mutant.mistake for mutant in MUTANTS}
    unknown = [name for name in names if name not in mistakes]
    if unknown:
        parser.error(f"no such mutant: {', '.join(unknown)}")
    survived = 0
    with multiprocessing.Pool(max(1, options.jobs)) as pool:
        for finding in pool.imap(hunt, names, chunksize=1):
            caught = f"seed {finding.seed}" if finding.seed else "SURVIVED"
            survived += not finding.seed
            print(f"{finding.name:<28} {caught:<10} {mistakes[finding.name]}")
            if finding.verdict:
                print(f"{'':<28} {'':<10} {finding.verdict[:150]}", flush=True)
    print(f"{len(names)} mutants, {len(names) - survived} caught, {survived} survived")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
