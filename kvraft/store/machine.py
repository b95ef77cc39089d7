"""A program's own state beside the key space, changed by commands in the same log.

Every member of the cluster applies the same commands in the same order, so equal machines stay
equal, and what was answered is on a majority of the disks like any write to a key. A replicated
counter:

    class Counter:
        def __init__(self) -> None:
            self.total = 0

        def apply(self, command: bytes, index: int) -> int:
            self.total += int(command)
            return self.total

        def snapshot(self) -> list[bytes]:
            return [str(self.total).encode()]

        def restore(self, parts: Iterable[bytes]) -> None:
            self.total = int(b"".join(parts))

Must not know: who submits commands, or what they mean. (Ongaro and Ousterhout, "In Search of an
Understandable Consensus Algorithm", sections 5.3 and 7.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from kvraft.errors import ForeignData, StorageError


class Machine(Protocol):
    """What a program replicates. All members have to run the same code for it.

    The methods run on the event loop, one at a time: each has to be short.
    """

    def apply(self, command: bytes, index: int) -> object:
        """Carry out one command; `index` is its place in the log.

        The outcome must follow from the state and the command alone: no clock, no randomness, no
        input or output. What is returned goes to the one who submitted it. An exception goes there
        as well, and is an outcome like any other; raise it before anything was changed.
        """

    def snapshot(self) -> Iterable[bytes]:
        """The whole state as it is now, also if the parts are taken later, between other calls."""

    def restore(self, parts: Iterable[bytes]) -> None:
        """Replace the whole state by one that `snapshot` gave; the bytes may be cut elsewhere."""


class Applied(NamedTuple):
    """What became of a command: what `Machine.apply` returned, or else what it raised."""

    result: object
    error: Exception | None
    log_index: int


class MachineMissing(ForeignData):
    """The log or a snapshot holds commands, and this process has no machine to apply them."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place} belongs to a state machine that a program replicates beside the keys; only "
            "that program can go on with this data: start it from there, with its state machine"
        )


class MachineFailed(StorageError):
    """A machine could not take up the state of a snapshot: it must not go on from another one."""
