"""How often one address may ask for something: a bucket of permits for each, refilled evenly."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

from kvraft.limits import DISCOVERY_MAX_ADDRESSES

_MINUTE_S = 60.0
_PREFIX_V6 = 64  # what one customer is given; all its addresses count as one


class RateLimit:
    """At most `per_minute` permits for an address at once, and so many more in each minute."""

    def __init__(self, per_minute: int, now_s: Callable[[], float]) -> None:
        self._per_minute = per_minute
        self._now_s = now_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str) -> bool:
        """Take a permit; False if there is none."""
        key = _network(address)
        now_s = self._now_s()
        permits, then_s = self._buckets.pop(key, (float(self._per_minute), now_s))
        refill = (now_s - then_s) * self._per_minute / _MINUTE_S
        permits = min(float(self._per_minute), permits + refill)
        allowed = permits >= 1
        self._buckets[key] = (permits - allowed, now_s)
        if len(self._buckets) > DISCOVERY_MAX_ADDRESSES:
            self._buckets.popitem(last=False)  # the one that has not asked for longest
        return allowed


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _PREFIX_V6), strict=False))
