"""etcd v2 reborn: a replicated key-value store.

The names below are imported when they are first used, so that `import kvraft` costs nothing in
programs that need only one of them.

PYTEST_DONT_REWRITE: a program that imports this before it calls pytest gets no warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kvraft.client.client import Client as Client
    from kvraft.client.model import KeyNode as KeyNode
    from kvraft.client.model import MemberRecord as MemberRecord
    from kvraft.client.model import Result as Result
    from kvraft.client.model import Resync as Resync
    from kvraft.client.model import WatchEvent as WatchEvent
    from kvraft.client.sync import SyncClient as SyncClient
    from kvraft.embedded.cluster import Cluster as Cluster
    from kvraft.embedded.node import Node as Node
    from kvraft.embedded.sync import SyncCluster as SyncCluster
    from kvraft.embedded.sync import SyncNode as SyncNode

__version__ = "0.1.0"

# name -> the module that defines it
_LAZY: Final = {
    "Client": "kvraft.client.client",
    "Cluster": "kvraft.embedded.cluster",
    "KeyNode": "kvraft.client.model",
    "MemberRecord": "kvraft.client.model",
    "Node": "kvraft.embedded.node",
    "Result": "kvraft.client.model",
    "Resync": "kvraft.client.model",
    "SyncClient": "kvraft.client.sync",
    "SyncCluster": "kvraft.embedded.sync",
    "SyncNode": "kvraft.embedded.sync",
    "WatchEvent": "kvraft.client.model",
}

__all__ = [  # noqa: PLE0604
    "__version__",
    *_LAZY,
]


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
