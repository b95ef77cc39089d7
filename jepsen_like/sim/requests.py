"""What the simulated clients ask for: few keys, unique values, all operations of the key space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    import random

REGISTERS = tuple(b"/r/k%d" % number for number in range(6))
TREE = (b"/d/a", b"/d/b", b"/d/s/a", b"/d/s/b", b"/d/_h", b"/_x/y")
TIMED = (b"/t/a", b"/t/b", b"/t/c")
QUEUE = b"/q"
WATCHED = (b"/", b"/r", b"/r/k0", b"/d", b"/d/s", b"/d/s/a", b"/t", b"/t/a", b"/q", b"/_x")
READ = REGISTERS + REGISTERS + TREE + TIMED + (b"/d", b"/r", QUEUE)

Seen = dict[bytes, tuple[bytes, int]]
"""What a client knows: path -> value, modified index."""


def draw_request(rng: random.Random, seen: Seen, tag: bytes) -> Request:
    """Any change; `tag` is its value, or takes the place of one."""
    kind = rng.random()
    path = rng.choice(REGISTERS)
    if kind < 0.30:
        return Request(Op.SET, path, tag)
    if kind < 0.36:
        return Request(Op.CREATE, path, tag)
    if kind < 0.42:
        return Request(Op.UPDATE, path, tag)
    if kind < 0.60:
        return _draw_compare(rng, seen, path, tag)
    if kind < 0.66:
        return Request(Op.DELETE, path, tag)
    if kind < 0.74:
        ttl = rng.choice((None, None, None, 2))
        return Request(Op.CREATE_IN_ORDER, QUEUE, tag, ttl_seconds=ttl)
    if kind < 0.88:
        return _draw_tree(rng, tag)
    return _draw_timed(rng, tag)


def _draw_timed(rng: random.Random, tag: bytes) -> Request:
    path = rng.choice(TIMED)
    ttl = rng.choice((1, 2, 5))
    kind = rng.random()
    if kind < 0.2:
        return Request(Op.SET, path, tag, refresh=True, ttl_seconds=ttl)
    if kind < 0.3:
        return Request(Op.UPDATE, path, tag, refresh=True, ttl_seconds=ttl)
    if kind < 0.35:
        return Request(Op.UPDATE, path, tag)  # lives for ever from now on
    return Request(Op.SET, path, tag, ttl_seconds=ttl)


def _draw_compare(rng: random.Random, seen: Seen, path: bytes, tag: bytes) -> Request:
    value, modified = seen.get(path, (b"nothing", 0))
    by_index = modified if rng.random() < 0.5 else 0
    by_value = b"" if by_index else value
    if rng.random() < 0.25:
        return Request(Op.COMPARE_AND_DELETE, path, tag, prev_value=by_value, prev_index=by_index)
    return Request(Op.COMPARE_AND_SWAP, path, tag, prev_value=by_value, prev_index=by_index)


def _draw_tree(rng: random.Random, tag: bytes) -> Request:
    path = rng.choice(TREE)
    kind = rng.random()
    if kind < 0.6:
        return Request(Op.SET, path, tag)
    if kind < 0.75:
        return Request(Op.DELETE, rng.choice((b"/d/s", b"/d", b"/q")), tag, recursive=True)
    if kind < 0.85:
        return Request(Op.DELETE, path.rpartition(b"/")[0], tag, directory=True)
    if kind < 0.95:
        return Request(Op.SET, b"/d/s", tag, directory=True, ttl_seconds=rng.choice((1, 3)))
    return Request(Op.SET, path + b"/below", tag)
