"""What a proxy counts, and how `/metrics` shows it: the names of etcd 2.3 (server.md, section 6).

Counting costs a dictionary look-up; the text is made when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S: Final = tuple(0.0005 * 2**k for k in range(13))

ZERO_ENDPOINTS: Final = "zero_endpoints"
FAILED_SENDING: Final = "failed_sending_request"
FAILED_GETTING: Final = "failed_getting_response"

# A label is kept for ever: what clients make up must not become one.
_METHODS: Final = frozenset(("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"))
_OTHER: Final = "OTHER"


class _Durations:
    """One histogram: a count per bucket, the last one for what is longer than all of them."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> Iterator[tuple[str, float]]:
        total = 0
        for bound, count in zip((*map(repr, BUCKETS_S), "+Inf"), self.counts, strict=True):
            total += count
            yield bound, float(total)


class ProxyMetrics(Collector):
    """The counters of one proxy."""

    def __init__(self) -> None:
        self._handled: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._durations: dict[str, _Durations] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def handled(self, method: str, status: int, seconds: float) -> None:
        """A member has answered; `seconds` went by until the head of its answer was there."""
        method = method if method in _METHODS else _OTHER
        self._handled[method, str(status)] += 1
        durations = self._durations.get(method)
        if durations is None:
            durations = self._durations[method] = _Durations()
        durations.add(seconds)

    def dropped(self, method: str, error: str) -> None:
        """A request, or one attempt at it, has failed for one of the reasons above."""
        self._dropped[method if method in _METHODS else _OTHER, error] += 1

    def exposition(self) -> bytes:
        """The text of `/metrics`."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        handled = CounterMetricFamily(
            "etcd_proxy_handled",
            "Requests that a member has answered.",
            labels=("method", "code"),
        )
        for labels, count in sorted(self._handled.items()):
            handled.add_metric(labels, count)
        dropped = CounterMetricFamily(
            "etcd_proxy_dropped",
            "Requests, and attempts at them, that got no answer from a member.",
            labels=("method", "proxying_error"),
        )
        for labels, count in sorted(self._dropped.items()):
            dropped.add_metric(labels, count)
        durations = HistogramMetricFamily(
            "etcd_proxy_handling_duration_seconds",
            "Time until the head of a member's answer.",
            labels=("method",),
        )
        for method, seen in sorted(self._durations.items()):
            durations.add_metric((method,), list(seen.cumulative()), seen.sum_s)
        # As with etcd, a name that has not been counted yet is not there at all.
        yield from (family for family in (handled, dropped, durations) if family.samples)
