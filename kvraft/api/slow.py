"""Saying which requests took too long, and why.

A request is looked at when it has been answered: what a quick one costs is the comparison that
its duration is sorted with anyway. Why it took so long is for the service to say, which knows what
went on meanwhile; what only this side knows is how long the client kept an answer waiting.

Values are never shown, as a path may be, and lines are limited in number: when everything is
slow, a few of them tell as much as all.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from kvraft.limits import SLOW_LINES_PER_SECOND, SLOW_PATH_BYTES

if TYPE_CHECKING:
    from kvraft.api.service import Service

log = logging.getLogger("kvraft.etcdhttp")

_CLIENT_SHARE: Final = 0.5  # of the time; then it was the client


class SlowRequests:
    """Logs the requests of one port that were too slow."""

    __slots__ = ("_second", "_service", "_suppressed", "_written", "limit_s")

    def __init__(self, service: Service) -> None:
        self.limit_s = float("inf")  # until somebody wants to know
        self._service = service
        self._second = 0
        self._written = 0
        self._suppressed = 0

    def note(
        self, method: str, path: bytes, began_s: float, took_s: float, client_s: float, local: bool
    ) -> None:
        """A request has been answered beyond the limit; times are those of `time.monotonic`.

        `client_s` is how long its client did not take what was sent; `local` tells that it
        needed nothing but this member.
        """
        second = int(began_s + took_s)
        if second != self._second:
            self._second = second
            self._written = 0
        if self._written >= SLOW_LINES_PER_SECOND:
            self._suppressed += 1
            return
        self._written += 1
        if client_s >= _CLIENT_SHARE * took_s:
            reason = f"the client did not read for {client_s:.3f}s"
        else:
            reason = self._service.diagnostics.explain_delay(began_s, began_s + took_s, local)
        shown = path if len(path) <= SLOW_PATH_BYTES else path[:SLOW_PATH_BYTES] + b"..."
        more, self._suppressed = self._suppressed, 0
        log.warning(
            "slow request: %s %s took %.3fs: %s%s",
            method,
            shown.decode("utf-8", "backslashreplace"),
            took_s,
            reason,
            f" (and {more} more slow requests before)" if more else "",
        )
