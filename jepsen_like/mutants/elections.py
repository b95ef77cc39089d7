"""Mistakes after which a cluster never comes to rest: who could lead is not listened to."""

from __future__ import annotations

from typing import Any, Final

from jepsen_like.mutants import situations
from jepsen_like.mutants.mutant import Case, Mutant, Patch, Simulated, scenario
from jepsen_like.mutants.situations import CALM
from kvraft.raft import election
from kvraft.raft.core import RaftCore
from kvraft.raft.message import Append, Heartbeat, InstallSnapshot, PreVote, PreVoteReply

REGRESSIONS: Final = "tests/raft/test_regressions.py"
DEADLOCK: Final = f"{REGRESSIONS}::test_long_log_of_a_low_term_against_short_log_of_a_high_term"


def _silent_towards(*kinds: type) -> list[Patch]:
    """Messages of these kinds and of a lower term get no answer."""
    original = election.answer_older_term

    def answer_older_term(core: RaftCore, message: Any) -> None:
        if not isinstance(message, kinds):
            original(core, message)

    return [(election, "answer_older_term", answer_older_term)]


def _lower_term_pre_vote_ignored() -> list[Patch]:
    return _silent_towards(PreVote)


def _lower_term_append_ignored() -> list[Patch]:
    return _silent_towards(Append, Heartbeat, InstallSnapshot)


def _refusal_shows_no_term() -> list[Patch]:
    """A candidate does not adopt the higher term that a refusal of its pre-vote shows."""
    original = election.accept_newer_term

    def accept_newer_term(core: RaftCore, message: Any) -> bool:
        if isinstance(message, PreVoteReply) and not message.granted:
            return False
        return original(core, message)

    return [(election, "accept_newer_term", accept_newer_term)]


def _refusal_tells_no_commit() -> list[Patch]:
    return [(election, "_learn_commit", lambda core, message: None)]


MUTANTS: Final = (
    Mutant(
        "lower-term pre-vote ignored", "A pre-vote of a lower term gets no answer.",
        "section 7: pre-vote from a lower term ignored", _lower_term_pre_vote_ignored,
        (
            Case(DEADLOCK, "nobody leads", (True, True)),
            Case(f"{REGRESSIONS}::test_pre_vote_from_a_lower_term_ignored", "sent"),
        ),
    ),
    Mutant(
        "lower-term append ignored", "An append of a lower term gets no answer, so that whoever "
        "has run ahead is never taken back.",
        "section 7: lower-term append ignored under CheckQuorum", _lower_term_append_ignored,
        (
            Simulated(
                CALM._replace(pre_vote=False),
                "did not agree|no 20 writes",
                script=situations.FOLLOWER_RUNS_AHEAD,
            ),
        ),
    ),
    Mutant(
        "refusal shows no term", "A candidate learns no term from a refused pre-vote.",
        "section 7: long-log/low-term against short-log/high-term deadlock",
        _refusal_shows_no_term,
        (
            Case(DEADLOCK, "nobody leads", (True, True)),
            scenario("prevote_from_a_lower_term", "expect 1 term 3"),
        ),
    ),
    Mutant(
        "refusal tells no commit", "A removed member with the longer log refuses its vote, and "
        "does not tell that the removal is committed.",
        "section 7: long-log/low-term against short-log/high-term deadlock",
        _refusal_tells_no_commit,
        (
            Case(
                f"{REGRESSIONS}::test_removed_member_with_the_longer_log_blocks_the_last_voter",
                "role is Role.LEADER",
            ),
        ),
    ),
)  # fmt: skip
