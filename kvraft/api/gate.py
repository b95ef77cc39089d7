"""The wait of early requests: while a member catches up after its start, it serves nobody.

Must not know what is being held back. Invariant: each request that is held is resumed or refused,
once.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from kvraft.api.errors import RAFT_INTERNAL, ErrorCode
from kvraft.api.service import Service
from kvraft.limits import MAX_WAITING_FOR_START, START_POLL_MS, START_WAIT_S

TIMED_OUT: Final = b"etcdserver: request timed out"


class Refusable(Protocol):
    """Whoever asked, as far as a refusal goes."""

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        """Nothing was done."""


class Gate:
    """Holds operations back while the member is still catching up after its start."""

    __slots__ = ("_loop", "_service", "_timer", "_waiting")

    def __init__(self, service: Service, loop: AbstractEventLoop) -> None:
        self._service = service
        self._loop = loop
        self._waiting: deque[tuple[float, Callable[[], None], Refusable]] = deque()
        self._timer: TimerHandle | None = None

    def hold(self, resume: Callable[[], None], reply: Refusable) -> None:
        """Call `resume` as soon as the member accepts requests, or refuse in the end."""
        if len(self._waiting) >= MAX_WAITING_FOR_START:
            reply.refuse(RAFT_INTERNAL, TIMED_OUT, 0)
            return
        self._waiting.append((self._loop.time() + START_WAIT_S, resume, reply))
        self._poll_later()

    def _poll_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(START_POLL_MS / 1000, self._poll)

    def close(self) -> None:
        """The member ends: whoever waits is refused."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            self._waiting.popleft()[2].refuse(RAFT_INTERNAL, TIMED_OUT, 0)

    def _poll(self) -> None:
        self._timer = None
        waiting = self._waiting
        if self._service.accepting():
            self._waiting = deque()
            for _, resume, _ in waiting:
                resume()
            return
        now = self._loop.time()
        while waiting and waiting[0][0] <= now:
            waiting.popleft()[2].refuse(RAFT_INTERNAL, TIMED_OUT, 0)
        if waiting:
            self._poll_later()
