"""Bugs that others had in consensus, storage and the v2 store: where each is kept out here.

One table, so that nobody has to search. Each bug names the tests on the production code that would
fail if we had it too, and the mutants that put it, or where our design rules it out the mistake
nearest to it, into the code and are caught.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

import pytest

from jepsen_like.mutants import trial
from jepsen_like.mutants.mutant import ROOT
from jepsen_like.mutants.registry import MUTANTS
from kvraft.limits import HISTORY_EVENTS
from kvraft.store.event import Event
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from kvraft.store.watch import Watcher
from tests.storage.fakedisk import FakeDisk, PowerCut
from tests.storage.model import Model, Save, create, reopen

HERE: Final = "tests/regressions/test_bugs_of_others.py"
RAFT: Final = "tests/raft/test_regressions.py"
SCENARIO: Final = "tests/scenarios"
CRASH: Final = "tests/storage/test_crash.py"
RECOVER: Final = "tests/storage/test_recover.py"
SITUATION: Final = "tests/sim/test_scenarios.py"
DATADIR: Final = "tests/storage/test_datadir.py"
CUTS: Final = f"{CRASH}::test_a_power_cut_at_any_call_loses_nothing_promised"


class Bug(NamedTuple):
    """A bug that somebody had."""

    name: str
    tests: tuple[str, ...]
    """path::function on our code, or the file of a scenario."""
    mutants: tuple[str, ...]
    here: str = ""
    """What stands against it in our design."""


BUGS: Final = (
    Bug(
        "membership change by a fresh leader",  # 2015, in three variants
        (
            f"{SCENARIO}/membership_fresh_leader_adds_two.txt",
            f"{SCENARIO}/membership_fresh_leader_adds_and_removes.txt",
            f"{SCENARIO}/membership_fresh_leader_removes_two.txt",
            f"{SCENARIO}/membership_fresh_leader.txt",
            f"{RAFT}::test_membership_change_by_a_fresh_leader",
            f"{RAFT}::test_membership_change_before_the_previous_one_is_applied",
            f"{RAFT}::test_candidate_two_membership_changes_behind",
            f"{RAFT}::test_candidate_two_membership_changes_behind_after_a_restart",
        ),
        ("membership change before own-term commit",),
        "a leader proposes no change before an own-term commit, nor while another is unapplied; a "
        "change in a log proves the one before it committed",
    ),
    Bug(
        "counting old-term entries as committed",
        (
            f"{RAFT}::test_old_term_entries_counted_as_committed",
            "tests/raft/test_paper.py::test_entries_of_older_terms_are_not_committed_by_counting",
        ),
        ("skip the own-term commit rule",),
    ),
    Bug(
        "stale leader read",
        (
            f"{RAFT}::test_stale_leader_read",
            "tests/server/test_replica.py::test_an_isolated_leader_confirms_no_read",
            f"{SITUATION}::test_a_paused_leader_answers_no_stale_quorum_read",
        ),
        ("read without a round", "local read as quorum read"),
    ),
    Bug(
        "single-member early ack",
        (
            f"{RAFT}::test_single_member_early_acknowledgement",
            "tests/server/test_replica.py::test_alone_a_write_is_answered_only_when_it_is_on_disk",
        ),
        ("own log counted early", "answer before sync"),
    ),
    Bug(
        "pre-vote from a lower term ignored",
        (
            f"{RAFT}::test_pre_vote_from_a_lower_term_ignored",
            f"{SCENARIO}/prevote_from_a_lower_term.txt",
        ),
        ("lower-term pre-vote ignored",),
    ),
    Bug(
        "lower-term append ignored under CheckQuorum",
        (
            f"{RAFT}::test_lower_term_append_ignored_under_check_quorum",
            f"{SCENARIO}/higher_term_member_is_freed.txt",
        ),
        ("lower-term append ignored",),
    ),
    Bug(
        "long-log/low-term against short-log/high-term deadlock",
        (
            f"{RAFT}::test_long_log_of_a_low_term_against_short_log_of_a_high_term",
            f"{RAFT}::test_removed_member_with_the_longer_log_blocks_the_last_voter",
            f"{SCENARIO}/long_log_low_term_against_short_log_high_term.txt",
        ),
        ("refusal shows no term", "refusal tells no commit"),
        "there is no joint configuration; the member with the longer log that blocks a change is "
        "the one it removed, and its refusal tells that the change is committed",
    ),
    Bug(
        "commit beyond the log after data loss",
        (f"{RAFT}::test_commit_beyond_the_log_after_data_loss",),
        ("commit clipped",),
        "a member that finds acknowledged entries lost stops",
    ),
    Bug(
        "hard state saved, snapshot not",
        (
            f"{RAFT}::test_hard_state_saved_but_snapshot_not",
            CUTS,
            f"{DATADIR}::test_a_term_may_not_be_known_only_to_a_received_snapshot",
        ),
        ("state before snapshot",),
        "the record that adopts a snapshot carries the hard state",
    ),
    Bug(
        "WAL snapshot record without file",
        (CUTS, f"{RECOVER}::test_a_missing_newest_snapshot_falls_back_too"),
        ("record without file",),
        "a file is durable before it is recorded; of an own snapshot the log reaches back further",
    ),
    Bug(
        "checksum across purged segments",
        (
            CUTS,
            f"{DATADIR}::test_purge_keeps_two_snapshots_and_the_log_of_the_older",
            f"{RECOVER}::test_reading_begins_at_the_last_segment_that_can_hold_the_next_entry",
        ),
        ("chain from the first segment",),
        "the chain begins anew with each segment, whose head holds the end of the one before",
    ),
    Bug(
        "torn multi-write append",
        (f"{HERE}::test_torn_multi_write_append", CUTS),
        ("many writes in one sync",),
        "a sync window holds one record in one write",
    ),
    Bug(
        "two quick snapshots",
        (
            f"{RAFT}::test_two_quick_snapshots",
            f"{SCENARIO}/two_quick_snapshots.txt",
            f"{DATADIR}::test_two_writers_of_one_snapshot_do_not_share_a_file",
            CUTS,
        ),
        ("second snapshot forgotten", "one temporary file"),
    ),
    Bug(
        "watch on a future index",
        (
            f"{HERE}::test_watch_on_a_future_index",
            "tests/store/test_watch.py::test_an_index_to_come",
        ),
        ("future index ignored",),
    ),
    Bug(
        "quiet key watched past 1000 foreign events",
        (
            f"{HERE}::test_quiet_key_watched_past_1000_foreign_events",
            "tests/client/test_watcher.py::test_a_quiet_key_in_a_busy_store",
            f"{SITUATION}::test_a_long_absent_member_gets_a_snapshot_and_its_watchers_go_on",
        ),
        ("quiet watch cleared",),
        "a registered watch needs no history; our client asks anew from the store's index",
    ),
    Bug(
        "state served while replaying",
        (
            f"{RAFT}::test_state_served_while_replaying",
            "tests/server/test_replica.py::test_a_member_is_ready_when_what_it_knew_is_applied",
        ),
        ("serve while replaying",),
    ),
    Bug(
        "expiry by a fast clock",
        (
            "tests/server/test_logtime.py::test_wall_clock_jumps_have_no_effect_while_running",
            "tests/server/test_replica.py::test_wall_clock_jumps_expire_nothing_early_or_late",
            "tests/server/test_replica.py::test_a_jump_before_an_election_expires_nothing_early",
            f"{SITUATION}::test_wall_clocks_do_not_matter_while_members_run",
        ),
        ("expire by local clock",),
        "keys expire by the time of the log",
    ),
)  # fmt: skip


# --- the table -------------------------------------------------------------------------


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_every_bug_has_its_tests_and_its_mutants(bug: Bug) -> None:
    for test in bug.tests:
        if test.endswith(".txt"):
            assert (ROOT / test).is_file()
        else:
            assert callable(trial.find(test))
    known = {mutant.name for mutant in MUTANTS}
    assert bug.mutants
    assert set(bug.mutants) <= known


def test_every_mutant_of_a_bug_is_in_the_table() -> None:
    claimed = {name for bug in BUGS for name in bug.mutants}
    for mutant in MUTANTS:
        section, _, bug = mutant.origin.partition(": ")
        if section == "section 7":
            assert mutant.name in claimed
            assert bug in [known.name for known in BUGS]


# --- what has no place elsewhere -------------------------------------------------------


def test_torn_multi_write_append() -> None:
    """A power cut in the middle of a large batch leaves a log that starts."""
    rng = random.Random(1)
    batch = Save((300, 400, 500, 600))
    for stop_at in range(100):
        disk = FakeDisk()
        storage = create(disk)
        disk.stop_at = disk.calls + stop_at
        try:
            batch.run(storage, Model())
        except PowerCut:
            for state in disk.crash_states(rng, limit=200):
                reopen(state)
        else:
            return
    raise AssertionError("the batch takes more than 100 disk calls")


def test_watch_on_a_future_index() -> None:
    """It stays silent until that index, and gets just what has it."""
    store = Store()
    watcher = store.watch(b"/a", recursive=False, stream=False, since_index=5)
    for index in range(1, 6):
        assert _indices(watcher) == []
        _set(store, b"/a")
        assert store.index == index
    assert _indices(watcher) == [5]


def test_quiet_key_watched_past_1000_foreign_events() -> None:
    """What happens elsewhere does not take a watch's place away, however much it is."""
    store = Store()
    watcher = store.watch(b"/quiet", recursive=False, stream=True, since_index=1)
    for _ in range(3 * HISTORY_EVENTS):
        _set(store, b"/busy")
    assert not watcher.closed
    _set(store, b"/quiet")
    assert _indices(watcher) == [3 * HISTORY_EVENTS + 1]


def _set(store: Store, path: bytes) -> None:
    store.apply(Request(Op.SET, path, b"x"))


def _indices(watcher: Watcher) -> list[int]:
    events: list[Event] = list(watcher.events)
    return [event.index for event in events]
