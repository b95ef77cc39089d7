"""A client port: what all its connections share, and what keeps them in bounds.

One timer a second refreshes the date that answers carry and looks for connections that have
exceeded a deadline, so that a request costs no timer of its own. To serve:

    port = ClientPort(service, loop)
    server = await loop.create_server(port.connection, host, number)
    port.start()
    ...
    server.close()
    await port.drain(seconds)

Must not know what the routes do. Invariant: `connections` are exactly those not yet lost.
"""

from __future__ import annotations

import asyncio
import logging
import resource
from asyncio import AbstractEventLoop
from collections.abc import Iterator
from email.utils import formatdate
from itertools import islice
from typing import Final, NamedTuple

from kvraft.api.access import AccessControl
from kvraft.api.auth import add_auth_routes
from kvraft.api.backup import add_backup_route
from kvraft.api.connection import HttpConnection
from kvraft.api.debug import add_debug_routes
from kvraft.api.figures import HttpFigures
from kvraft.api.gate import Gate
from kvraft.api.guards import Guards
from kvraft.api.keys import Keys
from kvraft.api.keysroute import METHODS, PREFIX, KeysRoute
from kvraft.api.listening import accept_slack
from kvraft.api.members import add_member_routes
from kvraft.api.metrics import MetricsRoute
from kvraft.api.pausing import HeldConnection
from kvraft.api.response import JSON, status_line
from kvraft.api.routes import Router
from kvraft.api.service import Service
from kvraft.api.slow import SlowRequests
from kvraft.api.statistics import add_statistics_routes
from kvraft.api.turns import Turns
from kvraft.limits import (
    HEAD_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    MAX_BUFFERED_BODY_BYTES,
    MAX_CLIENT_CONNECTIONS,
    MAX_UNSENT_BYTES,
    PRESSED_HEAD_TIMEOUT_S,
    PRESSED_IDLE_TIMEOUT_S,
    PRESSED_REQUEST_TIMEOUT_S,
    PRESSED_SHARE,
    PRESSED_STALL_TIMEOUT_S,
    REQUEST_TIMEOUT_S,
    RESERVED_DESCRIPTORS,
    STALL_TIMEOUT_S,
    SWEEP_SLICE,
)

log = logging.getLogger("kvraft.etcdhttp")


class Patience(NamedTuple):
    """How long clients may take, in seconds."""

    head_s: int
    request_s: int
    idle_s: int
    stall_s: int
    gives_way: bool  # a connection at rest may be closed for a new one


PATIENT: Final = Patience(HEAD_TIMEOUT_S, REQUEST_TIMEOUT_S, IDLE_TIMEOUT_S, STALL_TIMEOUT_S, False)
PRESSED: Final = Patience(
    PRESSED_HEAD_TIMEOUT_S,
    PRESSED_REQUEST_TIMEOUT_S,
    PRESSED_IDLE_TIMEOUT_S,
    PRESSED_STALL_TIMEOUT_S,
    True,
)


