"""An onlooker sees everything and changes nothing."""

from __future__ import annotations

import pytest

from jepsen_like.base import SECOND_NS
from jepsen_like.sim.run import Run
from jepsen_like.sim.shape import Shape
from jepsen_like.sim.trace import DOWN, Recorder

SHAPE = Shape(
    members=3, safety_ms=3000, fault_every_ms=200, faults=("kill", "power", "pause", "loss", "clog")
)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_recorded_run_is_the_same_run(seed: int) -> None:
    plain = Run(seed, SHAPE)
    watched = Run(seed, SHAPE)
    watched.world.observer = Recorder(watched.world)
    before, after = plain.execute(), watched.execute()
    assert before.failure == after.failure == ""
    assert (before.fingerprint, before.faults) == (after.fingerprint, after.faults)


def test_everything_is_told() -> None:
    run = Run(2, SHAPE)
    recorder = run.world.observer = Recorder(run.world)
    verdict = run.execute()
    assert verdict.failure == ""
    assert {state.member for state in recorder.states} == {1, 2, 3}
    assert {state.role for state in recorder.states} >= {"leader", "follower", DOWN}
    times = [state.at_ns for state in recorder.states]
    assert times == sorted(times)
    ends = [event for event in recorder.events if event.kind == "end"]
    assert len(ends) == sum(state.role == DOWN for state in recorder.states)
    lost = sum(frame.why in ("lost", "cut off") for frame in recorder.frames)
    assert lost == verdict.faults.get("frame lost", 0) + verdict.faults.get("frame cut off", 0)
    arrived = [frame for frame in recorder.frames if frame.arrived_ns]
    assert all(frame.at_ns <= frame.arrived_ns[0] for frame in arrived)
    assert len(arrived) > len(recorder.frames) // 2
    assert run.world.now_ns > 3 * SECOND_NS
