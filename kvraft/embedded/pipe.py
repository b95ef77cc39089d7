"""A connection within one event loop: two transports, each writing what the other one reads.

Behaves like a pair of connected sockets, as far as protocols can tell: bytes arrive in a later turn
of the loop, in order; who reads slowly makes the other side pause; a closed end flushes first, an
aborted one resets both. Knows nothing of what is carried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from kvraft.limits import PIPE_HIGH_WATER_BYTES


class PipeEnd(asyncio.Transport):
    """One end; `join` makes pairs of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._other: PipeEnd | None = None  # None: the connection is over
        self._inbox: list[bytes] = []  # what the other end has written
        self._inbox_bytes = 0
        self._ended = False  # it will write no more
        self._end_told = False
        self._reading = True
        self._scheduled = False
        self._closing = False
        self._wrote_eof = False
        self._paused_writing = False
        self._high, self._low = PIPE_HIGH_WATER_BYTES, PIPE_HIGH_WATER_BYTES // 4

    # --- asyncio.Transport ----------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """There is no socket behind it, and nothing to tell."""
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what comes to another protocol."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.Protocol:
        """Who gets what comes."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether the protocol is given what comes."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Keep what comes until `resume_reading`."""
        self._reading = False

    def resume_reading(self) -> None:
        """Hand over what has come."""
        if not self._reading:
            self._reading = True
            self._schedule()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When the protocol is told to pause writing, and to go on."""
        self._high = PIPE_HIGH_WATER_BYTES if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """Bytes that the other side has not taken."""
        return 0 if self._other is None else self._other._inbox_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """The low and the high one."""
        return self._low, self._high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send it; without effect once the connection is over."""
        other = self._other
        if other is None or self._wrote_eof or self._closing or not data:
            return
        if other._closing:
            self._lose(ConnectionResetError("the other side has closed the connection"))
            return
        other._inbox.append(bytes(data))
        other._inbox_bytes += len(data)
        other._schedule()
        if other._inbox_bytes > self._high and not self._paused_writing:
            self._paused_writing = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send all of it."""
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        """Half of the connection may be closed."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more will come."""
        if self._other is not None and not self._wrote_eof:
            self._wrote_eof = True
            self._other._ended = True
            self._other._schedule()

    def close(self) -> None:
        """Close once the other side has taken what was sent."""
        if self._closing:
            return
        self._closing = True
        self.write_eof()
        self._inbox.clear()
        self._inbox_bytes = 0
        if not self.get_write_buffer_size():
            self._lose(None)

    def abort(self) -> None:
        """Close at once; the other side finds the connection reset."""
        other = self._other
        self._lose(None)
        if other is not None:
            other._lose(ConnectionResetError("the other side has reset the connection"))

    # --- delivering -----------------------------------------------------------------------

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        if not self.is_reading() or self._other is None:
            return
        if self._inbox:
            data = self._inbox[0] if len(self._inbox) == 1 else b"".join(self._inbox)
            self._inbox.clear()
            self._inbox_bytes = 0
            self._other._taken()
            self._protocol.data_received(data)
        if self._ended and not self._inbox and self.is_reading() and not self._end_told:
            self._end_told = True
            if not self._protocol.eof_received():
                self.close()

    def _taken(self) -> None:
        """The other side has nothing waiting any more."""
        if self._closing:
            self._lose(None)
        elif self._paused_writing:
            self._paused_writing = False
            self._protocol.resume_writing()

    def _lose(self, error: Exception | None) -> None:
        """The connection is over for this end; the protocol is told in a later turn."""
        if self._other is None:
            return
        self._other = None
        self._closing = True
        self._inbox.clear()
        self._inbox_bytes = 0
        self._loop.call_soon(self._protocol_lost, error)

    def _protocol_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)


def join(
    loop: asyncio.AbstractEventLoop, client: asyncio.Protocol, server: asyncio.Protocol
) -> None:
    """Connect two protocols, as if the first one had dialled the second one."""
    near, far = PipeEnd(loop, client), PipeEnd(loop, server)
    near._other, far._other = far, near
    server.connection_made(far)
    client.connection_made(near)
