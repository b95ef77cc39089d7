"""Framing of stored records, and the judgement over a file whose end does not fit. Pure.

A file is a sequence of frames, nothing else. It must not know what the payloads mean, and it
does no input or output.

    tag      3 bytes "kvR", 1 byte kind
    length   u32, of the payload
    position u64, index in the log (or count in the snapshot) at which this record stands
    crc      u32, CRC-32 of the payload
    chain    u32, CRC-32 over the 20 bytes above, continued from the frame before (first: from 0)
    check    u32, CRC-32 over the same 20 bytes, started from seed + offset of the frame
    payload
    mark     1 byte, never zero                                       (integers little endian)

`chain` proves that nothing is missing or exchanged between the frames. `check` proves one header
on its own, wherever reading starts, and only at its own place: its start value is the chain after
the first frame of this very file plus the offset. So a header that is found behind a damaged
stretch is surely one of this file, and not a copy of log bytes that a user has stored as a value.

Judgement over the end (`Tail`), given that at most one frame was being written when a machine
stopped, that a lost block reads as zeros, and that everything before that frame was synced:

    CLEAN    the file ends where a frame ends
    ZEROS    only zeros follow: space whose contents never arrived
    TORN     the last frame is short, has a zero block, or is no frame of this file (a repeated
             tail, garbage): cutting it loses nothing that was acknowledged
    DAMAGED  anything else: a whole frame follows (its header is enough, as frames are synced one
             by one), or the last frame is complete and yet wrong; cutting could lose data

A complete last frame with a changed byte is damage, not a tear: no block of it is missing. For
its payload that is seen at once; for its header by trying whether one byte makes it right. The
mark at the end sees to it that the last block of a frame is never zeros by nature. What remains
undecidable is damage in the very last frame if its payload holds a whole block of zeros.
"""

from __future__ import annotations

from enum import Enum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

_HEAD: Final = Struct("<IIQI")  # tag, length, position, crc: what chain and check cover
_PROOF: Final = Struct("<II")  # chain, check
_HEADER: Final = Struct("<IIQIII")
MAGIC: Final = b"kvR"
_MARK: Final = b"\xa5"
_TAG: Final = int.from_bytes(MAGIC, "little")
_TAG_MASK: Final = 0x00FF_FFFF
_U32: Final = 0xFFFF_FFFF

HEAD_BYTES: Final = _HEAD.size
HEADER_BYTES: Final = _HEADER.size
OVERHEAD_BYTES: Final = HEADER_BYTES + len(_MARK)
BLOCK_BYTES: Final = 512  # the smallest unit in which a disk loses or keeps a write

_pack_head = _HEAD.pack
_pack_proof = _PROOF.pack


class Tail(Enum):
    """How a file ends."""

    CLEAN = "clean"
    ZEROS = "zeros"
    TORN = "torn"
    DAMAGED = "damaged"


class Record(NamedTuple):
    """One good frame."""

    kind: int
    position: int
    offset: int
    payload: bytes


class Header(NamedTuple):
    """A header that its own check has proved."""

    kind: int
    length: int
    position: int
    crc: int
    chain: int


class Scan(NamedTuple):
    """The good frames from the start of a file, and the judgement over what follows."""

    records: list[Record]
    end: int  # offset behind the last good frame
    chain: int  # chain value there
    seed: int
    tail: Tail
    reason: str  # why the frame at `end` is not good; empty if CLEAN
    torn_position: int | None  # position of that frame, if its header is whole


class Framer:
    """Makes the frames of one file in order. `chain` and `offset` may be put back by the owner
    of the file after a write that failed."""

    __slots__ = ("chain", "offset", "seed")

    def __init__(self, seed: int = 0, chain: int = 0, offset: int = 0) -> None:
        self.seed = seed
        self.chain = chain
        self.offset = offset

    def frame(self, kind: int, position: int, payload: bytes) -> bytes:
        """The bytes of the next frame, to be appended in one write."""
        head = _pack_head(_TAG | kind << 24, len(payload), position, crc32(payload))
        offset = self.offset
        chain = crc32(head, self.chain)
        check = crc32(head, (self.seed + offset) & _U32)
        if offset == 0:
            self.seed = chain
        self.chain = chain
        self.offset = offset + OVERHEAD_BYTES + len(payload)
        return b"".join((head, _pack_proof(chain, check), payload, _MARK))


