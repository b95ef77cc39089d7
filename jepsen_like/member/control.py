"""Telling a member under the harness what to do, from outside.

Each call is one connection to its control socket, which answers also while the member's event
loop stands still. Raises ConnectionError if the member is not there, or does not know how.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any


class Control:
    """One member's control socket."""

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)

    async def arm(
        self, point: str, do: str, after: int = 1, seconds: float = 0.0, mode: str = ""
    ) -> None:
        """At the `after`-th passing of this failpoint from now: "kill", "power" (cut, of this
        mode), "sleep" (for so many seconds) or "error"."""
        await self._call("arm", point=point, do=do, after=after, seconds=seconds, mode=mode)

    async def disarm(self) -> None:
        """No failpoint strikes any more."""
        await self._call("disarm")

    async def block(self, seconds: float) -> None:
        """Let the event loop stand still for so long; returns at once."""
        await self._call("block", seconds=seconds)

    async def power_cut(self, mode: str = "nothing", seed: int = 0) -> None:
        """Cut the power: what was not synced is lost but for what `mode` lets through ("nothing",
        "everything", "some", "torn"), and the process is gone when this returns."""
        with contextlib.suppress(
            ConnectionResetError, BrokenPipeError, asyncio.IncompleteReadError
        ):
            await self._call("power_cut", mode=mode, seed=seed)

    async def disk(
        self,
        *,
        sync_delay_s: float | None = None,
        failing_syncs: int | None = None,
        full: bool | None = None,
        short_writes: bool | None = None,
    ) -> None:
        """Let the disk misbehave; what is not named stays as it is."""
        given = {
            "sync_delay_s": sync_delay_s,
            "failing_syncs": failing_syncs,
            "full": full,
            "short_writes": short_writes,
        }
        await self._call(
            "disk", **{key: value for key, value in given.items() if value is not None}
        )

    async def points(self) -> list[str]:
        """The names of all failpoints."""
        return list(await self.passed())

    async def passed(self) -> dict[str, int]:
        """How often each failpoint has been passed in this life."""
        counts: dict[str, int] = await self._call("passed")
        return counts

    async def _call(self, name: str, **arguments: Any) -> Any:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            writer.write(json.dumps({"call": name, **arguments}).encode() + b"\n")
            line = await reader.readuntil()
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        answer = json.loads(line)
        if "error" in answer:
            raise ConnectionError(f"{name}: {answer['error']}")
        return answer["result"]
