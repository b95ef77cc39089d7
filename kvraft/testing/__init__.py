"""Clusters for test suites, and the pytest plugin that hands them out.

`Cluster` and `Server` run in a background thread and are used by blocking calls; `AsyncCluster`
runs in the caller's event loop. Importing this package imports nothing else: pytest does so in
every run (see `plugin.py`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kvraft.testing.cluster import Cluster, Server
    from kvraft.testing.control import AsyncCluster, ControlError, MemberStatus, NoLeader

__all__ = ["AsyncCluster", "Cluster", "ControlError", "MemberStatus", "NoLeader", "Server"]

_PLACES: Final = {
    "AsyncCluster": "kvraft.testing.control",
    "Cluster": "kvraft.testing.cluster",
    "ControlError": "kvraft.testing.control",
    "MemberStatus": "kvraft.testing.control",
    "NoLeader": "kvraft.testing.control",
    "Server": "kvraft.testing.cluster",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(place), name)
