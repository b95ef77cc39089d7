"""The key space as a sequence of chunks, and back.

    header   [0, format, index, time of the log, counters]
    records  [1, [[name, value], ...]]
    history  [2, [nil or [action, path, time, refresh, node, previous node], ...]]
    nodes    [3, [row, ...]]     depth first, children in the order of their insertion
    machine  [5, bytes]          of a program's own machine; at least one if there is one
    end      [4, number of node rows]

    row      [name, value, modified, created, expiration]    a file
             [name, modified, created, expiration]           a directory begins
             nil                                             the innermost directory ends

Each chunk is one msgpack document. The bytes follow from the applied log alone: equal stores give
equal chunks, whether they were ever restored or not, and whatever was written meanwhile. The
machine's part is excepted: it is as the program writes it, and left out of comparisons.

Must not know: files, checksums, peers. Invariants: making or reading a chunk visits a bounded
number of nodes; a chunk that is damaged or out of place raises CorruptSnapshot and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from msgpack import packb, unpackb

from kvraft.limits import (
    HISTORY_EVENTS,
    MAX_PATH_DEPTH,
    SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_CHUNK_NODES,
)
from kvraft.store import event as actions
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.event import Event
from kvraft.store.history import History
from kvraft.store.node import Directory, File, Folder, Node, ShownNode
from kvraft.store.stats import LOGGED_COUNTERS, Stats
from kvraft.store.ttl import Expirations
from kvraft.store.view import Picture, Pictures

if TYPE_CHECKING:
    from kvraft.store.store import Store

__all__ = ["MACHINE", "NODES", "Restorer", "SnapshotView", "State", "with_records"]

_FORMAT: Final = 1
_HEADER, RECORDS, _HISTORY, NODES, _FINAL, MACHINE = range(6)
_PLACES: Final = (0, 1, 2, 3, 5, 4)  # of each kind: the machine comes before the end
_ACTIONS: Final = (
    actions.SET,
    actions.CREATE,
    actions.UPDATE,
    actions.COMPARE_AND_SWAP,
    actions.DELETE,
    actions.COMPARE_AND_DELETE,
    actions.EXPIRE,
)
_ACTION_NUMBERS: Final = {action: number for number, action in enumerate(_ACTIONS)}
_ROW_BYTES: Final = 32  # about what a row takes beside its name and value


class State:
    """What a store consists of, apart from its readers."""

    __slots__ = (
        "expirations",
        "history",
        "index",
        "machine_parts",
        "nodes",
        "now_ns",
        "records",
        "root",
        "stats",
    )

    def __init__(self) -> None:
        self.index = 0
        self.now_ns = 0
        self.nodes = 0  # below the root
        self.root = Directory(b"", 0, 0, 0, 0)
        self.records: dict[bytes, bytes] = {}
        self.history = History()
        self.expirations = Expirations()
        self.stats = Stats()
        self.machine_parts: list[bytes] | None = None  # None: no machine took part


class SnapshotView(Picture):
    """A frozen picture of a whole store."""

    def __init__(
        self,
        pictures: Pictures,
        state: State,
        counters: list[int],
        records: list[tuple[bytes, bytes]],
        history: list[Event | None],
        machine_parts: Iterable[bytes] | None,
    ) -> None:
        super().__init__(pictures, b"/")
        self.index = state.index
        self._header = [_HEADER, _FORMAT, state.index, state.now_ns, counters]
        self._root = state.root
        self._records = records
        self._history = history
        self._machine_parts = machine_parts
        pictures.add(self)

    def chunks(self, max_nodes: int) -> Iterator[bytes]:
        """The snapshot in chunks of at most so many nodes; closes the view at its end."""
        try:
            yield _pack(self._header)
            records: Iterator[tuple[int, Any]] = (
                (len(name) + len(value), (name, value)) for name, value in self._records
            )
            for rows in _grouped(records, max_nodes):
                yield _pack([RECORDS, rows])
            for rows in _grouped(map(_event_row, self._history), max_nodes):
                yield _pack([_HISTORY, rows])
            count = 0
            for rows in _grouped(self._node_rows(), max_nodes):
                count += len(rows)
                yield _pack([NODES, rows])
            for part in _machine_parts(self._machine_parts):
                yield _pack([MACHINE, part])
            yield _pack([_FINAL, count])
        finally:
            self.close()

    def _node_rows(self) -> Iterator[tuple[int, Any]]:
        """All nodes with about the size of each, the root excepted: it has nothing to tell."""
        stack = [self.entries(self._root)]
        while stack:
            for node in stack[-1]:
                name = node.name
                if type(node) is File:
                    value = node.value
                    row = (name, value, node.modified, node.created, node.expiration_ns)
                    yield len(name) + len(value), row
                else:
                    assert type(node) is Directory
                    expiration_ns = self.expiration_ns(node)
                    yield len(name), (name, node.modified, node.created, expiration_ns)
                    stack.append(self.entries(node))
                    break
            else:
                stack.pop()
                if stack:
                    yield 0, None


def with_records(
    chunks: Iterable[bytes], edit: Callable[[dict[bytes, bytes]], dict[bytes, bytes]]
) -> Iterator[bytes]:
    """The same snapshot with other records of the server; no index moves. The chunks have to be
    proved already; raises CorruptSnapshot for what is no chunk."""
    records: dict[bytes, bytes] = {}
    edited = False
    for chunk in chunks:
        try:
            kind, *parts = unpackb(chunk)
            if kind == RECORDS:
                records.update(parts[0])
        except Exception as error:  # as in Restorer.feed
            raise CorruptSnapshot(f"a chunk that is no chunk: {error!r}") from error
        if kind == RECORDS:
            continue
        if kind > RECORDS and not edited:
            edited = True
            rows = (
                (len(name) + len(value), (name, value)) for name, value in edit(records).items()
            )
            for group in _grouped(rows, SNAPSHOT_CHUNK_NODES):
                yield _pack([RECORDS, group])
        yield chunk


def _pack(document: list[Any]) -> bytes:
    packed: bytes = packb(document)
    return packed


def _machine_parts(parts: Iterable[bytes] | None) -> Iterator[bytes]:
    """The state of a machine in parts that fit into chunks, one at least."""
    if parts is None:
        return
    empty = True
    for part in parts:
        for start in range(0, len(part), SNAPSHOT_CHUNK_BYTES):
            empty = False
            yield part[start : start + SNAPSHOT_CHUNK_BYTES]
    if empty:
        yield b""


def _grouped(rows: Iterator[tuple[int, Any]], max_rows: int) -> Iterator[list[Any]]:
    """Collect rows, given with their sizes, until there are enough of them or of bytes."""
    group: list[Any] = []
    size = 0
    for row_size, row in rows:
        group.append(row)
        size += row_size + _ROW_BYTES
        if len(group) >= max_rows or size >= SNAPSHOT_CHUNK_BYTES:
            yield group
            group = []
            size = 0
    if group:
        yield group


def _event_row(event: Event | None) -> tuple[int, Any]:
    if event is None:
        return 0, None
    size = len(event.path)
    for node in (event.node, event.prev):
        if type(node) is File:
            size += len(node.value)
    return size, (
        _ACTION_NUMBERS[event.action],
        event.path,
        event.time_ns,
        event.refresh,
        _shown_row(event.node),
        _shown_row(event.prev),
    )


def _shown_row(node: ShownNode | None) -> Any:
    if node is None:
        return None
    if type(node) is File:
        return (node.value, node.modified, node.created, node.expiration_ns)
    return (node.modified, node.created, node.expiration_ns)


class Restorer:
    """Builds a store from the chunks of a snapshot, one short call per chunk."""

    __slots__ = ("_count", "_events", "_path", "_stack", "_stage", "_state")

    def __init__(self) -> None:
        self._state = State()
        self._stage = -1  # the kind of the last chunk
        self._count = 0  # node rows so far
        self._events: list[Any] = []
        self._stack = [self._state.root]
        self._path = [b""]

    def feed(self, chunk: bytes) -> None:
        """Take the next chunk; raises CorruptSnapshot."""
        try:
            kind, *parts = unpackb(chunk)
            place = _PLACES[kind]
            before = -1 if self._stage < 0 else _PLACES[self._stage]
            if self._stage == _FINAL or place < before or (kind > 0) == (self._stage < 0):
                raise CorruptSnapshot(f"a chunk of kind {kind!r} after one of {self._stage}")
            self._stage = kind
            (
                self._header,
                self._take_records,
                self._events.extend,
                self._nodes,
                self._end,
                self._machine,
            )[kind](*parts)
        except CorruptSnapshot:
            raise
        except Exception as error:  # bytes from outside: what breaks inside shows it in any way
            raise CorruptSnapshot(f"a chunk that is no chunk: {error!r}") from error

    def finish(self) -> Store:
        """Give the store; raises CorruptSnapshot if the end is missing."""
        if self._stage != _FINAL:
            raise CorruptSnapshot("the snapshot ends before its last chunk")
        from kvraft.store.store import Store  # a store makes snapshots, a snapshot makes a store

        return Store(self._state)

    def _header(self, version: Any, index: Any, now_ns: Any, counters: Any) -> None:
        if version != _FORMAT:
            raise CorruptSnapshot(f"snapshot format {version!r}; this version reads {_FORMAT}")
        _check(isinstance(counters, list) and len(counters) == len(LOGGED_COUNTERS))
        state = self._state
        state.index = _natural(index)
        state.now_ns = _natural(now_ns)
        state.stats.restore_logged([_natural(counter) for counter in counters])

    def _take_records(self, rows: Any) -> None:
        for name, value in rows:
            _check(name not in self._state.records)
            self._state.records[_bytes(name)] = _bytes(value)

    def _nodes(self, rows: Any) -> None:
        self._count += len(rows)
        stack = self._stack
        children = stack[-1].children
        expirations = self._state.expirations
        for row in rows:
            if row is None:
                stack.pop()
                self._path.pop()
                children = stack[-1].children
                continue
            name = _bytes(row[0])
            _check(name not in children and bool(name) and b"/" not in name)
            node: Node
            if len(row) == 5:
                _, value, modified, created, expiration_ns = row
                node = File(
                    name, _bytes(value), _natural(modified), _natural(created), expiration_ns
                )
            else:
                _, modified, created, expiration_ns = row
                node = Directory(name, _natural(modified), _natural(created), expiration_ns, 0)
            children[name] = node
            self._state.nodes += 1
            _check(type(expiration_ns) is int and len(stack) <= MAX_PATH_DEPTH)
            if expiration_ns:
                expirations.add(b"/".join(self._path) + b"/" + name, node)
            if type(node) is Directory:
                stack.append(node)
                self._path.append(name)
                children = node.children

    def _machine(self, part: Any) -> None:
        parts = self._state.machine_parts
        if parts is None:
            parts = self._state.machine_parts = []
        parts.append(_bytes(part))

    def _end(self, count: Any) -> None:
        # Directories that were begun and not ended would show here as missing rows.
        _check(count == self._count and len(self._stack) == 1)
        state = self._state
        _check(len(self._events) <= min(HISTORY_EVENTS, state.index))
        first = state.index - len(self._events) + 1
        for index, row in enumerate(self._events, first):
            state.history.append(None if row is None else _event(index, *row))


def _event(
    index: int, action: Any, path: Any, time_ns: Any, refresh: Any, node: Any, prev: Any
) -> Event:
    _check(type(refresh) is bool and not (node is None and prev is None))
    return Event(
        _ACTIONS[_natural(action)],
        _bytes(path),
        _shown(node),
        _shown(prev),
        index,
        refresh,
        _natural(time_ns),
    )


def _shown(row: Any) -> ShownNode | None:
    if row is None:
        return None
    *value, modified, created, expiration_ns = row
    _check(type(expiration_ns) is int and len(value) <= 1)
    if value:
        return File(b"", _bytes(value[0]), _natural(modified), _natural(created), expiration_ns)
    return Folder(_natural(modified), _natural(created), expiration_ns)


def _check(whole: bool) -> None:
    if not whole:
        raise CorruptSnapshot("a snapshot whose parts do not fit together")


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise CorruptSnapshot(f"{type(value).__name__} where bytes belong")
    return value


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise CorruptSnapshot(f"{value!r} where an index or a time belongs")
    return value
