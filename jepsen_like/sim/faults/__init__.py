"""All that can be done to a simulated cluster: how it is drawn, and how it is carried out.

Each module has two tables. `DRAWS`: by the name of a fault, as in `Shape.faults`, a function that
chooses all details and hands the action with its end to the `Dice`. `ACTS`: by the name of an
action, a function that carries it out; its keyword arguments are the action's details.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.sim.faults import clocks, disks, logs, network, processes

if TYPE_CHECKING:
    from jepsen_like.sim.faults.dice import Dice

DRAWS: dict[str, Callable[[Dice], None]] = {
    **processes.DRAWS,
    **network.DRAWS,
    **disks.DRAWS,
    **clocks.DRAWS,
    **logs.DRAWS,
}
ACTS: dict[str, Callable[..., None]] = {
    **processes.ACTS,
    **network.ACTS,
    **disks.ACTS,
    **clocks.ACTS,
    **logs.ACTS,
}
