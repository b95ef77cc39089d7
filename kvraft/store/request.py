"""One operation on the key space, and its form in the replicated log.

A request is everything that deciding it needs besides the state: two stores that apply the same
requests in the same order are equal. It therefore holds no clock but the one that a leader
stamps into SYNC entries.

Must not know: HTTP parameters, the log, who waits for the outcome (only the number under which
somebody does). Invariant: decode_request(encode_request(n, r)) == (n, r); any other bytes raise
MalformedRequest and nothing else, since they may come from a peer or from a disk.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from msgpack import packb, unpackb

from kvraft.store.errors import MalformedRequest

__all__ = ["Op", "Request", "decode_request", "encode_request"]


class Op(IntEnum):
    """What a request does; the numbers are part of the log's format."""

    SET = 1
    CREATE = 2
    UPDATE = 3
    COMPARE_AND_SWAP = 4
    DELETE = 5
    COMPARE_AND_DELETE = 6
    CREATE_IN_ORDER = 7
    SYNC = 8
    PUT_RECORD = 9
    DELETE_RECORD = 10
    CHECK = 11
    """Changes nothing: marks where all members compare their data."""
    COMMAND = 12
    """For the machine of the program that embeds this member; the key space does not change."""


class Request(NamedTuple):
    """An operation and its operands; the meaning of each is in the keys API, sections 2 and 4."""

    op: int
    path: bytes
    value: bytes = b""
    directory: bool = False
    recursive: bool = False
    refresh: bool = False
    prev_value: bytes = b""
    """Empty: not given."""
    prev_index: int = 0
    """Zero: not given. Of CHECK: its number."""
    ttl_seconds: int | None = None
    """As the client wrote it, up to 2**64 - 1; the store adds it to the time of the log."""
    time_ns: int = 0
    """Only of SYNC: the leader's time."""


_DIRECTORY: Final = 1
_RECURSIVE: Final = 2
_REFRESH: Final = 4
_ALL_FLAGS: Final = _DIRECTORY | _RECURSIVE | _REFRESH
_LAST_OP: Final = max(Op)
_new_tuple = tuple.__new__


def encode_request(request_id: int, request: Request) -> bytes:
    """Give the payload of a log entry; the id tells the proposer its own entry."""
    flags = 0
    if request.directory:
        flags = _DIRECTORY
    if request.recursive:
        flags |= _RECURSIVE
    if request.refresh:
        flags |= _REFRESH
    packed: bytes = packb(
        (
            request_id,
            request.op,
            request.path,
            request.value,
            flags,
            request.prev_value,
            request.prev_index,
            request.ttl_seconds,
            request.time_ns,
        )
    )
    return packed


def decode_request(data: bytes) -> tuple[int, Request]:
    """Read the payload of a log entry; raises MalformedRequest."""
    try:
        request_id, op, path, value, flags, prev_value, prev_index, ttl_seconds, time_ns = unpackb(
            data
        )
    except Exception as error:  # the codec has a dozen kinds, and they differ between versions
        raise MalformedRequest(f"not a request: {error!r}") from error
    if not (
        type(request_id) is int
        and type(op) is int
        and 0 < op <= _LAST_OP
        and type(path) is bytes
        and type(value) is bytes
        and type(flags) is int
        and 0 <= flags <= _ALL_FLAGS
        and type(prev_value) is bytes
        and type(prev_index) is int
        and prev_index >= 0
        and (ttl_seconds is None or (type(ttl_seconds) is int and ttl_seconds >= 0))
        and type(time_ns) is int
    ):
        raise MalformedRequest("a request with a field of the wrong type or out of range")
    return request_id, _new_tuple(
        Request,
        (
            op,
            path,
            value,
            flags & _DIRECTORY != 0,
            flags & _RECURSIVE != 0,
            flags & _REFRESH != 0,
            prev_value,
            prev_index,
            ttl_seconds,
            time_ns,
        ),
    )
