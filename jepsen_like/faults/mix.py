"""Faults of one row that need the same of a cluster, struck in turn in one stage.

A stage costs seconds before its first strike and after its last. So kinds of one fault share one,
and a campaign of half an hour strikes every one of them on every size of cluster.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jepsen_like.faults.fault import Arena, Disk, Fault, Setting, Wires
from jepsen_like.faults.matrix import ROWS


@dataclass(frozen=True)
class Mix:
    """Several faults as one, see the module's description."""

    name: str
    row: int
    parts: tuple[Fault, ...]
    smallest: int = 1

    @property
    def setting(self) -> Setting:
        """The same for all parts."""
        return self.parts[0].setting

    def missing(self) -> str:
        """Nothing: only what can run here is mixed."""
        return ""

    async def strike(self, arena: Arena) -> None:
        """Any of them."""
        await arena.rng.choice(self.parts).strike(arena)

    async def heal(self, arena: Arena) -> None:
        """All of them."""
        for part in self.parts:
            await part.heal(arena)


def parts_of(fault: Fault) -> tuple[Fault, ...]:
    """What a fault consists of; itself if it is no mix."""
    return fault.parts if isinstance(fault, Mix) else (fault,)


def mixed(faults: Iterable[Fault], size: int) -> list[Fault]:
    """Faults that make sense in a cluster of this size, those that go together as one.

    What cannot run on this machine stays alone, so that it is reported by its own name.
    """
    groups: dict[tuple[int, Setting], list[Fault]] = defaultdict(list)
    found: list[Fault] = []
    for fault in faults:
        if fault.smallest > size:
            continue
        if fault.missing():
            found.append(fault)
        else:
            groups[fault.row, fault.setting].append(fault)
    for (row, setting), parts in groups.items():
        rivals = sum(other == row and len(groups[other, its]) > 1 for other, its in groups)
        found.append(_one(row, parts, _place(setting) if rivals > 1 else ""))
    return sorted(found, key=lambda fault: fault.row)


def _one(row: int, parts: Sequence[Fault], place: str) -> Fault:
    if len(parts) == 1:
        return parts[0]
    return Mix(ROWS[row][0] + place, row, tuple(parts))


def _place(setting: Setting) -> str:
    if setting.disk is Disk.SMALL:
        return ", small disks"
    if setting.wires is Wires.NAMESPACES:
        return ", hosts"
    if setting.wires is Wires.PROXY:
        return ", proxies"
    return ", lossy disks" if setting.harnessed else ""
