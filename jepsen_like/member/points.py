"""Failpoints: named moments in a member's work, and what is to happen when one is reached.

A failpoint that is not armed costs a look into an empty table. One that strikes is disarmed. What
can strike: "kill" (SIGKILL), "power" (a power cut, on a lossy disk), "sleep" (whoever
passes stands still: the event loop or a disk thread), "error" (a disk that fails, where the disk
is what is called).
"""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from kvraft.errors import DiskFailed

ACTIONS: Final = ("kill", "power", "sleep", "error")


class Order(NamedTuple):
    """What an armed failpoint does, at which passing from now."""

    do: str
    after: int = 1
    seconds: float = 0.0
    mode: str = ""
    """Of a power cut; empty: any."""


class Points:
    """The failpoints of one process."""

    def __init__(self, power_cut: Callable[[str], None] | None) -> None:
        """`power_cut` takes a mode and does not return; None where the disk loses nothing."""
        self._power_cut = power_cut
        self._armed: dict[str, Order] = {}
        self._mutex = threading.Lock()
        self._errors: dict[str, Callable[[], Exception] | None] = {}
        self.passed: dict[str, int] = {}

    def declare(self, names: Iterable[str], error: Callable[[], Exception] | None) -> None:
        """Make failpoints known; `error` makes what "error" raises there, None: nothing can."""
        for name in names:
            if name in self._errors:
                raise ValueError(f"two failpoints named {name!r}")
            self._errors[name] = error
            self.passed[name] = 0

    def names(self) -> list[str]:
        """All failpoints."""
        return sorted(self._errors)

    def arm(self, name: str, order: Order) -> None:
        """Raises ValueError for what does not exist."""
        if name not in self._errors:
            raise ValueError(f"no failpoint {name!r}; there are: {', '.join(self.names())}")
        if order.do not in ACTIONS or order.after < 1:
            raise ValueError(f"cannot do {order.do!r} at passing {order.after}")
        if order.do == "power" and self._power_cut is None:
            raise ValueError("this disk does not lose anything")
        if order.do == "error" and self._errors[name] is None:
            raise ValueError(f"no call can fail at {name!r}")
        with self._mutex:
            self._armed[name] = order

    def disarm(self) -> None:
        """Nothing is armed any more."""
        with self._mutex:
            self._armed.clear()

    def hit(self, name: str) -> None:
        """This moment has come."""
        self.passed[name] += 1
        if name not in self._armed:
            return
        with self._mutex:
            order = self._armed.get(name)
            if order is None:
                return
            if order.after > 1:
                self._armed[name] = order._replace(after=order.after - 1)
                return
            del self._armed[name]
        self._strike(name, order)

    def _strike(self, name: str, order: Order) -> None:
        if order.do == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order.do == "power":
            assert self._power_cut is not None
            self._power_cut(order.mode)
        elif order.do == "sleep":
            time.sleep(order.seconds)
        else:
            make = self._errors[name]
            assert make is not None
            raise make()


def parse_order(text: str) -> tuple[str, Order]:
    """`NAME=DO[:AFTER[:SECONDS]]` as a name and an order. Raises ValueError."""
    name, _, rest = text.partition("=")
    do, *numbers = rest.split(":")
    if not name or len(numbers) > 2:
        raise ValueError(f"not NAME=DO[:AFTER[:SECONDS]]: {text}")
    after = int(numbers[0]) if numbers else 1
    seconds = float(numbers[1]) if len(numbers) > 1 else 0.0
    return name, Order(do, after, seconds)


def device_error() -> OSError:
    """What a disk call raises on a broken device."""
    return OSError(errno.EIO, os.strerror(errno.EIO))


def storage_error() -> DiskFailed:
    """What the storage raises on a broken device."""
    return DiskFailed(f"failpoint: {os.strerror(errno.EIO)}")
