"""When a removed member may be told, and when it may go."""

from __future__ import annotations

from kvraft.server.removals import ELECTIONS_BEFORE_LEAVING, TICKS_BEFORE_LEAVING, Removals
from tests.server.replicas import ELECTION_TICKS, Cluster

OWN, TICK, ELECTION = 1, 10, 100


def removals() -> Removals:
    return Removals(OWN, ELECTION, TICK)


def test_who_was_not_removed_stays() -> None:
    assert not removals().may_leave((2, 3), 10**9)


def test_others_are_told_once_it_is_on_the_disk() -> None:
    found = removals()
    assert found.may_be_told(5)
    found.applied(5, 20, 0)
    found.sealed(19)
    assert not found.may_be_told(5)
    assert not found.refused
    found.sealed(20)
    assert found.may_be_told(5)
    assert found.refused == {5}


def test_a_majority_of_those_who_stay_has_to_know() -> None:
    found = removals()
    found.applied(OWN, 20, 0)
    assert not found.may_leave((2, 3, 4), 10**9), "nobody seems to know"
    found.told(2, 1000)
    found.told(2, 1000)
    found.told(9, 1000)
    soon = 1000 + TICKS_BEFORE_LEAVING * TICK
    assert not found.may_leave((2, 3, 4), soon)
    found.told(3, 1000)
    assert not found.may_leave((2, 3, 4), soon - 1)
    assert found.may_leave((2, 3, 4), soon)


def test_if_only_some_can_tell_it_takes_longer() -> None:
    found = removals()
    found.told(2, 1000)
    late = 1000 + ELECTIONS_BEFORE_LEAVING * ELECTION
    assert not found.may_leave((2, 3, 4), late - 1)
    assert found.may_leave((2, 3, 4), late)


def test_the_last_member_waits_for_nobody() -> None:
    found = removals()
    found.learnt(1000)
    found.learnt(1050)
    assert not found.may_leave((), 1000 + ELECTION - 1)
    assert found.may_leave((), 1000 + ELECTION)


def removed_at_three() -> Cluster:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.tick(2)
    told = cluster.remove(1, 3)
    cluster.settle()
    assert told.outcome is None
    cluster.tick()
    return cluster


def test_a_removal_is_made_durable_at_once() -> None:
    cluster = removed_at_three()
    for number in (1, 2):
        assert cluster[number].may_be_told_of_removal(3)
        assert cluster[number].removals.refused == {3}
        assert not cluster[number].may_be_told_of_removal(2)


def test_a_removed_member_sends_its_clients_away() -> None:
    cluster = removed_at_three()
    third = cluster[3]
    assert third.removals.own_ns is not None, "the commit came with the last append"
    write, read, change = cluster.put(3, b"/a"), cluster.read(3), cluster.add(3, "http://a:1")
    for told in (write, read, change):
        assert told.refusal.definite
    assert not third.may_leave()
    for by in (1, 2):
        third.told_of_removal(by)
    cluster.tick(TICKS_BEFORE_LEAVING)
    assert third.may_leave()


def test_being_told_is_enough_for_sending_clients_away() -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.isolate(3)
    waiting = cluster.put(3, b"/a")
    cluster.tick(2 * ELECTION_TICKS)
    cluster[3].told_of_removal(1)
    assert not waiting.refusal.definite or waiting.refusal.cause
    assert cluster.put(3, b"/b").refusal.definite
