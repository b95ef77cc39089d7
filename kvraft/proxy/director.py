"""Which members a proxy may ask right now, and in which order.

Decides and remembers, does nothing: time comes from a clock that is handed in, and who asks, logs
or reads member lists is the caller's business. (server.md, section 6.)

Invariants: no endpoint is listed twice; none of them is an address of this proxy itself; one that
failed is not offered for the failure wait, unless a refresh comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

from kvraft.clock import Clock
from kvraft.limits import PROXY_MIN_REFRESH_MS
from kvraft.server.urls import Address, UrlError, address

LONG_REFRESH_MS: Final = 30_000
"""From this refresh interval on, a proxy without endpoints looks for some every second."""
RETRY_MS: Final = 1000
_NS_PER_MS: Final = 1_000_000
_WILDCARDS: Final = frozenset(("", "0.0.0.0", "::"))


class Director:
    """The endpoints (client URLs of members) and their state.

    `shuffle` puts a list into random order in place, as `random.shuffle` does; `is_own` says
    whether a URL is one of this proxy's own addresses.
    """

    def __init__(
        self,
        clock: Clock,
        failure_wait_ms: int,
        refresh_interval_ms: int,
        shuffle: Callable[[list[str]], None],
        is_own: Callable[[str], bool] = lambda url: False,
    ) -> None:
        self._clock = clock
        self._failure_wait_ns = failure_wait_ms * _NS_PER_MS
        self._refresh_interval_ms = max(refresh_interval_ms, PROXY_MIN_REFRESH_MS)
        self._shuffle = shuffle
        self._is_own = is_own
        self._endpoints: list[str] = []
        self._unavailable_until_ns: dict[str, int] = {}

    def refresh(self, urls: Iterable[str]) -> None:
        """Take over a new list; all marks of failure are forgotten.

        Endpoints that stay keep their order: a client's plain reads, which each member answers
        from its own copy, should not jump between members without need. New ones come behind them
        in random order, so that several proxies do not all choose the same member.
        """
        wanted = {url for url in urls if not self._is_own(url)}
        kept = [url for url in self._endpoints if url in wanted]
        added = sorted(wanted.difference(kept))
        self._shuffle(added)
        self._endpoints = kept + added
        self._unavailable_until_ns.clear()

    def available(self) -> list[str]:
        """The endpoints to try, the first one first."""
        if not self._unavailable_until_ns:
            return list(self._endpoints)
        now_ns = self._clock.monotonic_ns()
        return [url for url in self._endpoints if self._unavailable_until_ns.get(url, 0) <= now_ns]

    def fail(self, url: str) -> bool:
        """Note that an endpoint gave no answer; False if that was known already.

        The wait is not prolonged by requests that were on their way when it began.
        """
        now_ns = self._clock.monotonic_ns()
        if url not in self._endpoints or self._unavailable_until_ns.get(url, 0) > now_ns:
            return False
        self._unavailable_until_ns[url] = now_ns + self._failure_wait_ns
        return True

    def released(self) -> list[str]:
        """The endpoints whose wait has ended since this was last asked."""
        now_ns = self._clock.monotonic_ns()
        over = [url for url, until_ns in self._unavailable_until_ns.items() if until_ns <= now_ns]
        for url in over:
            del self._unavailable_until_ns[url]
        return over

    def refresh_after_ms(self) -> int:
        """How long after the last refresh the next one is due, as things stand now."""
        if self._refresh_interval_ms >= LONG_REFRESH_MS and not self.available():
            return RETRY_MS
        return self._refresh_interval_ms


def own_addresses(
    listening: Iterable[str], advertised: Iterable[str], host_names: Iterable[str]
) -> Callable[[str], bool]:
    """A test for URLs that lead to this proxy itself, as far as texts can tell.

    `listening` and `advertised` are the proxy's client URLs, `host_names` the names of the machine.
    A loop through another name is found by the mark that forwarded requests carry.
    """
    exact = {address(url) for url in (*listening, *advertised)}
    everywhere = {found.port for found in map(address, listening) if found.host in _WILDCARDS}
    names = {name.lower() for name in host_names} | {"localhost"}

    def is_here(host: str) -> bool:
        try:
            return host.lower() in names or ip_address(host).is_loopback
        except ValueError:
            return False

    local = {found.port for found in map(address, listening) if is_here(found.host)} | everywhere

    def is_own(url: str) -> bool:
        try:
            found: Address = address(url)
        except UrlError:
            return False
        return found in exact or (found.port in local and is_here(found.host))

    return is_own
