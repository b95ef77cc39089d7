"""What can happen to the frames of one connection on their way; no sockets here.

**What loss means.** TCP loses nothing in the middle of a stream: it delivers, or it breaks. But a
member drops whole frames by itself when a peer is not connected or too far behind, and a broken
connection takes along what was under way; afterwards both sides go on from frame to frame. Each
frame says in full what it means, and nothing counts them. So loss here takes single whole frames
out of a stream that stays up, as the simulator does. That is harsher than a real network: nobody
notices, while a member reports what it drops. The same holds for repeated and overtaken frames,
which in reality need two connections of the same sender. The bytes of a snapshot are exempt: a
transfer arrives as it is, later, or breaks.

**What garbage means.** Nothing that could pass for a frame: a member trusts TCP's and TLS's word
that bytes are what was sent (the fault model is not Byzantine). What is no frame has to end the
connection, and nothing of it may be acted on.

Invariant: frames that no rule touches arrive once, whole and in order.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter, deque
from typing import Any, Final, NamedTuple

import msgpack

from kvraft import limits
from kvraft.transport.codec import bounded_unpacker

_REPLAYED_FRAMES: Final = 64  # how far back a repeated frame may come from
_REPLAYED_BYTES: Final = 1 << 20
_OVERTAKEN_S: Final = (0.0, 0.2)  # how much longer an overtaken or repeated frame takes
_UNKNOWN_KIND: Final = 99
_DEEP: Final = 5000


class Rule(NamedTuple):
    """What befalls a directed link. Shares are of frames, or of transfers; none by default."""

    loss: float = 0.0
    replay: float = 0.0
    reorder: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Each frame takes `delay_ms` plus or minus at most so much."""
    clogged: bool = False
    """Nothing arrives while this holds, and everything at once when it ends."""
    truncate: float = 0.0
    """Half of a frame, then the end of the connection."""
    garbage: float = 0.0
    """In place of a frame: bytes that are none."""
    oversize: float = 0.0
    """In place of a frame: the beginning of one that is too long to be taken."""
    silent: bool = False
    """Connections open and stay open, and nothing passes; the sender sees no fault. When it ends
    they break, as if the other side had been without power and came back."""
    snapshot_cut: float = 0.0
    """A transfer breaks in the middle."""
    snapshot_flip: float = 0.0
    """One bit of a transfer's content is another one."""

    @property
    def timed(self) -> bool:
        """Whether frames are held back."""
        return self.clogged or self.delay_ms > 0 or self.jitter_ms > 0


NOTHING: Final = Rule()


class Due(NamedTuple):
    """What arrives now, and whether the connection breaks thereafter."""

    data: bytes
    breaks: bool


