"""Mistakes between the core, the store and the clients."""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.mutants.mutant import Case, Mutant, Patch, Simulated, Staged
from jepsen_like.mutants.shapes import ROUGH
from kvraft.raft.core import RaftCore
from kvraft.raft.entry import EntryKind
from kvraft.server.logtime import LogTime
from kvraft.server.replica import Replica
from kvraft.store.request import decode_request


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


def _serve_while_replaying() -> list[Patch]:
    """Clients are let in at once, and the commit index on the disk is of no account at a start."""
    original = RaftCore.__init__

    def init(core: RaftCore, config: Any, rng: Any, **state: Any) -> None:
        state["hard_state"] = state["hard_state"]._replace(commit=0)
        state["applied"] = state["snapshot"].index if state["snapshot"] else 0
        original(core, config, rng, **state)

    return [
        (Replica, "accepting", lambda replica: True),
        (RaftCore, "__init__", init),
    ]


MUTANTS: Final = (
    Mutant(
        "local read as quorum read", "quorum=true is served from the local state.", "section 5",
        _local_read_as_quorum_read,
        (
            Simulated(ROUGH, "comes before it"),
            Staged("pause the leader", 3, "comes before it"),
        ),
    ),
    Mutant(
        "apply twice", "An entry is applied twice at a change of leader.", "", _apply_twice,
        (Simulated(ROUGH, "store index|comes before it|the model says"),),
    ),
    Mutant(
        "uncertain retry",
        "A forwarded write is proposed again while the first copy may be in the log.", "",
        _retry_uncertain_forward,
        (
            Simulated(
                ROUGH._replace(
                    faults=("kill leader", "isolate leader"), fault_every_ms=250, think_ms=10
                ),
                "applied 2 times",
            ),
        ),
    ),
    Mutant(
        "timeout called definite", "A write that timed out is answered as certainly not done.", "",
        _timeout_called_definite,
        (Simulated(ROUGH._replace(request_timeout_ms=300), "answered failed, yet applied"),),
    ),
    Mutant(
        "expire by local clock", "The time of the log is taken from the wall clock.",
        "section 7: expiry by a fast clock", _expiry_by_local_clock,
        (
            Simulated(
                ROUGH._replace(faults=("wall jump", "kill leader")),
                r"expired (after|\d+\.\d+ s late)",
            ),),
    ),
    Mutant(
        "serve while replaying", "A restarted member serves before it has applied what it knew.",
        "section 7: state served while replaying", _serve_while_replaying,
        (
            Simulated(ROUGH, "serves at log index"),
            Case(
                "tests/server/test_replica.py::test_a_member_is_ready_when_what_it_knew_is_applied",
                "applied_index == 3",
            ),
            Case("tests/raft/test_regressions.py::test_state_served_while_replaying", "committed"),
        ),
    ),
)  # fmt: skip
