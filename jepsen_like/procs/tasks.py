"""How tasks that run beside others come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


async def end_tasks(tasks: Sequence[asyncio.Task[None]]) -> list[Exception]:
    """Cancel tasks, and wait until all have ended; returns the errors of those that had failed."""
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    return [outcome for outcome in outcomes if isinstance(outcome, Exception)]
