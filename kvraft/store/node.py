"""The two kinds of node of the key space.

A File is never changed: every write puts a new one in its place. So an event, a listing in
progress and the state can share one object. A Directory is changed in place, but only after those
who still read an older picture of it have saved what they need (see view.py).

Both know their last name, which they share with the key of the dict that holds them: a picture of a
directory is one list of nodes. Neither knows its path or its parent; whoever walks to a node knows
both. A million keys must fit into a few hundred megabytes, and a delete of a directory must not
have to visit what is in it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar, TypeAlias, cast, final

__all__ = ["Directory", "File", "Folder", "Node", "ShownNode"]


@final
class File:
    """A value with its indices; never changed once it exists."""

    __slots__ = ("created", "expiration_ns", "modified", "name", "value")

    # Lets a walk try to descend without asking what kind of node it has met.
    children: ClassVar[dict[bytes, Node]] = cast("dict[bytes, Node]", MappingProxyType({}))

    def __init__(
        self, name: bytes, value: bytes, modified: int, created: int, expiration_ns: int
    ) -> None:
        self.name = name
        self.value = value
        self.modified = modified
        self.created = created
        self.expiration_ns = expiration_ns  # 0: permanent


@final
class Directory:
    """Names and the nodes under them, in the order in which they were added."""

    __slots__ = ("children", "created", "epoch", "expiration_ns", "modified", "name")

    def __init__(
        self, name: bytes, modified: int, created: int, expiration_ns: int, epoch: int
    ) -> None:
        self.name = name
        self.children: dict[bytes, Node] = {}
        self.modified = modified
        self.created = created
        self.expiration_ns = expiration_ns
        self.epoch = epoch  # of the last view that need not be told of a change here


@final
class Folder:
    """What an event shows of a directory: all but its children, at one moment."""

    __slots__ = ("created", "expiration_ns", "modified")

    def __init__(self, modified: int, created: int, expiration_ns: int) -> None:
        self.modified = modified
        self.created = created
        self.expiration_ns = expiration_ns


Node: TypeAlias = File | Directory
ShownNode: TypeAlias = File | Folder
