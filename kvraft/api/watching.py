"""Answers of unknown length: watches, and listings that are too long for one turn of the loop.

Each writes only while the client keeps up. What a watch has not written stays in the watcher's
bounded queue; when that overflows, what it holds is still delivered and the answer is
ended properly, so that the client knows. (keys-api, sections 10 and 15.)
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from time import monotonic as now
from typing import TYPE_CHECKING

from kvraft.limits import LISTING_COST_BYTES, VIEW_SLICE_NODES, WAKE_COST_BYTES

if TYPE_CHECKING:
    from kvraft.api.exchange import Exchange
    from kvraft.api.service import Service
    from kvraft.store.view import View
    from kvraft.store.watch import Watcher


class WatchResponse:
    """Delivers the events of one watcher to one client; the watcher's owner."""

    __slots__ = ("_exchange", "_service", "_watcher")

    def __init__(self, exchange: Exchange, service: Service, watcher: Watcher) -> None:
        self._exchange = exchange
        self._service = service  # not its store: that may be replaced by a received snapshot
        self._watcher = watcher

    def watch_ready(self, watcher: Watcher) -> None:
        """The watcher has got events, or has been dropped."""
        turns = self._exchange.port.turns
        if turns.full:
            turns.later(self._wake)
        else:
            turns.spend(WAKE_COST_BYTES)
            self._wake()

    def _wake(self) -> None:
        if self._watcher.owner is self and not self._exchange.paused:
            self.resume()

    def resume(self) -> None:
        """Write the events that wait, as far as the client takes them."""
        exchange = self._exchange
        watcher = self._watcher
        events = watcher.events
        while events:
            exchange.chunk(events.popleft().body())
            if not watcher.stream:
                self.wind_up()
                return
            if exchange.paused:
                return
        if watcher.overflowed:
            self.wind_up()

    def wind_up(self) -> None:
        """End the answer; whatever comes later is no longer this client's."""
        self.abandon()
        self._exchange.end_stream()

    def abandon(self) -> None:
        """Take the watcher off the store's list."""
        self._watcher.owner = None
        self._service.store.unwatch(self._watcher)


class Listing:
    """Writes a frozen picture of the tree, one slice in each turn of the loop."""

    __slots__ = ("_chunks", "_client_s", "_exchange", "_loop", "_scheduled", "_stopped_s", "_view")

    def __init__(self, exchange: Exchange, view: View, loop: AbstractEventLoop) -> None:
        self._exchange = exchange
        self._view: View | None = view
        self._loop = loop
        self._chunks = view.json_chunks(VIEW_SLICE_NODES)
        self._scheduled = False
        self._stopped_s = 0.0  # when the client stopped to read; 0: it reads
        self._client_s = 0.0  # how long it has not read

    def resume(self) -> None:
        """Go on in the next turn of the loop."""
        if self._stopped_s:
            self._client_s += now() - self._stopped_s
            self._stopped_s = 0.0
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._step)

    def wind_up(self) -> None:
        """A document without its end is of no use, so it is written to the end."""

    def abandon(self) -> None:
        """Let the store forget the picture."""
        view = self._view
        if view is not None:
            self._view = None
            view.close()

    def _step(self) -> None:
        self._scheduled = False
        if self._view is None:
            return
        turns = self._exchange.port.turns
        if turns.full:
            self._scheduled = True
            turns.later(self._step)
            return
        turns.spend(LISTING_COST_BYTES)
        data = next(self._chunks, None)
        if data is None:
            self.abandon()
            self._exchange.end_stream(self._client_s)
            return
        if data:
            self._exchange.chunk(data)
        if self._exchange.paused:
            self._stopped_s = now()
        else:
            self.resume()