class FrameCutter:
    """Cuts a stream of msgpack into the bytes of each item."""

    def __init__(self) -> None:
        self._unpacker: Any = bounded_unpacker()
        self._pending = bytearray()
        self._done = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The items that `data` completes. Raises ValueError for what is no msgpack."""
        self._pending += data
        self._unpacker.feed(data)
        items: list[bytes] = []
        while True:
            try:
                self._unpacker.skip()
            except msgpack.OutOfData:
                return items
            except msgpack.UnpackException as error:
                raise ValueError(str(error)) from error
            size = self._unpacker.tell() - self._done
            items.append(bytes(self._pending[:size]))
            del self._pending[:size]
            self._done += size


class _Held(NamedTuple):
    """On its way; the smallest comes next."""

    at_s: float
    order: int
    data: bytes
    breaks: bool


class Carrier:
    """One direction of one connection: bytes go in, and come out as the rule says."""

    def __init__(self, rng: random.Random, counts: Counter[str], *, snapshot: bool) -> None:
        """Whatever is done to a frame is counted in `counts` under the name of the rule."""
        self._rng = rng
        self._counts = counts
        self._cutter = FrameCutter()
        self._held: list[_Held] = []
        self._clogged: list[bytes] = []
        self._sent: deque[bytes] = deque(maxlen=_REPLAYED_FRAMES)
        self._order = 0
        self._latest_s = 0.0
        self._snapshot = snapshot
        self._cut_at: int | None = None
        self._flip_at: int | None = None
        self._drawn = False
        self._items = 0
        self.held_bytes = 0
        self.ended = False
        """Nothing more is taken."""
        self.swallowed = False
        """Something was taken in silence that will never arrive."""

    # --- in -----------------------------------------------------------------------------

    def take(self, data: bytes, rule: Rule, now_s: float) -> None:
        """Bytes from the sender. Raises ValueError if they are no msgpack."""
        for item in self._cutter.feed(data):
            if self.ended:
                return
            if rule.silent:
                self._counts["silent"] += 1
                self.swallowed = True
            elif self._snapshot:
                self._carry_piece(item, rule, now_s)
            else:
                self._carry_frame(item, rule, now_s)

    def end(self, now_s: float) -> None:
        """The sender has hung up: so does this side, once everything has arrived."""
        if not self.ended:
            for data in self._clogged:
                self._hold(data, now_s)
            self._clogged.clear()
            self._push(max(now_s, self._latest_s), b"", breaks=True)

    def changed(self, rule: Rule, now_s: float) -> None:
        """Another rule holds now. Once nothing is held back any more, all arrives in a burst."""
        if rule.timed:
            return
        held = [(item.data, item.breaks) for item in sorted(self._held)]
        held[:0] = [(data, False) for data in self._clogged]
        self._held.clear()
        self._clogged.clear()
        self.held_bytes = 0
        self._latest_s = now_s
        for data, breaks in held:
            self._push(now_s, data, breaks=breaks)

    # --- out ----------------------------------------------------------------------------

    def next_s(self) -> float | None:
        """When something arrives next; None if nothing is on its way."""
        return self._held[0].at_s if self._held else None

    def due(self, now_s: float) -> Due:
        """Everything that has arrived by now."""
        parts = []
        while self._held and self._held[0].at_s <= now_s:
            item = heapq.heappop(self._held)
            self.held_bytes -= len(item.data)
            parts.append(item.data)
            if item.breaks:
                self._held.clear()
                return Due(b"".join(parts), breaks=True)
        return Due(b"".join(parts), breaks=False)

    # --- rules --------------------------------------------------------------------------

    def _carry_frame(self, frame: bytes, rule: Rule, now_s: float) -> None:
        if rule.clogged:
            self._send(frame, rule, now_s)
            return
        if self._strikes(rule.loss, "loss"):
            return
        if self._strikes(rule.truncate, "truncate"):
            self._break_off(frame[: self._rng.randint(1, max(1, len(frame) - 1))], now_s)
            return
        if self._strikes(rule.garbage, "garbage"):
            frame = no_frame(self._rng)
        elif self._strikes(rule.oversize, "oversize"):
            frame = too_long(self._rng)
        else:
            self._remember(frame)
        if self._strikes(rule.reorder, "reorder"):
            self._push(now_s + self._delay_s(rule) + self._rng.uniform(*_OVERTAKEN_S), frame)
        else:
            self._send(frame, rule, now_s)
        if self._sent and self._strikes(rule.replay, "replay"):
            again = self._rng.choice(self._sent)
            self._push(now_s + self._delay_s(rule) + self._rng.uniform(*_OVERTAKEN_S), again)

    def _carry_piece(self, item: bytes, rule: Rule, now_s: float) -> None:
        """A piece of a snapshot: the frame that announces it, then its bytes, then nil."""
        if not self._drawn:
            self._drawn = True
            # A small snapshot is one piece of bytes: that is the second item.
            if self._strikes(rule.snapshot_cut, "snapshot_cut"):
                self._cut_at = self._rng.choice((0, 1, 1, 2))
            if self._strikes(rule.snapshot_flip, "snapshot_flip"):
                self._flip_at = 1
        if self._items == self._cut_at:
            self._break_off(item[: len(item) // 2], now_s)
            return
        if self._items == self._flip_at:
            item = flipped(item, self._rng)
        self._items += 1
        self._send(item, rule, now_s)

    def _strikes(self, share: float, name: str) -> bool:
        if share and self._rng.random() < share:
            self._counts[name] += 1
            return True
        return False

    def _send(self, data: bytes, rule: Rule, now_s: float) -> None:
        if rule.clogged:
            self._counts["clogged"] += 1
            self._clogged.append(data)
            self.held_bytes += len(data)
            return
        delay_s = self._delay_s(rule)
        if delay_s:
            self._counts["delay"] += 1
        self._hold(data, now_s + delay_s)

    def _hold(self, data: bytes, at_s: float) -> None:
        """Let it arrive, not before what was sent before it."""
        self._latest_s = max(self._latest_s, at_s)
        self._push(self._latest_s, data)

    def _push(self, at_s: float, data: bytes, *, breaks: bool = False) -> None:
        self._order += 1
        heapq.heappush(self._held, _Held(at_s, self._order, data, breaks))
        self.held_bytes += len(data)
        self.ended = self.ended or breaks

    def _break_off(self, data: bytes, now_s: float) -> None:
        self._push(max(now_s, self._latest_s), data, breaks=True)

    def _delay_s(self, rule: Rule) -> float:
        jitter = self._rng.uniform(-rule.jitter_ms, rule.jitter_ms) if rule.jitter_ms else 0.0
        return max(0.0, rule.delay_ms + jitter) / 1000

    def _remember(self, frame: bytes) -> None:
        if len(frame) <= _REPLAYED_BYTES // _REPLAYED_FRAMES:
            self._sent.append(frame)


def no_frame(rng: random.Random) -> bytes:
    """Bytes that no member takes for a frame: each of them ends a connection."""
    return rng.choice((
        b"\xc1" + rng.randbytes(40),  # a byte that msgpack does not use
        b"\x81\x01\x02",  # a map
        b"\xa5hello",  # text
        b"\xc7\x04\x01" + rng.randbytes(4),  # an extension
        b"\xc0",  # no array
        b"\x90",  # an array of nothing
        b"\x93" + bytes([_UNKNOWN_KIND]) + b"\x01\x02",
        b"\x93\x00\x01\x02",  # a vote with too few fields
        b"GET /v2/keys HTTP/1.1\r\n\r\n",
        b"\x91" * _DEEP,  # deeper than anybody may go
    ))  # fmt: skip


def too_long(rng: random.Random) -> bytes:
    """The beginning of a frame that is longer than a member may keep."""
    if rng.random() < 0.5:
        return b"\xdd" + rng.randrange(2**21, 2**32).to_bytes(4, "big")  # fields of an array
    length = rng.randrange(limits.MAX_FRAME_BYTES + 1, 2**32)
    # One field that never ends: it may be refused only when too much of it is there.
    return b"\x98\x04\xc6" + length.to_bytes(4, "big") + bytes(limits.MAX_FRAME_BYTES + 1)


def flipped(data: bytes, rng: random.Random) -> bytes:
    """These bytes with one bit changed, not among the first, which tell the length."""
    if len(data) < 8:
        return data
    position = rng.randrange(5, len(data))
    changed = bytearray(data)
    changed[position] ^= 1 << rng.randrange(8)
    return bytes(changed)
