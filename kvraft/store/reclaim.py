"""Taking removed directories apart, a few nodes at a time.

A recursive delete only unhooks the directory. Freeing a million nodes takes a large part of a
second, so that is done here, in as many steps as the caller likes; the expirations of the
removed keys are cancelled on the way.

Must not know: requests, the log. Invariants: only nodes that no request can reach any more
come here; a directory that an open picture may show is left alone. Nothing a client or
another member can see depends on how far this has got.
"""

from __future__ import annotations

from collections import deque

from kvraft.limits import RECLAIM_BACKLOG
from kvraft.store.node import Directory
from kvraft.store.ttl import Expirations
from kvraft.store.view import Pictures

__all__ = ["Reclaimer"]


class Reclaimer:
    """The queue of removed directories."""

    __slots__ = ("_expirations", "_pictures", "_removed", "_stack", "freed")

    def __init__(self, pictures: Pictures, expirations: Expirations) -> None:
        self.freed = 0  # nodes so far, those directly removed excepted
        self._pictures = pictures
        self._expirations = expirations
        self._removed: deque[tuple[int, bytes, Directory]] = deque()
        self._stack: list[tuple[bytes, Directory]] = []  # of the one being taken apart

    def add(self, path: bytes, directory: Directory) -> None:
        """Take over a directory that has just left the tree."""
        self._removed.append((self._pictures.epoch, path, directory))
        if len(self._removed) > RECLAIM_BACKLOG:
            self.step(RECLAIM_BACKLOG)

    def step(self, budget: int) -> bool:
        """Free at most so many nodes; True if more could be freed at once."""
        budget = self._free_lists(budget)
        while budget > 0 and (self._stack or self._next_directory()):
            path, directory = self._stack[-1]
            children = directory.children
            while budget > 0 and children:
                name, node = children.popitem()
                budget -= 1
                self.freed += 1
                below = path + b"/" + name
                if node.expiration_ns:
                    self._expirations.cancel(below, node)
                if type(node) is Directory:
                    self._stack.append((below, node))
                    break
            else:
                if not children:
                    self._stack.pop()
                    budget -= 1  # an empty directory is work, too
        return bool(self._stack or self._pictures.garbage or self._is_next_free())

    def _is_next_free(self) -> bool:
        """Whether the first removed directory can no longer be seen in any picture."""
        return bool(self._removed) and self._removed[0][0] < self._pictures.oldest_epoch()

    def _next_directory(self) -> bool:
        if not self._is_next_free():
            return False
        _, path, directory = self._removed.popleft()
        self._stack.append((path, directory))
        return True

    def _free_lists(self, budget: int) -> int:
        garbage = self._pictures.garbage
        while garbage and budget > 0:
            last = garbage[-1]
            freed = min(budget, len(last))
            del last[len(last) - freed :]
            budget -= max(freed, 1)
            if not last:
                garbage.pop()
        return budget
