"""Clients of a member that stands still, as a process does that got SIGSTOP.

Their connections stay open and nothing is read from them; new ones wait in the kernel's queue. A
connection is stopped from outside: something else takes its place towards the transport, so that
the path of requests pays nothing for it.

Must not know why the member is paused. Invariant: what a connection has missed reaches it when it
goes on, in order: bytes, the end of its input, the loss of the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from kvraft.api.connection import HttpConnection


class HeldConnection(asyncio.Protocol):
    """Stands before one connection and tells it nothing until `release`."""

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self._transport: asyncio.Transport | None = None
        self._input: list[bytes] = []
        self._ended = False
        self._paused_writing: bool | None = None
        self._lost: tuple[Exception | None] | None = None
        self._released = False

    def take(self, transport: asyncio.Transport) -> None:
        """Take the place of the connection, which is open already."""
        self._transport = transport
        transport.pause_reading()
        transport.set_protocol(self)

    def release(self) -> None:
        """Give the connection its place back, and what it has missed."""
        self._released = True
        transport, connection = self._transport, self._connection
        if transport is None:
            return  # the loop has not made it yet
        if self._lost is not None:
            connection.connection_lost(*self._lost)
            return
        transport.set_protocol(connection)
        if self._paused_writing is True:
            connection.pause_writing()
        elif self._paused_writing is False:
            connection.resume_writing()
        for data in self._input:
            connection.data_received(data)
        if self._ended and not connection.eof_received():
            transport.close()
        if connection.reads and not transport.is_closing():
            transport.resume_reading()

    # --- asyncio ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection that was accepted before the member was paused."""
        # uvloop's transports do not derive from asyncio's, they only behave like them.
        transport = cast("asyncio.Transport", transport)
        self._connection.connection_made(transport)
        if self._released:
            transport.set_protocol(self._connection)
        else:
            self.take(transport)

    def data_received(self, data: bytes) -> None:
        """The connection itself has asked for more, in a turn that began before the pause."""
        self._input.append(data)
        if self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client sends nothing more."""
        self._ended = True
        return True

    def pause_writing(self) -> None:
        """The client does not take what it was sent before."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """It does again."""
        self._paused_writing = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._lost = (exc,)
