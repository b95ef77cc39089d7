"""Framing: what is written is read, and every kind of end is told apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvraft.storage.record import (
    BLOCK_BYTES,
    HEADER_BYTES,
    OVERHEAD_BYTES,
    Framer,
    Tail,
    Unframer,
    scan,
)

CAP = 1 << 20


def frames(payloads: list[bytes]) -> list[bytes]:
    framer = Framer()
    return [framer.frame(i % 5 + 1, i, payload) for i, payload in enumerate(payloads)]


def payloads_of(data: bytes) -> list[bytes]:
    return [record.payload for record in scan(data, CAP).records]


@given(st.lists(st.binary(max_size=700)))
def test_round_trip(payloads: list[bytes]) -> None:
    result = scan(b"".join(frames(payloads)), CAP)
    assert result.tail is Tail.CLEAN
    assert [r.payload for r in result.records] == payloads
    assert [(r.kind, r.position) for r in result.records] == [
        (i % 5 + 1, i) for i in range(len(payloads))
    ]


def test_a_framer_continues_where_another_ended() -> None:
    first = b"".join(frames([b"a", b"b"]))
    found = scan(first, CAP)
    more = Framer(found.seed, found.chain, found.end).frame(9, 9, b"c")
    assert payloads_of(first + more) == [b"a", b"b", b"c"]


def test_a_framer_put_back_makes_the_same_frame_again() -> None:
    framer = Framer()
    framer.frame(1, 0, b"head")
    chain, offset = framer.chain, framer.offset
    once = framer.frame(2, 1, b"x")
    framer.chain, framer.offset = chain, offset
    assert framer.frame(2, 1, b"x") == once


def test_zeros_are_the_end() -> None:
    whole = b"".join(frames([b"a", b"b"]))
    for count in (1, HEADER_BYTES, 511, 5000):
        result = scan(whole + bytes(count), CAP)
        assert result.tail is Tail.ZEROS
        assert result.end == len(whole)


def test_every_truncation_is_torn_or_clean() -> None:
    parts = frames([b"head", b"x" * 600, b"y" * 30])
    whole = b"".join(parts)
    ends = {0, len(parts[0]), len(parts[0] + parts[1]), len(whole)}
    for size in range(len(whole) + 1):
        result = scan(whole[:size], CAP)
        assert result.tail is (Tail.CLEAN if size in ends else Tail.TORN)
        assert result.end == max(end for end in ends if end <= size)


def test_a_short_record_with_a_whole_header_tells_its_position() -> None:
    parts = frames([b"head", b"x" * 100])
    result = scan(b"".join(parts)[:-1], CAP)
    assert result.torn_position == 1
    assert scan(parts[0] + parts[1][:20], CAP).torn_position is None


def test_any_lost_block_of_the_last_record_is_a_tear() -> None:
    for before in (10, 400, 470, 480, 490, 500):
        parts = frames([b"h" * before, b"\x01" * 1300])
        whole = b"".join(parts)
        start = len(parts[0])
        for block in range(start // BLOCK_BYTES, len(whole) // BLOCK_BYTES + 1):
            low = max(start, block * BLOCK_BYTES)
            high = min(len(whole), (block + 1) * BLOCK_BYTES)
            lost = whole[:low] + bytes(high - low) + whole[high:]
            result = scan(lost, CAP)
            assert result.tail is Tail.TORN, (before, block)
            assert result.end == start


def test_every_changed_byte_is_damage() -> None:
    parts = frames([b"head" * 5, b"x" * 50, b"yz" * 20])
    whole = b"".join(parts)
    for place in range(len(whole)):
        for flip in (0x01, 0x80, 0xFF, whole[place]):
            if flip:
                changed = bytearray(whole)
                changed[place] ^= flip
                result = scan(bytes(changed), CAP)
                assert result.tail is Tail.DAMAGED, (place, flip)
                assert result.end in (0, len(parts[0]), len(parts[0] + parts[1]))


@given(st.binary(min_size=1, max_size=200))
def test_garbage_behind_the_end_is_no_record(garbage: bytes) -> None:
    whole = b"".join(frames([b"head", b"x"]))
    result = scan(whole + garbage, CAP)
    assert result.tail in (Tail.TORN, Tail.ZEROS)
    assert result.end == len(whole)


def test_a_repeated_tail_is_no_record() -> None:
    parts = frames([b"head", b"x" * 100, b"y" * 100])
    whole = b"".join(parts)
    for tail in (parts[2], parts[1] + parts[2], whole):
        result = scan(whole + tail, CAP)
        assert (result.tail, result.end) == (Tail.TORN, len(whole))


def test_a_lost_record_before_a_whole_one_is_damage() -> None:
    parts = frames([b"head", b"x" * 100, b"y" * 100])
    hole = parts[0] + bytes(len(parts[1])) + parts[2]
    result = scan(hole, CAP)
    assert (result.tail, result.end) == (Tail.DAMAGED, len(parts[0]))


def test_a_header_alone_behind_a_bad_record_is_damage() -> None:
    parts = frames([b"head", b"x" * 100, b"y" * 100])
    bad = bytearray(b"".join(parts)[:-90])
    bad[len(parts[0]) + HEADER_BYTES] ^= 1
    assert scan(bytes(bad), CAP).tail is Tail.DAMAGED


def test_log_bytes_inside_a_value_are_not_taken_for_records() -> None:
    inner = b"".join(frames([b"head", b"x" * 100, b"y"]))
    parts = frames([b"head", b"0123" + inner * 3 + b"z" * 100])
    result = scan(b"".join(parts)[:-1], CAP)
    assert (result.tail, result.end) == (Tail.TORN, len(parts[0]))


def test_exchanged_records_are_damage() -> None:
    parts = frames([b"head", b"x" * 9, b"y" * 9])
    framer = Framer()
    framer.frame(1, 0, b"head")
    other = framer.frame(2, 1, b"z" * 9)
    assert scan(parts[0] + other + parts[2], CAP).tail is Tail.DAMAGED


def test_length_is_bounded_before_the_payload_is_touched() -> None:
    parts = frames([b"head", b"x" * 100])
    result = scan(b"".join(parts), 99)
    assert (result.tail, result.end) == (Tail.DAMAGED, len(parts[0]))


def test_hostile_contents_cannot_make_the_search_slow() -> None:
    parts = frames([b"head", b"kvR" * 300_000])
    assert scan(b"".join(parts)[:-1], CAP).tail is Tail.TORN


def test_unframer_refuses_what_scan_refuses() -> None:
    parts = frames([b"head", b"x" * 9])
    reader = Unframer()
    header = reader.header(parts[0][:HEADER_BYTES])
    assert header is not None
    assert reader.accept(header, parts[0], parts[0][HEADER_BYTES:-1]) is None
    assert reader.accept(header, parts[0], parts[0][HEADER_BYTES:]) == b"head"
    assert reader.header(parts[0][:HEADER_BYTES]) is None
    assert reader.header(b"") is None
    assert reader.offset == OVERHEAD_BYTES + 4
