"""Frozen pictures of the tree, read in slices while the store goes on changing.

Opening a picture copies nothing. The first change of a directory after that saves the list of
its nodes for every picture that shows it; nodes themselves never change (a Directory only through
the same gate), so that list is the whole truth of that moment. Reading takes the live children of
a directory as long as nothing was saved for it, and goes on at the same place in the saved list
afterwards.

Must not know: requests, events, snapshots' format. Invariants: a directory of which an open
picture has not been told is not changed (`Pictures.preserve` before every change); directories
that a picture may show are not taken apart before it is closed; no call visits more nodes than it
was asked to, and none descends by recursion.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from kvraft.limits import SORT_RUN_NODES, VIEW_CHUNK_BYTES
from kvraft.store.event import lifetime_json
from kvraft.store.jsontext import escape
from kvraft.store.node import Directory, File, Node
from kvraft.store.path import is_below

__all__ = ["Picture", "Pictures", "View"]

_BATCH_NODES = 256  # taken from a directory at once; only bounds what is held, not what is read


class Saved:
    """A directory as it was before its first change under a picture."""

    __slots__ = ("expiration_ns", "nodes", "users")

    def __init__(self, directory: Directory) -> None:
        self.nodes = list(directory.children.values())
        self.expiration_ns = directory.expiration_ns
        self.users = 0  # pictures that share it


class Pictures:
    """The open pictures of one store."""

    __slots__ = ("_open", "epoch", "garbage")

    def __init__(self) -> None:
        self.epoch = 0  # of the latest picture; directories made later carry it
        self.garbage: list[list[Any]] = []  # lists too long to be freed at once
        self._open: dict[Picture, None] = {}

    def add(self, picture: Picture) -> None:
        """Open a picture: from here on it does not change."""
        self.epoch += 1
        picture.epoch = self.epoch
        self._open[picture] = None

    def remove(self, picture: Picture) -> None:
        """Close a picture; harmless if it is not open."""
        if picture in self._open:
            del self._open[picture]
            self.garbage.extend(picture.leftovers())

    def any_open(self) -> bool:
        """Whether somebody is reading."""
        return bool(self._open)

    def oldest_epoch(self) -> int:
        """The epoch of the oldest open picture; beyond the latest if there is none."""
        for picture in self._open:
            return picture.epoch
        return self.epoch + 1

    def preserve(self, directory: Directory, path: bytes) -> None:
        """Save what pictures need before a change at `path`: the directory or its child."""
        saved: Saved | None = None
        for picture in self._open:
            if picture.epoch > directory.epoch and picture.shows(path):
                if saved is None:
                    saved = Saved(directory)
                picture.saved[directory] = saved
                saved.users += 1
        directory.epoch = self.epoch


class Picture:
    """One picture of the tree, or of a part of it."""

    def __init__(self, pictures: Pictures, path: bytes) -> None:
        self.epoch = 0
        self.path = path
        self.saved: dict[Directory, Saved] = {}
        self._pictures = pictures
        self._runs: list[list[Node]] = []  # what was sorted and not read

    def shows(self, path: bytes) -> bool:
        """Whether a change at this path can be seen in the picture."""
        return path == self.path or is_below(path, self.path)

    def expiration_ns(self, directory: Directory) -> int:
        """The expiration of a directory in the picture."""
        saved = self.saved.get(directory)
        return directory.expiration_ns if saved is None else saved.expiration_ns

    def entries(self, directory: Directory) -> Iterator[Node]:
        """The children of a directory in the picture, in the order of their insertion."""
        live = iter(directory.children.values())
        position = 0
        while True:
            saved = self.saved.get(directory)
            if saved is None:
                batch = list(islice(live, _BATCH_NODES))
            else:
                batch = saved.nodes[position : position + _BATCH_NODES]
            if not batch:
                return
            position += len(batch)
            yield from batch

    def sorted_entries(self, directory: Directory) -> Iterator[Node | None]:
        """As `entries`, in the order of their names, with None where it is time to pause."""
        source = self.entries(directory)
        run = sorted(islice(source, SORT_RUN_NODES), key=_NAME)
        if len(run) < SORT_RUN_NODES:
            yield from run
            return
        runs = []
        while run:
            run.reverse()
            runs.append(run)
            self._runs.append(run)
            yield None
            run = sorted(islice(source, SORT_RUN_NODES), key=_NAME)
        yield from merge(*(_taken_from_end(run) for run in runs), key=_NAME)

    def leftovers(self) -> Iterator[list[Any]]:
        """The long lists that this picture held, to be freed piece by piece."""
        for saved in self.saved.values():
            saved.users -= 1
            if not saved.users:
                yield saved.nodes
        self.saved = {}
        yield from self._runs
        self._runs = []

    def open(self) -> None:
        """From here on it shows what is there now; to be closed."""
        self._pictures.add(self)

    def close(self) -> None:
        """Let go of the picture; it cannot be read any more."""
        self._pictures.remove(self)


class _Level:
    """A directory that is being written: what is left of it, and its closing text."""

    __slots__ = ("entries", "opened", "prefix", "tail")

    def __init__(self, prefix: bytes, entries: Iterator[Node | None], tail: bytes) -> None:
        self.prefix = prefix
        self.entries = entries
        self.tail = tail
        self.opened = False


class View(Picture):
    """The answer to a get of a directory, as a JSON document in pieces."""

    def __init__(
        self,
        pictures: Pictures,
        directory: Directory,
        path: bytes,
        recursive: bool,
        sorted_: bool,
        now_ns: int,
    ) -> None:
        super().__init__(pictures, path)
        self._recursive = recursive
        self._sorted = sorted_
        self._now_ns = now_ns
        self._budget = 0
        self._first: bytes | None = None
        self._pieces = self._document(directory)

    def open_unless_small(self, max_nodes: int) -> bytes | None:
        """Give the whole document if it has at most so many nodes; else open the picture.

        Nothing can change during this call, so that the picture need not be known to anyone
        before the document has turned out to be a long one.
        """
        self._budget = max_nodes
        self._first = next(self._pieces)
        if self._first.endswith(b"\n"):  # the only bare newline of a document is its last byte
            return self._first
        self.open()
        return None

    def json_chunks(self, max_nodes: int) -> Iterator[bytes]:
        """The document in slices of at most so many nodes; closes the view at its end.

        A slice may be empty: sorting a long directory takes several of them before there is
        anything to say.
        """
        self._budget = max_nodes
        try:
            if self._first is not None:
                yield self._first
                self._first = None
            yield from self._pieces
        finally:
            self.close()

    def _document(self, root: Directory) -> Iterator[bytes]:
        """Write the tree depth first; a piece ends when its budget is spent."""
        pieces = [b'{"action":"get","node":']
        stack = [self._begin(pieces, b"" if self.path == b"/" else escape(self.path), root)]
        nodes = size = 0
        while stack:
            level = stack[-1]
            node = next(level.entries, _END)
            if node is _END:
                pieces.append(b"]" + level.tail if level.opened else level.tail)
                stack.pop()
                continue
            if node is None or nodes >= self._budget or size >= VIEW_CHUNK_BYTES:
                yield b"".join(pieces)
                pieces = []
                nodes = size = 0
                if node is None:
                    continue
            name = node.name
            nodes += 1
            if name[0] == _UNDERSCORE:
                continue
            if level.opened:
                pieces.append(b",")
            else:
                pieces.append(b',"nodes":[')
                level.opened = True
            key = level.prefix + escape(name)
            if type(node) is File:
                piece = file_json(key, node, self._now_ns)
                pieces.append(piece)
                size += len(piece)
            else:
                assert type(node) is Directory
                child = self._begin(pieces, key, node)
                size += len(key)
                if self._recursive:
                    stack.append(child)
                else:
                    pieces.append(child.tail)
        pieces.append(b"}\n")
        yield b"".join(pieces)

    def _begin(self, pieces: list[bytes], key: bytes, directory: Directory) -> _Level:
        expiration_ns = self.expiration_ns(directory)
        lifetime = lifetime_json(expiration_ns, self._now_ns) if expiration_ns else b""
        if key:
            pieces.append(b'{"key":"%b","dir":true%b' % (key, lifetime))
            indices = (directory.modified, directory.created)
            tail = b',"modifiedIndex":%d,"createdIndex":%d}' % indices
        else:
            pieces.append(b'{"dir":true')
            tail = b"}"
        entries: Iterator[Node | None]
        entries = self.sorted_entries(directory) if self._sorted else self.entries(directory)
        return _Level(key + b"/", entries, tail)


_NAME = attrgetter("name")
_END: Node = Directory(b"", 0, 0, 0, 0)
_UNDERSCORE = ord("_")


def _taken_from_end(run: list[Node]) -> Iterator[Node]:
    """Consume a list, so that it is freed little by little."""
    while run:
        yield run.pop()


def file_json(key: bytes, file: File, now_ns: int) -> bytes:
    """The JSON object of a file whose key is already escaped."""
    expiration_ns = file.expiration_ns
    if expiration_ns:
        return b'{"key":"%b","value":"%b"%b,"modifiedIndex":%d,"createdIndex":%d}' % (
            key,
            escape(file.value),
            lifetime_json(expiration_ns, now_ns),
            file.modified,
            file.created,
        )
    return b'{"key":"%b","value":"%b","modifiedIndex":%d,"createdIndex":%d}' % (
        key,
        escape(file.value),
        file.modified,
        file.created,
    )
