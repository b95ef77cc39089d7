"""All workloads of a stage, side by side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from jepsen_like.procs.clients import ROOT, Recorder
from jepsen_like.procs.fleet import Fleet
from jepsen_like.workloads.registry import WORKLOADS
from jepsen_like.workloads.workload import Context, Finding


class Load:
    """See the module's description."""

    def __init__(
        self,
        fleet: Fleet,
        recorder: Recorder,
        seed: str,
        *,
        root: bytes = ROOT,
        names: Iterable[str] | None = None,
        rate_per_s: float = 300.0,
        may_go_on: Callable[[], bool],
    ) -> None:
        chosen = list(WORKLOADS if names is None else names)
        self._workloads = [
            WORKLOADS[name](
                Context(
                    fleet,
                    recorder,
                    random.Random(f"{seed}/{name}"),
                    b"%b/%b" % (root, name.encode()),
                    may_go_on,
                    rate_per_s / len(chosen),
                )
            )
            for name in chosen
        ]

    async def run(self, stopped: asyncio.Event) -> None:
        """Until `stopped` is set."""
        async with asyncio.TaskGroup() as group:
            for workload in self._workloads:
                group.create_task(workload.run(stopped))

    async def finish(self) -> None:
        """After all faults have ended."""
        for workload in self._workloads:
            await workload.finish()

    def check(self) -> dict[str, Finding]:
        """What each has found out."""
        return {workload.name: workload.check() for workload in self._workloads}
