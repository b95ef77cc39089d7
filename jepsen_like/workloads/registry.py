"""All workloads by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jepsen_like.workloads.keys import Keys
from jepsen_like.workloads.workload import Context, Workload

WORKLOADS: Final[dict[str, Callable[[Context], Workload]]] = {
    "keys": Keys,
}
