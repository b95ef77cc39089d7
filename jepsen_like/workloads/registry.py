"""All workloads by name, and what part of the operations of a stage each of them has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from jepsen_like.workloads.counter import Counter
from jepsen_like.workloads.keys import Keys
from jepsen_like.workloads.lock import Lock
from jepsen_like.workloads.membership import Membership
from jepsen_like.workloads.queue import Queue
from jepsen_like.workloads.register import Register
from jepsen_like.workloads.tree import Tree
from jepsen_like.workloads.ttl import Ttl
from jepsen_like.workloads.watch import WatchWork
from jepsen_like.workloads.workload import Context, Workload

WORKLOADS: Final[dict[str, Callable[[Context], Workload]]] = {
    "keys": Keys,
    "register": Register,
    "counter": Counter,
    "queue": Queue,
    "lock": Lock,
    "watch": WatchWork,
    "tree": Tree,
    "ttl": Ttl,
    "membership": Membership,
}
SHARES: Final = {
    "keys": 25,
    "register": 25,
    "counter": 10,
    "queue": 10,
    "lock": 8,
    "watch": 10,
    "tree": 6,
    "ttl": 5,
    "membership": 1,
}
CLIENTS: Final = {"keys": 8, "register": 5}
"""Of a workload; the others have few."""
FEW: Final = 4
EVERY: Final = tuple(WORKLOADS)
