"""Commands for a program's own state machine: in the log, in snapshots, on every member."""

from __future__ import annotations

import pytest

from kvraft.api.service import Unavailable
from kvraft.server.bootstrap import restore_store
from kvraft.store.machine import Applied, MachineFailed, MachineMissing
from kvraft.store.store import Store
from tests.server.machines import Adder
from tests.server.replicas import ELECTION_TICKS, TICK_MS, TIMEOUT_MS, Cluster, Told


def submit(cluster: Cluster, number: int, command: bytes) -> Told:
    told = Told()
    cluster[number].submit(command, told)
    return told


def adders(count: int) -> tuple[Cluster, dict[int, Adder]]:
    machines = {number: Adder() for number in range(1, count + 1)}
    cluster = Cluster(count, machines)
    cluster.elect(1)
    return cluster, machines


def totals(machines: dict[int, Adder]) -> list[int]:
    return [sum(machine.added) for machine in machines.values()]


def test_a_command_is_carried_out_by_the_machines_of_all_members() -> None:
    cluster, machines = adders(3)
    answers = [submit(cluster, number, b"%d" % number) for number in (1, 2, 3)]
    cluster.settle()
    cluster.tick()
    results = [told.outcome for told in answers]
    assert all(type(result) is Applied for result in results)
    assert results[0].result == 1
    assert sorted(result.result for result in results)[-1] == 6
    assert totals(machines) == [6, 6, 6]
    assert machines[1].added == machines[2].added == machines[3].added


def test_the_key_space_does_not_notice() -> None:
    cluster, _ = adders(1)
    before = cluster[1].store.index
    told = submit(cluster, 1, b"5")
    cluster.settle()
    assert told.outcome == Applied(5, None, cluster[1].applied_index)
    assert cluster[1].store.index == before


def test_an_exception_is_the_outcome_and_the_member_goes_on() -> None:
    cluster, machines = adders(3)
    refused = submit(cluster, 2, b"not a number")
    after = submit(cluster, 2, b"7")
    cluster.settle()
    cluster.tick()
    assert isinstance(refused.outcome.error, ValueError)
    assert after.outcome.result == 7
    assert totals(machines) == [7, 7, 7]


def test_a_command_without_a_leader_is_told_that_it_did_not_happen() -> None:
    cluster = Cluster(3, {number: Adder() for number in (1, 2, 3)})
    cluster.isolate(1)
    told = submit(cluster, 1, b"1")
    cluster.tick(TIMEOUT_MS // TICK_MS + ELECTION_TICKS, only={1})
    assert isinstance(told.outcome, Unavailable)
    assert told.outcome.definite


def test_a_snapshot_brings_the_machine_along() -> None:
    cluster, machines = adders(3)
    cluster.isolate(3)
    for number in range(10):
        submit(cluster, 1, b"%d" % number)
        cluster.settle()
    job = cluster[1].begin_snapshot()
    submit(cluster, 1, b"100")
    cluster.settle()
    cluster.snapshots[job.meta.index] = restore_store(job.chunks)
    cluster[1].snapshot_done(job.meta)
    cluster.heal()
    cluster.tick(3 * ELECTION_TICKS)
    assert totals(machines) == [145, 145, 145]
    assert machines[3].added == machines[1].added


def test_equal_members_compare_equal_whatever_their_machines_write() -> None:
    cluster, machines = adders(2)
    submit(cluster, 1, b"1")
    cluster.settle()
    cluster.tick()
    machines[2].added = [0, 1]  # another way to write the same total
    assert cluster[1].store.digest() == cluster[2].store.digest()


def test_a_member_without_a_machine_does_not_pass_over_a_command() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    submit(cluster, 1, b"1")
    with pytest.raises(MachineMissing, match=r"entry \d+ of the log belongs to a state machine"):
        cluster.settle()


def a_snapshot() -> Store:
    cluster, _ = adders(1)
    submit(cluster, 1, b"42")
    cluster.settle()
    return restore_store(cluster[1].begin_snapshot().chunks)


def test_a_snapshot_of_a_machine_wants_one() -> None:
    with pytest.raises(MachineMissing, match="the snapshot belongs to a state machine"):
        a_snapshot().attach(None)


def test_a_machine_that_cannot_read_the_snapshot_is_named() -> None:
    class Picky(Adder):
        def restore(self, parts: object) -> None:
            raise KeyError("version")

    with pytest.raises(MachineFailed, match="cannot restore a snapshot's 3 bytes"):
        a_snapshot().attach(Picky())


def test_a_machine_takes_up_the_state() -> None:
    machine = Adder()
    a_snapshot().attach(machine)
    assert machine.added == [42]


def test_an_empty_machine_is_one_as_well() -> None:
    store = Store()
    store.attach(Adder())
    restored = restore_store(store.snapshot().chunks(100))
    machine = Adder()
    machine.added = [1]
    restored.attach(machine)
    assert machine.added == [], "not the state it had before"
