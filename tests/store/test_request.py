"""The form of a request in the log."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgpack import packb

from kvraft.store.errors import MalformedRequest
from kvraft.store.request import Op, Request, decode_request, encode_request

U64 = st.integers(0, (1 << 64) - 1)
REQUESTS = st.builds(
    Request,
    op=st.sampled_from([int(op) for op in Op]),
    path=st.binary(),
    value=st.binary(),
    directory=st.booleans(),
    recursive=st.booleans(),
    refresh=st.booleans(),
    prev_value=st.binary(),
    prev_index=U64,
    ttl_seconds=st.none() | U64,
    time_ns=st.integers(-(1 << 63), (1 << 63) - 1),
)


@given(U64, REQUESTS)
def test_a_request_survives_the_log(request_id: int, request: Request) -> None:
    decoded = decode_request(encode_request(request_id, request))
    assert decoded == (request_id, request)
    assert type(decoded[1]) is Request
    assert type(decoded[1].directory) is bool


@given(st.binary())
def test_other_bytes_are_refused(data: bytes) -> None:
    try:
        decode_request(data)
    except MalformedRequest:
        return
    raise AssertionError("random bytes were taken for a request")


@given(REQUESTS, st.data())
def test_a_damaged_request_is_refused_or_is_another_one(request: Request, data: Any) -> None:
    encoded = bytearray(encode_request(5, request))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        decode_request(bytes(encoded))
    except MalformedRequest:
        pass


@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (0, "1"),
        (0, True),
        (1, 0),
        (1, max(Op) + 1),
        (1, 1.0),
        (2, "text"),
        (2, None),
        (3, 5),
        (4, 8),
        (4, -1),
        (4, True),
        (5, None),
        (6, -1),
        (6, None),
        (7, -1),
        (7, "5"),
        (8, None),
    ],
)
def test_fields_of_the_wrong_type(position: int, wrong: object) -> None:
    fields: list[object] = [1, 1, b"/a", b"", 0, b"", 0, None, 0]
    assert decode_request(packb(fields)) == (1, Request(Op.SET, b"/a"))
    fields[position] = wrong
    with pytest.raises(MalformedRequest):
        decode_request(packb(fields))


@pytest.mark.parametrize("document", [[], [1], [1] * 9, [1] * 10, {}, None, 7])
def test_other_documents(document: object) -> None:
    with pytest.raises(MalformedRequest):
        decode_request(packb(document))
