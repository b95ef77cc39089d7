"""Who waits for which read."""

from __future__ import annotations

from kvraft.limits import MAX_WAITING_READS
from kvraft.raft.readindex import ForwardedReads, LeaderReads


def test_a_later_round_confirms_the_earlier_ones() -> None:
    reads = LeaderReads()
    reads.add(0, 1)
    assert reads.start_round(10) == 1
    reads.add(2, 7)
    assert reads.start_round(11) == 2
    reads.add(0, 3)
    done = reads.confirmed(2)
    assert [(round_.index, [tuple(r) for r in round_.requests]) for round_ in done] == [
        (10, [(0, 1)]),
        (11, [(2, 7)]),
    ]
    assert reads.own() == [3]
    assert reads.confirmed(2) == []


def test_a_round_does_not_confirm_later_ones() -> None:
    reads = LeaderReads()
    reads.add(0, 1)
    reads.start_round(10)
    reads.add(0, 2)
    reads.start_round(10)
    assert [round_.number for round_ in reads.confirmed(1)] == [1]
    assert reads.own() == [2]


def test_a_repeated_question_waits_once() -> None:
    reads = LeaderReads()
    reads.add(2, 7)
    reads.add(2, 7)
    reads.start_round(1)
    reads.add(2, 7)
    assert reads.waiting == []
    reads.confirmed(1)
    reads.add(2, 7)  # the answer was lost: it is asked and answered again
    assert len(reads.waiting) == 1


def test_forwarded_questions_are_bounded() -> None:
    reads = LeaderReads()
    for ctx in range(MAX_WAITING_READS + 5):
        reads.add(2, ctx)
    assert len(reads.waiting) == MAX_WAITING_READS


def test_forwarded_reads_are_asked_together() -> None:
    reads = ForwardedReads(100)
    reads.waiting += [1, 2]
    first = reads.batch()
    reads.waiting.append(3)
    second = reads.batch()
    reads.waiting.append(4)
    assert first != second
    assert reads.answered(first) == [1, 2]
    assert reads.answered(first) == []
    assert reads.give_up() == [3, 4]
    assert reads.answered(second) == []
