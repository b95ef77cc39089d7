"""etcd v2 reborn: a replicated key-value store.

The names below are imported when they are first used, so that `import kvraft` costs nothing in
programs that need only one of them.

PYTEST_DONT_REWRITE: a program that imports this before it calls pytest gets no warning.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's own; importing that costs several times what all else does
if TYPE_CHECKING:
    from kvraft.client.client import Client as Client
    from kvraft.client.errors import AuthError as AuthError
    from kvraft.client.errors import ClientError as ClientError
    from kvraft.client.errors import CompareFailed as CompareFailed
    from kvraft.client.errors import DidNotHappen as DidNotHappen
    from kvraft.client.errors import DirectoryNotEmpty as DirectoryNotEmpty
    from kvraft.client.errors import EtcdError as EtcdError
    from kvraft.client.errors import EventIndexCleared as EventIndexCleared
    from kvraft.client.errors import InvalidRequest as InvalidRequest
    from kvraft.client.errors import KeyExists as KeyExists
    from kvraft.client.errors import KeyNotFound as KeyNotFound
    from kvraft.client.errors import LeaseLost as LeaseLost
    from kvraft.client.errors import LockLost as LockLost
    from kvraft.client.errors import LockTimeout as LockTimeout
    from kvraft.client.errors import MembershipError as MembershipError
    from kvraft.client.errors import NotADirectory as NotADirectory
    from kvraft.client.errors import NotAFile as NotAFile
    from kvraft.client.errors import OutcomeUnknown as OutcomeUnknown
    from kvraft.client.errors import ReadFailed as ReadFailed
    from kvraft.client.errors import RootReadOnly as RootReadOnly
    from kvraft.client.errors import Unauthorized as Unauthorized
    from kvraft.client.errors import ValueRequired as ValueRequired
    from kvraft.client.errors import WatcherCleared as WatcherCleared
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
_LAZY = {
    "AuthError": "kvraft.client.errors",
    "Client": "kvraft.client.client",
    "ClientError": "kvraft.client.errors",
    "Cluster": "kvraft.embedded.cluster",
    "CompareFailed": "kvraft.client.errors",
    "DidNotHappen": "kvraft.client.errors",
    "DirectoryNotEmpty": "kvraft.client.errors",
    "EtcdError": "kvraft.client.errors",
    "EventIndexCleared": "kvraft.client.errors",
    "InvalidRequest": "kvraft.client.errors",
    "KeyExists": "kvraft.client.errors",
    "KeyNode": "kvraft.client.model",
    "KeyNotFound": "kvraft.client.errors",
    "LeaseLost": "kvraft.client.errors",
    "LockLost": "kvraft.client.errors",
    "LockTimeout": "kvraft.client.errors",
    "MemberRecord": "kvraft.client.model",
    "MembershipError": "kvraft.client.errors",
    "Node": "kvraft.embedded.node",
    "NotADirectory": "kvraft.client.errors",
    "NotAFile": "kvraft.client.errors",
    "OutcomeUnknown": "kvraft.client.errors",
    "ReadFailed": "kvraft.client.errors",
    "Result": "kvraft.client.model",
    "Resync": "kvraft.client.model",
    "RootReadOnly": "kvraft.client.errors",
    "SyncClient": "kvraft.client.sync",
    "SyncCluster": "kvraft.embedded.sync",
    "SyncNode": "kvraft.embedded.sync",
    "Unauthorized": "kvraft.client.errors",
    "ValueRequired": "kvraft.client.errors",
    "WatchEvent": "kvraft.client.model",
    "WatcherCleared": "kvraft.client.errors",
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
