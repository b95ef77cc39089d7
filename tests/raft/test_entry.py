"""The payload of a membership change."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    CorruptEntry,
    decode_conf_change,
    encode_conf_change,
)


@given(st.sampled_from(list(ConfChangeKind)), st.integers(1, 2**64 - 1), st.binary(max_size=50))
def test_round_trip(kind: ConfChangeKind, member: int, context: bytes) -> None:
    change = ConfChange(kind, member, context)
    assert decode_conf_change(encode_conf_change(change)) == change


@pytest.mark.parametrize(
    "fields",
    [(0, 1), (0, 1, b"", 0), (9, 1, b""), (-1, 1, b""), (True, 1, b""), (0, 0, b""), (0, 1, ""), 5],
    ids=repr,
)
def test_impossible_fields(fields: object) -> None:
    with pytest.raises(CorruptEntry):
        decode_conf_change(msgpack.packb(fields))


@given(st.binary(max_size=40))
def test_any_bytes_decode_or_are_refused(data: bytes) -> None:
    try:
        change = decode_conf_change(data)
    except CorruptEntry:
        return
    assert decode_conf_change(encode_conf_change(change)) == change
