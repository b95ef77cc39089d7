"""The order in which keys are due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvraft.store.node import File, Node
from kvraft.store.ttl import Expirations


def file(expiration_ns: int) -> File:
    return File(b"", b"", 1, 1, expiration_ns)


def test_by_expiration_then_by_path() -> None:
    expirations = Expirations()
    for path, time_ns in ((b"/c", 5), (b"/a", 7), (b"/b", 5), (b"/d", 9)):
        expirations.add(path, file(time_ns))
    assert [path for path, _ in expirations.due(7)] == [b"/b", b"/c", b"/a"]
    assert expirations.earliest_ns() == 9
    assert [path for path, _ in expirations.due(9)] == [b"/d"]
    assert not expirations


def test_what_is_not_taken_stays() -> None:
    expirations = Expirations()
    for path in (b"/a", b"/b", b"/c"):
        expirations.add(path, file(5))
    due = expirations.due(5)
    assert next(due)[0] == b"/a"
    due.close()  # type: ignore[attr-defined]
    assert [path for path, _ in expirations.due(5)] == [b"/b", b"/c"]


def test_only_the_entered_node_can_be_cancelled() -> None:
    expirations = Expirations()
    old, new = file(5), file(5)
    expirations.add(b"/a", old)
    expirations.add(b"/a", new)
    expirations.cancel(b"/a", old)
    assert list(expirations.due(5)) == [(b"/a", new)]


def test_a_key_renewed_forever_does_not_pile_up() -> None:
    expirations = Expirations()
    node = file(1)
    expirations.add(b"/a", node)
    for time_ns in range(2, 20_000):
        expirations.cancel(b"/a", node)
        node = file(time_ns)
        expirations.add(b"/a", node)
    assert len(expirations._heap) < 2000
    assert list(expirations.due(30_000)) == [(b"/a", node)]


@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 9), st.booleans())),
    st.integers(0, 10),
)
def test_against_a_dict(steps: list[tuple[str, int, bool]], now_ns: int) -> None:
    expirations = Expirations()
    model: dict[bytes, Node] = {}
    for name, time_ns, cancel in steps:
        path = name.encode()
        if path in model:
            expirations.cancel(path, model.pop(path))
        if not cancel:
            model[path] = file(time_ns)
            expirations.add(path, model[path])
    due = sorted((n.expiration_ns, p) for p, n in model.items() if n.expiration_ns <= now_ns)
    assert [path for path, _ in expirations.due(now_ns)] == [path for _, path in due]
    assert bool(expirations) == (len(due) < len(model))
