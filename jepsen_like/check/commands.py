"""A replicated machine for the tests, and what must be true of the commands given to it.

Its state depends on every command and on their order, so one that is lost, repeated or out of
place shows in every later answer.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.order import sweep

if TYPE_CHECKING:
    from jepsen_like.check.agreed import AgreedLog


class Tally:
    """Counts commands and remembers their order: a `kvraft.store.machine.Machine`."""

    def __init__(self) -> None:
        self.state: tuple[int, int] = (0, 0)  # how many, and a checksum over all of them

    def apply(self, command: bytes, index: int) -> tuple[int, int]:
        """One more; the new state is the answer."""
        count, checksum = self.state
        self.state = count + 1, zlib.crc32(command, checksum)
        return self.state

    def snapshot(self) -> list[bytes]:
        """The whole state."""
        return [b"%d %d" % self.state]

    def restore(self, parts: Iterable[bytes]) -> None:
        """Replace the whole state."""
        count, checksum = b"".join(parts).split()
        self.state = int(count), int(checksum)


def check_commands(commands: Iterable[Operation], agreed: AgreedLog) -> None:
    """Each command was carried out once if answered, not at all if it failed, in real-time order.

    An answered operation has the command's place in the log as its `index`, and the machine's
    answer as its `action`. Raises Violation.
    """
    answered = []
    for operation in commands:
        found = agreed.by_tag.get(operation.tag, [])
        if len(found) > 1 or (found and operation.outcome is Outcome.FAILED):
            raise Violation(f"carried out {len(found)} times: {operation.describe()}")
        if operation.outcome is not Outcome.OK:
            continue
        told = (operation.index, operation.action)
        if not found or told != (found[0].entry.index, repr(found[0].answer)):
            raise Violation(f"the log has {found and found[0].answer}: {operation.describe()}")
        answered.append(operation)
    _check_order(answered)


def _check_order(answered: list[Operation]) -> None:
    latest = 0
    for operation, ended in sweep(answered, lambda o: o.invoked_ns, lambda o: o.ended_ns):
        latest = max([latest, *(other.index for other in ended)])
        if operation.index <= latest:
            raise Violation(f"began after another had ended at {latest}: {operation.describe()}")
