"""The load of a stage: workloads side by side in one history, at a rate that they share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

from jepsen_like.procs.clients import ROOT, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.workloads.registry import CLIENTS, EVERY, FEW, SHARES, WORKLOADS
from jepsen_like.workloads.workload import Context, Finding, Workload

RATE_PER_S: Final = 300.0


def always() -> bool:
    """For a load that nobody holds back."""
    return True


class Load:
    """Runs them, lets them look at the end, and asks each for its verdict."""

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder,
        seed: object,
        names: Sequence[str] = EVERY,
        *,
        root: bytes = ROOT,
        rate_per_s: float = RATE_PER_S,
        may_go_on: Callable[[], bool] = always,
        **settings: Any,
    ) -> None:
        """`settings` are further fields of `Context`, the same for all workloads."""
        total = sum(SHARES[name] for name in names)
        self.workloads: dict[str, Workload] = {}
        for name in names:
            context = Context(
                fleet,
                recorder,
                random.Random(f"{seed}/{name}"),
                b"%b/%b" % (root, name.encode()),
                may_go_on,
                rate_per_s=rate_per_s * SHARES[name] / total,
                clients=CLIENTS.get(name, FEW),
            )
            self.workloads[name] = WORKLOADS[name](context._replace(**settings))

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until `stopped` is set; the failure of one ends all."""
        async with asyncio.TaskGroup() as group:
            for workload in self.workloads.values():
                group.create_task(workload.run(stopped))

    async def finish(self) -> None:
        """After all faults have ended and all members are up. Raises Violation."""
        async with asyncio.TaskGroup() as group:
            for workload in self.workloads.values():
                group.create_task(workload.finish())

    def check(self) -> dict[str, Finding]:
        """Each workload's verdict on itself."""
        return {name: workload.check() for name, workload in self.workloads.items()}
