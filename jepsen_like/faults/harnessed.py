"""What faults on members under the harness share: their setting, and how they are healed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jepsen_like.faults import steps
from jepsen_like.faults.fault import Anywhere, Setting

if TYPE_CHECKING:
    from jepsen_like.faults.fault import Arena

HARNESSED: Final = Setting(harnessed=True, flags=("--snapshot-count=100",))


class HarnessFault(Anywhere):
    """Base of the faults that are over when nothing is armed and all disks are mended."""

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        await steps.calm(arena)
