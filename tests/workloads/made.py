"""Operations as a client would have recorded them, made up."""

from __future__ import annotations

import itertools

from jepsen_like.check.history import Operation, Outcome
from kvraft.store.request import Op, Request

_numbers = itertools.count()


def done(
    request: Request,
    *,
    at: int,
    outcome: Outcome = Outcome.OK,
    index: int = 0,
    key: bytes = b"",
    previous: tuple[bytes | None, int] | None = None,
) -> Operation:
    """A change that began at `at` and took five nanoseconds."""
    operation = Operation(next(_numbers), 0, 0, at)
    operation.request, operation.outcome, operation.ended_ns = request, outcome, at + 5
    operation.node_path = key or request.path
    operation.index = operation.node_modified = index
    operation.node_value, operation.previous = request.value, previous
    return operation


def post(path: bytes, value: bytes, at: int, key: int, outcome: Outcome = Outcome.OK) -> Operation:
    """An in-order key."""
    request = Request(Op.CREATE_IN_ORDER, path, value)
    return done(request, at=at, outcome=outcome, index=key, key=b"%b/%020d" % (path, key))