def connection_cap() -> int:
    """How many clients the process can hold and still open its files and reach its peers."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_CLIENT_CONNECTIONS
    room = soft - RESERVED_DESCRIPTORS
    return max(1, min(MAX_CLIENT_CONNECTIONS, room - accept_slack()))


class ClientPort:
    """The shared side of the connections of one or more listeners."""

    def __init__(
        self, service: Service, loop: AbstractEventLoop, guards: Guards | None = None
    ) -> None:
        self.service = service
        self.loop = loop
        self.guards = Guards() if guards is None else guards
        self.figures = HttpFigures()
        self.slow = SlowRequests(service)
        self.gate = gate = Gate(service, loop)
        self.turns = Turns(loop)
        self.keys = Keys(service, gate, self.turns)
        self.access = AccessControl(service, loop, gate)
        self.auth = self.access.auth
        self.router = Router()
        self.connections: set[HttpConnection] = set()
        self.max_connections = connection_cap()
        self.buffered_bytes = 0  # of requests that are still incomplete, or wait
        self.unsent_bytes = 0  # of answers to clients that do not keep up
        self.patience = PATIENT
        self.dispensable: list[HttpConnection] = []  # as the last sweep has found them
        self.draining = False
        self._last_gone = asyncio.Event()  # set when a draining port has lost its last connection
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping = False
        self._held: list[HeldConnection] | None = None  # while paused
        route = KeysRoute(self.keys, self.access)
        self.router.add(PREFIX, METHODS, route)
        self.router.add(PREFIX + b"/", METHODS, route)
        add_auth_routes(self.router, service, self.access, loop)
        add_member_routes(self.router, service)
        add_statistics_routes(self.router, service)
        add_debug_routes(self.router, service)
        self.router.add(b"/metrics", (), MetricsRoute(self))
        add_backup_route(self.router, service, loop)
        self._refresh()

    def connection(self) -> HttpConnection | HeldConnection:
        """Make the protocol of a new connection: the factory for `loop.create_server`."""
        connection = HttpConnection(self)
        if self._held is None:
            return connection
        held = HeldConnection(connection)
        self._held.append(held)
        return held

    def success_headers(self, index: int) -> bytes:
        """The headers of an answer about keys that went well."""
        service = self.service
        return b"%b%bX-Etcd-Index: %d\r\nX-Raft-Index: %d\r\nX-Raft-Term: %d\r\n" % (
            JSON,
            self.cluster_header,
            index,
            service.applied_index,
            service.applied_term,
        )

    def make_room(self) -> bool:
        """Close a connection that is at rest, or has been slow to ask, for the sake of a new one.

        Whoever fills all places with silence so keeps nobody out for longer than it takes to come.
        """
        while self.dispensable:
            connection = self.dispensable.pop()
            if connection in self.connections and connection.is_dispensable():
                connection.abort()
                return True
        return False

    def gone(self, connection: HttpConnection) -> None:
        """A connection has been lost."""
        self.connections.discard(connection)
        if self.draining and not self.connections:
            self._last_gone.set()

    # --- time --------------------------------------------------------------------------

    def start(self) -> None:
        """Start the timer."""
        self._tick()

    def stop(self) -> None:
        """Stop the timers and the threads."""
        self.gate.close()
        self.access.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._refresh()
        self._choose_patience()
        self.sweep()
        self._timer = self.loop.call_later(1.0, self._tick)

    def _refresh(self) -> None:
        """Make anew what changes once a second at most."""
        self.now_s = self.loop.time()
        self.date_line = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        self.cluster_header = b"X-Etcd-Cluster-Id: %b\r\n" % self.service.cluster_id_hex
        self.error_start = b"%b%bX-Etcd-Index: " % (JSON, self.cluster_header)
        rest = (
            b"%bX-Etcd-Index: %%d\r\nX-Raft-Index: %%d\r\nX-Raft-Term: %%d\r\n"
            b"%bContent-Length: %%d\r\n\r\n%%b"
        ) % (JSON + self.cluster_header, self.date_line)
        self.ok_answer = status_line(200, False) + rest
        self.created_answer = status_line(201, False) + rest

    def _choose_patience(self) -> None:
        """Give slow and idle clients their usual time only while there is room for others."""
        pressed = (
            len(self.connections) > PRESSED_SHARE * self.max_connections
            or self.buffered_bytes > PRESSED_SHARE * MAX_BUFFERED_BODY_BYTES
            or self.unsent_bytes > PRESSED_SHARE * MAX_UNSENT_BYTES
        )
        if pressed and self.patience is PATIENT:
            log.warning(
                "%d of at most %d client connections, %d MiB of unfinished requests and %d MiB of "
                "answers that nobody takes: slow and idle clients are cut off sooner",
                len(self.connections),
                self.max_connections,
                self.buffered_bytes >> 20,
                self.unsent_bytes >> 20,
            )
        self.patience = PRESSED if pressed else PATIENT

    def sweep(self) -> None:
        """End the connections that have exceeded a deadline, some in each turn of the loop."""
        if not self._sweeping:
            self._sweeping = True
            self.dispensable.clear()
            self._sweep_slice(iter(list(self.connections)))

    def _sweep_slice(self, rest: Iterator[HttpConnection]) -> None:
        now_s = self.now_s
        connections = list(islice(rest, SWEEP_SLICE))
        for connection in connections:
            connection.check_deadline(now_s)
        if len(connections) == SWEEP_SLICE:
            self.loop.call_soon(self._sweep_slice, rest)
        else:
            self._sweeping = False

    # --- standing still ----------------------------------------------------------------

    def pause(self) -> None:
        """Neither read nor answer anything until `resume`; the listeners are the caller's."""
        if self._held is None:
            self._held = []
            for connection in self.connections:
                held = HeldConnection(connection)
                held.take(connection.transport)
                self._held.append(held)
            if self._timer is not None:
                self._timer.cancel()

    def resume(self) -> None:
        """Go on with what clients have sent meanwhile."""
        self._release_held()
        if self._timer is not None:
            self._tick()

    def _release_held(self) -> None:
        held, self._held = self._held, None
        for each in held or ():
            each.release()

    # --- the end -----------------------------------------------------------------------

    async def drain(self, timeout_s: float) -> None:
        """Let running requests finish, end watches, then close whatever is left."""
        self.draining = True
        self._release_held()
        for connection in list(self.connections):
            connection.drain()
        if self.connections:
            try:
                await asyncio.wait_for(self._last_gone.wait(), timeout_s)
            except TimeoutError:
                pass
        for connection in list(self.connections):
            connection.abort()
        self.stop()
