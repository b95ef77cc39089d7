"""Simulated clusters in which mistakes show soon.

The core's own invariants are switched off in them: what catches a mutant is what clients and disks
could see.
"""

from __future__ import annotations

from typing import Final

from jepsen_like.sim.shape import Shape

RESTARTS: Final = ("kill", "kill leader", "power", "power everywhere", "kill at a step")
CUTS: Final = ("partition", "isolate leader", "one way", "pause", "loss")
ROUGH: Final = Shape(
    faults=RESTARTS + CUTS, fault_every_ms=400, safety_ms=8_000, think_ms=30, snapshot_count=50,
    check_core=False,
)  # fmt: skip
CHANGING: Final = ROUGH._replace(change_every_ms=150, snapshot_count=100)
