"""All faults that real members can be struck with, in the order of the fault matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jepsen_like.faults import (
    absence,
    blocking,
    clockfaults,
    damage,
    disk,
    failpoints,
    membership,
    partition,
    power,
    processes,
    strangers,
    wirefaults,
)
from jepsen_like.faults.fault import Arena, Fault, Setting


@dataclass(frozen=True)
class Impossible:
    """A row that nobody can test yet: it stays in every report, with the reason."""

    name: str
    row: int
    reason: str
    setting: Setting = Setting()
    smallest: int = 3

    def missing(self) -> str:
        """See `Fault.missing`."""
        return self.reason

    async def strike(self, arena: Arena) -> None:
        """Never called."""
        raise NotImplementedError

    async def heal(self, arena: Arena) -> None:
        """Never called."""
        raise NotImplementedError


UPGRADE: Final = Impossible("two versions together", 28, "no second version exists yet")

FAULTS: Final[tuple[Fault, ...]] = tuple(
    sorted(
        (
            *absence.FAULTS,
            *blocking.FAULTS,
            *clockfaults.FAULTS,
            *damage.FAULTS,
            *disk.FAULTS,
            *failpoints.FAULTS,
            *membership.FAULTS,
            *partition.FAULTS,
            *power.FAULTS,
            *processes.FAULTS,
            *strangers.FAULTS,
            *wirefaults.FAULTS,
            UPGRADE,
        ),
        key=lambda fault: fault.row,
    )
)
BY_NAME: Final[dict[str, Fault]] = {fault.name: fault for fault in FAULTS}
