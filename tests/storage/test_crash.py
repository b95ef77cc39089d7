"""Power cuts: at every disk call of a history, with every (or a sample of every) outcome.

Named regressions among the histories: hard state saved and snapshot not; log record of a
snapshot without its file; torn append of many writes; two quick snapshots.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from kvraft.errors import StorageError
from kvraft.storage import Recovered, Storage
from tests.storage.fakedisk import FakeDisk, PowerCut
from tests.storage.model import (
    DATA,
    Commit,
    Model,
    Purge,
    Receive,
    Restart,
    Save,
    Snapshot,
    Step,
    create,
    reopen,
    run,
)

HISTORIES: dict[str, list[Step]] = {
    "single entries": [Save((20,)), Save((20,), advance=1), Save((30,))],
    "batches over blocks": [Save((300, 400, 500)), Save((900, 10), advance=2), Save((700,))],
    "state alone": [Save((), new_term=True), Save((5,)), Save((), new_term=True)],
    "unsynced commits": [Save((5, 5)), Commit(1), Commit(1), Save((600,)), Commit(1)],
    "replaced tail": [Save((5, 600, 5), advance=1), Save((400, 9), back=2, new_term=True)],
    "segments": [Save((800, 800), advance=1), Save((900,) * 2), Save((5,)), Save((1600,))],
    "replaced tail over segments": [
        Save((700, 800, 5)),
        Save((800, 5), back=2, new_term=True),
        Save((9,), back=1, new_term=True),
    ],
    "snapshot": [Save((9, 9), advance=1), Snapshot(), Save((9,), advance=1)],
    "two quick snapshots": [
        Save((9, 900), advance=1),
        Snapshot(),
        Save((900, 9), advance=1),
        Snapshot((1,)),
        Save((9,)),
    ],
    "purge": [
        Save((900, 900), advance=2),
        Snapshot(),
        Save((900, 900), advance=2),
        Snapshot(),
        Save((900, 900), advance=2),
        Snapshot(),
        Purge(),
        Save((9,)),
    ],
    "received ahead of the log": [Save((9, 9), advance=1), Receive(100), Save((9, 9))],
    "received over a diverging tail": [Save((9, 9, 900)), Receive(2), Save((9,), advance=1)],
    "received, then own": [
        Save((9,)),
        Receive(7),
        Save((9, 900), advance=2),
        Snapshot(),
        Purge(),
        Save((9,)),
    ],
    "restarts": [Save((9,)), Restart(), Save((900,)), Restart(), Save((900, 9)), Restart()],
}


def cuts(steps: list[Step]) -> Iterator[tuple[FakeDisk, Model | None, Model | None, int]]:
    """A stopped disk for each call of the history, with the models before and after the step
    that was cut (None: not created)."""
    number = 0
    while True:
        disk = FakeDisk()
        disk.stop_at = number
        before: Model | None = None
        after: Model | None = None
        try:
            after = Model()
            storage = create(disk)
            before = after
            for step in steps:
                after = step.after(before)
                step.run(storage, before)
                before = after
                if isinstance(step, Restart):
                    storage, _ = reopen(disk)
        except PowerCut:
            yield disk, before, after, number
            number += 1
            continue
        yield disk, before, before, number
        return


def check(disk: FakeDisk, before: Model | None, after: Model | None) -> Recovered | None:
    """A restart finds what was promised; a second one finds the same."""
    if not Storage.exists(disk, DATA):
        assert before is None
        create(disk).close()
        return None
    storage, found = reopen(disk)
    allowed = [model for model in (before, after) if model is not None]
    assert any(model.admits(found) for model in allowed), (found, allowed)
    if found.snapshot is not None:
        assert b"".join(storage.read_snapshot(found.snapshot))
    storage.close()
    storage, again = reopen(disk)
    assert again._replace(repaired=[]) == found._replace(repaired=[])
    assert again.repaired == []
    # And it goes on from there.
    model = next(model for model in allowed if model.admits(found))
    model = Model(found.hard_state, found.hard_state.commit, found.snapshot, model.entries)
    for step in (Save((3, 3)), Save((4,), new_term=True)):
        step.run(storage, model)
        model = step.after(model)
    storage.close()
    _, last = reopen(disk)
    assert model.admits(last), (last, model)
    return found


@pytest.mark.parametrize("name", HISTORIES)
def test_a_power_cut_at_any_call_loses_nothing_promised(name: str) -> None:
    rng = random.Random(f"{name}")
    for disk, before, after, _ in cuts(HISTORIES[name]):
        for state in disk.crash_states(rng, limit=200):
            check(state, before, after)


@pytest.mark.parametrize("name", ["two quick snapshots", "purge", "received over a diverging tail"])
def test_power_cuts_during_recovery_change_nothing(name: str) -> None:
    rng = random.Random(7)
    for disk, before, after, _ in cuts(HISTORIES[name]):
        if before is None:
            continue
        for state in disk.crash_states(rng, limit=6):
            expected = check(state.copy(), before, after)
            number = 0
            while True:
                again = state.copy()
                again.stop_at = number
                try:
                    reopen(again)
                    break
                except PowerCut:
                    for third in again.crash_states(rng, limit=12):
                        _, found = reopen(third)
                        assert expected is not None
                        assert found._replace(repaired=[]) == expected._replace(repaired=[])
                number += 1


SIZES = st.lists(st.sampled_from([0, 1, 40, 500, 900]), min_size=1, max_size=4).map(tuple)
STEPS = st.one_of(
    st.builds(Save, SIZES, st.integers(0, 3), st.booleans(), st.integers(0, 3)),
    st.builds(Save, st.just(()), st.just(0), st.booleans(), st.integers(0, 2)),
    st.builds(Commit, st.integers(0, 3)),
    st.sampled_from([Snapshot(), Snapshot((700, 0, 9))]),
    st.builds(Receive, st.integers(1, 5)),
    st.builds(Purge, st.integers(0, 3), st.integers(0, 3)),
    st.just(Restart()),
)


@settings(max_examples=250)
@given(st.lists(STEPS, max_size=12), st.integers(0, 10_000), st.integers(0, 1 << 32))
def test_random_histories_survive_a_random_power_cut(
    steps: list[Step], where: int, seed: int
) -> None:
    dry = FakeDisk()
    run(dry, steps)
    disk = FakeDisk()
    disk.stop_at = where % (dry.calls + 1)
    before: Model | None = None
    after = Model()
    try:
        storage = create(disk)
        before = after
        for step in steps:
            after = step.after(before)
            step.run(storage, before)
            before = after
            if isinstance(step, Restart):
                storage, _ = reopen(disk)
    except PowerCut:
        note(f"cut at call {disk.stop_at}")
    for state in disk.crash_states(random.Random(seed), limit=12):
        check(state, before, after)


def test_the_harness_notices_a_missing_sync() -> None:
    class Careless(FakeDisk):
        def sync(self, handle: int) -> None:
            self._call()

    disk = Careless()
    _, model = run(disk, [Save((900,)), Save((900,))])
    outcomes = []
    for state in disk.crash_states(random.Random(1), limit=16):
        try:
            check(state, model, model)
            outcomes.append(True)
        except (StorageError, AssertionError):
            outcomes.append(False)
    assert False in outcomes
