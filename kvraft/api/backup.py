"""A consistent copy of everything this member holds, streamed to a client: `/v2/admin/backup`.

Ours, etcd 2.3 has nothing like it. What is sent is a frozen view of the store: writes go on
meanwhile. Slices are taken on the loop and framed in a thread, only as fast as the client reads.
A copy says at its end whether it is whole, so an answer that breaks off needs no apology.

    GET /v2/admin/backup[?quorum=true]

With `quorum` it holds every write that was acknowledged anywhere before the request; without, what
this member has applied, which also works when there is no leader. Must not know the file format.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from kvraft.api.access import require_root
from kvraft.api.exchange import Exchange
from kvraft.api.params import BadParameters, get_params
from kvraft.api.response import message
from kvraft.api.routes import Router
from kvraft.api.service import Service, Unavailable
from kvraft.limits import MAX_BACKUPS

if TYPE_CHECKING:
    from kvraft.api.service import Backup

PATH: Final = b"/v2/admin/backup"
_BUSY: Final = f"{MAX_BACKUPS} backups are being sent already, try again later"
_BINARY: Final = b"Content-Type: application/octet-stream\r\n"


class BackupResponse:
    """Sends one backup; at most one part of it is being made or waits for the client."""

    __slots__ = ("_backup", "_ended", "_exchange", "_loop", "_parts", "_working")

    def __init__(
        self,
        exchange: Exchange,
        backup: Backup,
        loop: AbstractEventLoop,
        ended: Callable[[], None],
    ) -> None:
        self._exchange = exchange
        self._backup: Backup | None = backup
        self._parts: Iterator[Callable[[], bytes]] = backup.parts()
        self._loop = loop
        self._ended = ended
        self._working = False

    def resume(self) -> None:
        """Go on in the next turn of the loop."""
        if not self._working:
            self._working = True
            self._loop.call_soon(self._step)

    def wind_up(self) -> None:
        """A part of a backup is of no use, so it is written to the end while there is time."""

    def abandon(self) -> None:
        """Let the store forget the view."""
        backup, self._backup = self._backup, None
        if backup is not None:
            backup.close()
            self._ended()

    def _step(self) -> None:
        if self._backup is None or self._exchange.paused:
            self._working = False
            return
        part = next(self._parts, None)
        if part is None:
            self.abandon()
            self._exchange.end_stream()
        else:
            self._loop.run_in_executor(None, part).add_done_callback(self._made)

    def _made(self, part: Any) -> None:
        self._working = False
        if self._backup is None:
            return
        self._exchange.chunk(part.result())
        if not self._exchange.paused:
            self.resume()


class BackupRoute:
    """Serves `/v2/admin/backup`."""

    __slots__ = ("_loop", "_running", "_service")

    def __init__(self, service: Service, loop: AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._running = 0

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request, whose method has been checked, once the member has caught up.

        A copy of everything holds the secrets of auth, too: it is for administrators.
        """
        require_root(exchange, lambda: self._serve(exchange))

    def _serve(self, exchange: Exchange) -> None:
        try:
            params = get_params(exchange.query)
        except BadParameters as bad:
            exchange.refuse(bad.code, bad.cause, 0)
            return

        def fresh(outcome: Unavailable | None) -> None:
            if outcome is not None:
                self._refuse(exchange, outcome.cause)
            else:
                self._begin(exchange)

        if params.quorum:
            self._service.read_barrier(fresh)
        else:
            self._begin(exchange)

    def _begin(self, exchange: Exchange) -> None:
        if self._running >= MAX_BACKUPS:
            self._refuse(exchange, _BUSY)
            return
        self._running += 1
        backup = self._service.begin_backup()
        headers = (
            b'Content-Disposition: attachment; filename="%b"\r\n%b%bX-Etcd-Index: %d\r\n'
            b"X-Raft-Index: %d\r\nX-Raft-Term: %d\r\n"
        ) % (
            backup.file_name.encode(),
            _BINARY,
            exchange.port.cluster_header,
            backup.etcd_index,
            backup.raft_index,
            backup.raft_term,
        )
        exchange.streaming(headers, BackupResponse(exchange, backup, self._loop, self._end))

    def _end(self) -> None:
        self._running -= 1

    def _refuse(self, exchange: Exchange, reason: str) -> None:
        headers = b"Content-Type: application/json\r\nRetry-After: 5\r\n"
        exchange.respond(503, headers + exchange.port.cluster_header, message(reason))


def add_backup_route(router: Router, service: Service, loop: AbstractEventLoop) -> None:
    """Enter the route of this module into a table."""
    router.add(PATH, (b"GET", b"HEAD"), BackupRoute(service, loop))
