"""A kind of work for recording clients, with its own idea of what must hold in the end.

All workloads of a stage run side by side, each below a directory of its own, in one history. The
checkers of the whole history (one order, real time, watches) know nothing of them; `check` is
what only the workload itself can say: no increment lost, no two holders of one fencing token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import asyncio
    import random
    from collections.abc import Callable

    from jepsen_like.procs.clients import Recorder
    from jepsen_like.procs.fleet import Fleet


class Context(NamedTuple):
    """What a workload is given."""

    fleet: Fleet
    recorder: Recorder
    rng: random.Random
    root: bytes
    """The directory it may use, `/c/register` say."""
    may_go_on: Callable[[], bool]
    """False while the watchers have fallen too far behind to vouch for what happens."""
    rate_per_s: float = 50.0
    """Operations per second of this workload, all its clients together."""
    clients: int = 4
    timeout_s: float = 0.2
    """Of one operation; then its outcome is unknown."""
    clock_error_s: float = 0.5
    """How much earlier than asked for a key may expire, because clocks differ."""
    resuming_streams: bool = True
    """Whether streams may begin in the past, and end when they are slow; a real etcd's may not."""
    late_s: float = 3.0
    """After all faults: how much later than asked for a key may expire."""


class Finding(NamedTuple):
    """What a workload found out in the end."""

    verdict: str
    """`passed`, `failed` or `unknown`, which is not a pass."""
    text: str
    """In a sentence with its figures."""


class Workload(Protocol):
    """One kind of work."""

    @property
    def name(self) -> str: ...

    async def run(self, stopped: asyncio.Event) -> None:
        """Work until `stopped` is set; errors of servers are recorded, not raised."""

    async def finish(self) -> None:
        """After all faults have ended: the last reads, through a quorum."""

    def check(self) -> Finding:
        """The verdict on what it recorded."""
