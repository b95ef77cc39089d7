"""Virtual time runs in order, and random streams do not disturb each other."""

from __future__ import annotations

from jepsen_like.sim.world import TRACE_EVENTS, World


def test_actions_run_by_time_then_by_the_order_they_were_asked_for() -> None:
    world = World(1)
    done: list[str] = []
    world.after(20, lambda: done.append("late"))
    world.after(10, lambda: done.append("first"))
    world.after(10, lambda: done.append("second"))
    assert not world.run_until(30)
    assert done == ["first", "second", "late"]
    assert world.now_ns == 30


def test_a_run_stops_where_it_is_told_to() -> None:
    world = World(1)
    for delay_ns in (1, 2, 3):
        world.after(delay_ns, lambda: None)
    assert world.run_until(10, lambda: world.now_ns == 2)
    assert world.now_ns == 2


def test_streams_of_one_name_are_equal_and_others_are_not() -> None:
    assert World(7).rng("net").random() == World(7).rng("net").random()
    assert World(7).rng("net").random() != World(7).rng("disk").random()
    assert World(7).rng("net").random() != World(8).rng("net").random()


def test_the_trace_keeps_the_last_events_only() -> None:
    world = World(1)
    for number in range(TRACE_EVENTS + 5):
        world.note("event", number)
    lines = world.render_trace()
    assert len(lines) == TRACE_EVENTS
    assert lines[-1].endswith(f"event {TRACE_EVENTS + 4}")