class Unframer:
    """Checks the frames of one file in order, for readers that do not hold all of it."""

    __slots__ = ("chain", "offset", "seed")

    def __init__(self) -> None:
        self.seed = 0
        self.chain = 0
        self.offset = 0

    def header(self, data: bytes) -> Header | None:
        """The header in these bytes, if it is one of this place."""
        return _header_at(memoryview(data), 0, self.seed + self.offset)

    def accept(self, header: Header, head: bytes, rest: bytes) -> bytes | None:
        """The payload out of `rest` (payload and mark), if it is right and follows the last."""
        payload = rest[: header.length]
        chain = crc32(head[:HEAD_BYTES], self.chain)
        if (
            len(rest) != header.length + len(_MARK)
            or not rest.endswith(_MARK)
            or crc32(payload) != header.crc
            or chain != header.chain
        ):
            return None
        if self.offset == 0:
            self.seed = chain
        self.chain = chain
        self.offset += OVERHEAD_BYTES + header.length
        return payload


def scan(data: bytes, max_payload_bytes: int) -> Scan:
    """Read all frames of a whole file."""
    unframer = Unframer()
    view = memoryview(data)
    records: list[Record] = []
    while unframer.offset < len(data):
        offset = unframer.offset
        header = _header_at(view, offset, unframer.seed + offset)
        if header is None or header.length > max_payload_bytes:
            break
        start = offset + HEADER_BYTES
        head = bytes(view[offset : offset + HEAD_BYTES])
        payload = unframer.accept(header, head, data[start : start + header.length + len(_MARK)])
        if payload is None:
            break
        records.append(Record(header.kind, header.position, offset, payload))
    end = unframer.offset
    if end == len(data):
        tail, reason, torn_position = Tail.CLEAN, "", None
    else:
        tail, reason, torn_position = _judge(data, end, unframer.seed, max_payload_bytes)
    return Scan(records, end, unframer.chain, unframer.seed, tail, reason, torn_position)


def _header_at(view: memoryview, offset: int, check_start: int) -> Header | None:
    if len(view) - offset < HEADER_BYTES:
        return None
    tag, length, position, crc, chain, check = _HEADER.unpack_from(view, offset)
    if tag & _TAG_MASK != _TAG:
        return None
    if crc32(view[offset : offset + HEAD_BYTES], check_start & _U32) != check:
        return None
    return Header(tag >> 24, length, position, crc, chain)


def _judge(
    data: bytes, offset: int, seed: int, max_payload_bytes: int
) -> tuple[Tail, str, int | None]:
    """Why there is no good frame at `offset`, before the end of the file."""
    if data.count(0, offset) == len(data) - offset:
        return Tail.ZEROS, "only zeros follow", None
    view = memoryview(data)
    follower = _next_header(data, view, offset + 1, seed)
    if follower is not None:
        return Tail.DAMAGED, f"bad record, yet a whole one follows at byte {follower}", None
    header = _header_at(view, offset, seed + offset)
    if header is None:
        if _has_zero_block(data, offset, len(data)):
            return Tail.TORN, "record with a block that never arrived", None
        if _is_right_but_for_a_byte(bytes(view[offset : offset + HEADER_BYTES]), seed + offset):
            return Tail.DAMAGED, "record header with a changed byte", None
        return Tail.TORN, "not a whole record", None
    if header.length > max_payload_bytes:
        return Tail.DAMAGED, f"record of {header.length} bytes, more than ever written", None
    frame_end = offset + OVERHEAD_BYTES + header.length
    if frame_end > len(data):
        return Tail.TORN, "record cut short", header.position
    if _has_zero_block(data, offset, frame_end):
        return Tail.TORN, "record with a block that never arrived", header.position
    return Tail.DAMAGED, "complete record with a wrong checksum", header.position


def _next_header(data: bytes, view: memoryview, start: int, seed: int) -> int | None:
    """Offset of the first true header at or behind `start`: one short checksum per candidate,
    whatever length it claims, so that hostile contents cannot make this slow."""
    found = data.find(MAGIC, start)
    while found >= 0:
        if _header_at(view, found, seed + found) is not None:
            return found
        found = data.find(MAGIC, found + 1)
    return None


def _has_zero_block(data: bytes, start: int, end: int) -> bool:
    """Whether the part of any disk block that lies in [start, end) is all zeros."""
    while start < end:
        stop = min(end, start - start % BLOCK_BYTES + BLOCK_BYTES)
        if data.count(0, start, stop) == stop - start:
            return True
        start = stop
    return False


def _is_right_but_for_a_byte(header: bytes, check_start: int) -> bool:
    """Whether changing one byte makes this a true header: then it was written whole once."""
    if len(header) < HEADER_BYTES:
        return False
    start = check_start & _U32
    tag, _, _, _, _, check = _HEADER.unpack(header)
    wrong_bits = crc32(header[:HEAD_BYTES], start) ^ check
    if tag & _TAG_MASK == _TAG and sum(b != 0 for b in wrong_bits.to_bytes(4, "little")) == 1:
        return True
    head = bytearray(header[:HEAD_BYTES])
    for place in range(HEAD_BYTES):
        kept = head[place]
        for value in range(256):
            head[place] = value
            if head.startswith(MAGIC) and crc32(head, start) == check:
                return True
        head[place] = kept
    return False
