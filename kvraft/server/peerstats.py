"""What `/v2/stats/self` and `/v2/stats/leader` report about the traffic between members.

Counters are kept where frames pass, at the cost of a dictionary look-up per frame; documents are
made when somebody asks. Rates are over the last 200 appends, as in etcd 2.3.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from kvraft.raft.message import Append, AppendReply

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kvraft.clock import Clock
    from kvraft.server.replica import Frame

_WINDOW = 200
_RATE_EXPIRY_NS = 10**9
_NEVER_REACHED_MS = 9223372036854776000.0


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
    """Latency of one follower's answers, in milliseconds (Welford's running variance)."""

    def __init__(self) -> None:
        self.success = 0
        self.fail = 0
        self.current = self.average = self._squares = self.maximum = 0.0
        self.minimum = _NEVER_REACHED_MS
        self.sample: tuple[int, int] | None = None

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

    def sent(self, frames: Sequence[Frame]) -> None:
        """Frames leave for peers."""
        now_ns = self._clock.monotonic_ns()
        for frame in frames:
            if type(frame) is not Append:
                continue
            self._sent.add(now_ns, _size(frame))
            follower = self._followers.get(frame.to)
            if follower is None:
                follower = self._followers[frame.to] = _Follower()
            if follower.sample is None and frame.entries:
                follower.sample = (frame.entries[-1].index, now_ns)

    def failed(self, member: int) -> None:
        """Frames to this member were lost."""
        follower = self._followers.get(member)
        if follower is not None:
            follower.fail += 1
            follower.sample = None

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
