"""What `/v2/stats/self`, `/v2/stats/leader` and the metrics say of the traffic between members.

Counters are kept where frames pass, at the cost of a few look-ups per frame, not per entry;
documents are made when somebody asks. Rates are over the last 200 appends, as in etcd 2.3.

How long a frame takes to be sent is how long it took to be packed and given to the socket,
together with those that left with it: what etcd 2.3 measures, too.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from kvraft.histogram import Histogram, doubling
from kvraft.raft.message import Append, AppendReply, Heartbeat, HeartbeatReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kvraft.clock import Clock
    from kvraft.server.replica import Frame

_WINDOW = 200
_RATE_EXPIRY_NS = 10**9
_NEVER_REACHED_MS = 9223372036854776000.0
SENT_BOUNDS_S: Final = doubling(0.0005, 13)


class Sent:
    """What has been sent to a member of one kind of frame."""

    __slots__ = ("failed", "latency")

    def __init__(self) -> None:
        self.latency = Histogram(SENT_BOUNDS_S)
        self.failed = 0


class _Rate:
    """Messages and bytes per second over a sliding window."""

    def __init__(self) -> None:
        self.count = 0
        self._samples: deque[tuple[int, int]] = deque(maxlen=_WINDOW)

    def add(self, now_ns: int, size: int) -> None:
        self.count += 1
        self._samples.append((now_ns, size))

    def per_second(self, now_ns: int) -> tuple[float, float]:
        samples = self._samples
        if len(samples) < 2 or now_ns - samples[-1][0] > _RATE_EXPIRY_NS:
            return 0.0, 0.0
        seconds = (samples[-1][0] - samples[0][0]) / 1e9
        if seconds <= 0:
            return 0.0, 0.0
        return len(samples) / seconds, sum(size for _, size in samples) / seconds


class _Follower:
    """One other member. Latency of its answers, in milliseconds (Welford's running variance)."""

    def __init__(self) -> None:
        self.success = 0
        self.fail = 0
        self.failed_ns = -1  # when frames to it were last dropped
        self.current = self.average = self._squares = self.maximum = 0.0
        self.minimum = _NEVER_REACHED_MS
        self.sample: tuple[int, int] | None = None
        self.sent: dict[type[Any], Sent] = {}
        self.beat_ns: int | None = None  # when the heartbeat left whose answer is waited for
        self.round_trip_s = 0.0  # of the last heartbeat that was answered

    def answered(self, latency_ms: float) -> None:
        self.success += 1
        self.current = latency_ms
        delta = latency_ms - self.average
        self.average += delta / self.success
        self._squares += delta * (latency_ms - self.average)
        self.minimum = min(self.minimum, latency_ms)
        self.maximum = max(self.maximum, latency_ms)

    def document(self) -> dict[str, object]:
        deviation = math.sqrt(self._squares / self.success) if self.success else 0.0
        latency = {
            "current": self.current,
            "average": self.average,
            "standardDeviation": deviation,
            "minimum": self.minimum,
            "maximum": self.maximum,
        }
        return {"latency": latency, "counts": {"fail": self.fail, "success": self.success}}


class PeerStats:
    """Counts the appends that pass between this member and the others."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._received = _Rate()
        self._sent = _Rate()
        self._followers: dict[int, _Follower] = {}

    def received(self, frames: Sequence[Frame]) -> None:
        """Frames have arrived from a peer."""
        now_ns = self._clock.monotonic_ns()
        for frame in frames:
            if isinstance(frame, Append):
                self._received.add(now_ns, _size(frame))
            elif isinstance(frame, AppendReply):
                self._answered(frame, now_ns)
            elif isinstance(frame, HeartbeatReply):
                self._beat(frame.sender, now_ns)

    def now_ns(self) -> int:
        """The clock by which frames are timed."""
        return self._clock.monotonic_ns()

    def sent(self, frames: Sequence[Frame], began_ns: int) -> None:
        """Frames have left for peers, but for those reported as `failed` since `began_ns`."""
        now_ns = self._clock.monotonic_ns()
        took_s = (now_ns - began_ns) / 1e9
        for frame in frames:
            kind = type(frame)
            follower = self._follower(frame.to)
            sent = follower.sent.get(kind)
            if sent is None:
                sent = follower.sent[kind] = Sent()
            if follower.failed_ns >= began_ns:
                sent.failed += 1
                continue
            sent.latency.observe(took_s)
            if isinstance(frame, Append):
                self._sent.add(began_ns, _size(frame))
                if follower.sample is None and frame.entries:
                    follower.sample = (frame.entries[-1].index, began_ns)
            elif kind is Heartbeat and follower.beat_ns is None:
                follower.beat_ns = began_ns

    def transferred(self, member: int, kind: type[Any], began_ns: int, ok: bool) -> None:
        """A snapshot has been sent to a member, on a connection of its own."""
        sent = self._follower(member).sent.setdefault(kind, Sent())
        if ok:
            sent.latency.observe((self._clock.monotonic_ns() - began_ns) / 1e9)
        else:
            sent.failed += 1

    def failed(self, member: int) -> None:
        """Frames to this member were lost."""
        follower = self._follower(member)
        follower.fail += 1
        follower.failed_ns = self._clock.monotonic_ns()
        follower.sample = None
        follower.beat_ns = None

    def self_document(self) -> dict[str, object]:
        """The counters of `/v2/stats/self`; rates that are zero are left out."""
        now_ns = self._clock.monotonic_ns()
        received, sent = self._received.per_second(now_ns), self._sent.per_second(now_ns)
        document: dict[str, object] = {"recvAppendRequestCnt": self._received.count}
        if received[0]:
            document |= {"recvPkgRate": received[0], "recvBandwidthRate": received[1]}
        document["sendAppendRequestCnt"] = self._sent.count
        if sent[0]:
            document |= {"sendPkgRate": sent[0], "sendBandwidthRate": sent[1]}
        return document

    def followers_document(self, members: Iterable[int]) -> dict[str, object]:
        """The followers of `/v2/stats/leader`, sorted by their ids as text."""
        documents: dict[str, object] = {}
        for hex_id, member in sorted((f"{member:x}", member) for member in members):
            documents[hex_id] = self._followers.get(member, _Follower()).document()
        return documents

    def traffic(self, member: int) -> Mapping[type[Any], Sent]:
        """What has been sent to a member, by kind of frame."""
        follower = self._followers.get(member)
        return {} if follower is None else follower.sent

    def round_trip_s(self, member: int) -> float:
        """From the last heartbeat to its answer; 0 if this member has sent none to that one."""
        follower = self._followers.get(member)
        return 0.0 if follower is None else follower.round_trip_s

    def _follower(self, member: int) -> _Follower:
        follower = self._followers.get(member)
        if follower is None:
            follower = self._followers[member] = _Follower()
        return follower

    def _beat(self, member: int, now_ns: int) -> None:
        follower = self._followers.get(member)
        if follower is not None and follower.beat_ns is not None:
            follower.round_trip_s = (now_ns - follower.beat_ns) / 1e9
            follower.beat_ns = None

    def _answered(self, reply: AppendReply, now_ns: int) -> None:
        follower = self._followers.get(reply.sender)
        if follower is None or follower.sample is None or not reply.ok:
            return
        index, sent_ns = follower.sample
        if reply.index >= index:
            follower.answered((now_ns - sent_ns) / 1e6)
            follower.sample = None


def _size(append: Append) -> int:
    return sum(len(entry.data) for entry in append.entries)
