"""The discovery service's counters, under the names that its dashboards know."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from kvraft.discovery.routes import Kind

_ENDPOINTS: Final = {
    Kind.NEW: "new",
    Kind.TOKEN: "token",
    Kind.MEMBER: "token",
    Kind.CONFIG: "token",
    Kind.SIZE: "token",
    Kind.HEALTH: "health",
}
_METHODS: Final = frozenset("GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE".split())


class Requests(Collector):
    """How many requests each page has answered, by status and method."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, kind: Kind, method: str, status: int) -> None:
        """Note an answer; what the router alone has answered is not counted."""
        endpoint = _ENDPOINTS.get(kind)
        if endpoint is not None:
            # A client may invent methods without end; a label's values must not grow with them.
            label = method if method in _METHODS else "other"
            self._counts[endpoint, str(status), label] += 1

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The counters, for a scrape."""
        for endpoint in sorted(set(_ENDPOINTS.values())):
            family = CounterMetricFamily(
                f"endpoint_{endpoint}_requests",
                f"How many /{endpoint} requests processed, partitioned by status code and "
                "HTTP method.",
                labels=("code", "method"),
            )
            for (name, code, method), number in sorted(self._counts.items()):
                if name == endpoint:
                    family.add_metric((code, method), number)
            yield family
