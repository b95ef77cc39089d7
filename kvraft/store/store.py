"""The key space: a state machine that the replicated log drives.

Two stores that apply the same requests in the same order are equal, down to the bytes of their
snapshots. The operations, their errors and their counters follow the keys API, sections 4, 7, 8
and 13, and its section 15 where this server means to differ.

Must not know: clocks (the time of the log arrives in SYNC requests), HTTP, members. Invariants:
a refused operation changes nothing but a counter; the index grows by one with every successful
change and each index has its place in the history; a directory is announced to the open pictures
before it changes; the nodes with an expiration are those in `Expirations`.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Final

from kvraft.histogram import Histogram, doubling
from kvraft.limits import (
    EXPIRE_BATCH,
    GET_INLINE_NODES,
    MAX_PATH_DEPTH,
    SNAPSHOT_CHUNK_NODES,
)
from kvraft.store import event as actions
from kvraft.store.codec import Restorer, SnapshotView, State
from kvraft.store.errors import ErrorKind, StoreError
from kvraft.store.event import Event
from kvraft.store.jsontext import escape, wrap64
from kvraft.store.machine import Applied, Machine, MachineFailed, MachineMissing
from kvraft.store.node import Directory, File, Folder, Node
from kvraft.store.path import clean, depth
from kvraft.store.reclaim import Reclaimer
from kvraft.store.request import Op, Request
from kvraft.store.view import Picture, Pictures, View, file_json
from kvraft.store.watch import Hub, Watcher

__all__ = ["Restorer", "Store"]

_NS: Final = 1_000_000_000
LATENESS_BOUNDS_S: Final = doubling(0.025, 12)
_YEAR_2000_NS: Final = 946_684_800 * _NS
_AUTH_SWITCH: Final = b"/2/enabled"

RecordListener = Callable[[bytes | None], None]
"""Is told the name of a record that was written or deleted; None: any may have changed."""

_TOO_DEEP: Final = b"a key may have at most %d components" % MAX_PATH_DEPTH


class Store:
    """The tree of keys, its history, its watchers and its counters."""

    __slots__ = (
        "_above_root",
        "_expirations",
        "_handlers",
        "_history",
        "_pictures",
        "_reclaimer",
        "_record_listeners",
        "_records",
        "_root",
        "hub",
        "index",
        "lateness",
        "machine",
        "machine_parts",
        "nodes",
        "now_ns",
        "stats",
    )

    def __init__(self, state: State | None = None) -> None:
        """An empty store, or the one that a snapshot described."""
        if state is None:
            state = State()
        self.index = state.index
        self.now_ns = state.now_ns
        self.stats = state.stats
        self.nodes = state.nodes  # in the tree, or removed from it and not yet freed
        self.lateness = Histogram(LATENESS_BOUNDS_S)  # of expirations, by the time of the log
        self.hub = Hub()
        self.machine: Machine | None = None
        self.machine_parts = state.machine_parts  # until a machine has taken them over
        self._root = state.root
        self._records = state.records
        self._record_listeners: list[RecordListener] = []
        self._history = state.history
        self._expirations = state.expirations
        self._pictures = Pictures()
        self._reclaimer = Reclaimer(self._pictures, self._expirations)
        # A clean path splits into an empty name and its components, so a walk can start here.
        self._above_root = Directory(b"", 0, 0, 0, 0)
        self._above_root.children[b""] = self._root
        self._handlers: dict[int, Callable[[Request], Event | None]] = {
            Op.SET: self._set,
            Op.CREATE: self._create,
            Op.UPDATE: self._update,
            Op.COMPARE_AND_SWAP: self._compare_and_swap,
            Op.DELETE: self._delete,
            Op.COMPARE_AND_DELETE: self._compare_and_delete,
            Op.CREATE_IN_ORDER: self._create_in_order,
            Op.SYNC: self._sync,
            Op.PUT_RECORD: self._put_record,
            Op.DELETE_RECORD: self._delete_record,
            Op.CHECK: lambda _: None,
        }

    # --- what the log does --------------------------------------------------------------

    def apply(self, request: Request) -> Event | None:
        """Carry out one request; None for a SYNC or CHECK. Raises StoreError if it is refused."""
        return self._handlers[request.op](request)

    def attach(self, machine: Machine | None) -> None:
        """Carry out commands by this machine, which takes up the state that a snapshot brought.

        Raises MachineMissing or MachineFailed.
        """
        parts, self.machine_parts = self.machine_parts, None
        self.machine = machine
        if parts is None:
            return
        if machine is None:
            raise MachineMissing("the snapshot")
        try:
            machine.restore(parts)
        except Exception as error:  # the program's own code may raise anything
            raise MachineFailed(
                f"the state machine cannot restore a snapshot's {sum(map(len, parts))} bytes: "
                f"{error!r}; start the version of the program that wrote it"
            ) from error

    def command(self, command: bytes, index: int) -> Applied:
        """Have the machine carry out a command of the log. Raises MachineMissing."""
        machine = self.machine
        if machine is None:
            raise MachineMissing(f"entry {index} of the log")
        try:
            return Applied(machine.apply(command, index), None, index)
        except Exception as error:  # an outcome: the same on every member
            return Applied(None, error, index)

    def has_ttls(self) -> bool:
        """Whether any key can expire."""
        return bool(self._expirations)

    def expiry_due(self) -> bool:
        """Whether keys are due that the last SYNC left over, having expired enough of them."""
        earliest_ns = self._expirations.earliest_ns()
        return earliest_ns is not None and earliest_ns <= self.now_ns

    # --- what clients read --------------------------------------------------------------

    def get(self, path: bytes) -> Node:
        """Find the node at a path; raises StoreError. Counts nothing."""
        node: Node = self._root
        if path == b"/":
            return node
        try:
            for name in path[1:].split(b"/"):
                node = node.children[name]
        except KeyError:
            pass
        else:
            return node
        cleaned = clean(path)
        if cleaned != path:
            return self.get(cleaned)
        raise self._not_found(path)

    def get_body(self, path: bytes, recursive: bool, sorted_: bool, now_ns: int) -> bytes | View:
        """Answer a get: the JSON document, or an open view if that is a long one.

        Counts the read. A view has to be closed, unless all its chunks have been taken.
        """
        try:
            node = self.get(path)
        except StoreError:
            self.stats.gets_fail += 1
            raise
        self.stats.gets_success += 1
        if type(node) is File:
            key = escape(clean(path))
            return b'{"action":"get","node":%b}\n' % file_json(key, node, now_ns)
        assert type(node) is Directory
        view = View(self._pictures, node, clean(path), recursive, sorted_, now_ns)
        document = view.open_unless_small(GET_INLINE_NODES)
        return view if document is None else document

    def picture(self, path: bytes) -> tuple[Node, Picture]:
        """The node at a path, and a picture of what is below, to be opened or thrown away.

        For those who read without making a document; counts the read. Raises StoreError.
        """
        try:
            node = self.get(path)
        except StoreError:
            self.stats.gets_fail += 1
            raise
        self.stats.gets_success += 1
        return node, Picture(self._pictures, clean(path))

    def get_record(self, name: bytes) -> bytes | None:
        """The value of one of the server's own records."""
        return self._records.get(name)

    def records(self) -> dict[bytes, bytes]:
        """A copy of all the server's own records."""
        return dict(self._records)

    def on_record_change(self, listener: RecordListener) -> None:
        """Call `listener` after each change of a record, also in the stores that succeed this one.

        It is called while requests are applied, so all it may do is to forget what it knew.
        """
        self._record_listeners.append(listener)

    def stats_body(self) -> bytes:
        """The JSON document of the counters, without a newline."""
        return self.stats.body(self.hub.count)

    def count_auth_lookup(self) -> None:
        """Count the look at the auth switch that every valid keys request takes."""
        if _AUTH_SWITCH in self._records:
            self.stats.gets_success += 1
        else:
            self.stats.gets_fail += 1

    # --- watchers -----------------------------------------------------------------------

    def watch(self, path: bytes, recursive: bool, stream: bool, since_index: int) -> Watcher:
        """Register a watcher; 0 stands for the next index. Raises StoreError if that is past.

        Events that have happened already are in the watcher's queue at once. A one-shot watcher
        that has found its event there is closed and was never registered.
        """
        path = self._checked(path)
        watcher = Watcher(path, recursive, stream, since_index or self.index + 1, self.index)
        if 0 < since_index <= self.index:
            oldest = self._history.oldest(self.index)
            if since_index < oldest and self._history.places:
                cause = b"the requested history has been cleared [%d/%d]" % (oldest, since_index)
                raise StoreError(ErrorKind.HISTORY_CLEARED, cause, self.index)
            self._recall(watcher, since_index)
            if watcher.closed:
                return watcher
        self.hub.add(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Close a watcher whose client has gone; harmless if it is closed already.

        It may have moved to the store that has succeeded this one.
        """
        if watcher.hub is not None:
            watcher.hub.remove(watcher)

    def take_woken(self) -> list[Watcher]:
        """The watchers that got events or lost their place since the last call."""
        return self.hub.take_woken()

    def succeed(self, old: Store) -> None:
        """Take over the watchers of a store that this one replaces, after a received snapshot.

        Who listens to changes of the records is told to start over. What the watchers missed in
        between is in the history; those whose part of it is gone have lost events and are closed
        like those that read too slowly. The old store must not be used any more, but for pictures
        that are open already.
        """
        self._record_listeners = old._record_listeners
        self._records_changed(None)
        oldest = self._history.oldest(self.index)
        for watcher in old.hub.watchers():
            old.hub.remove(watcher)
            watcher.closed = False
            watcher.start_index = self.index  # what is found below does not fill its queue
            missing = max(old.index + 1, watcher.since_index)
            if missing < oldest and old.index < self.index:
                watcher.closed = watcher.overflowed = True
            else:
                self._recall(watcher, missing)
            if not watcher.closed:
                self.hub.add(watcher)
            if watcher.closed or watcher.events:
                self.hub.wake(watcher)
        # What is still being read there goes as a whole with the last reader.
        self.lateness = old.lateness
        if not old._pictures.any_open():
            self.nodes += old.count_nodes()
            self._reclaimer.add(b"", old._root)

    def _recall(self, watcher: Watcher, since_index: int) -> None:
        for event in self._history.since(since_index, self.index):
            if watcher.wants_past(event):
                watcher.events.append(event)
                if not watcher.stream:
                    watcher.closed = True
                    return

    # --- snapshots, housekeeping ---------------------------------------------------------

    def snapshot(self, *, comparable: bool = False) -> SnapshotView:
        """Open a picture of everything; to be closed, unless all its chunks have been taken.

        `comparable` leaves out the machine, whose bytes may differ between equal members.
        """
        machine = None if comparable else self.machine
        state = State()
        state.index = self.index
        state.now_ns = self.now_ns
        state.root = self._root
        return SnapshotView(
            self._pictures,
            state,
            self.stats.logged(),
            list(self._records.items()),
            list(self._history.places),
            None if machine is None else machine.snapshot(),
        )

    def digest(self) -> bytes:
        """A hash of all that a snapshot holds, but for a machine: equal for equal stores."""
        total = sha256()
        for chunk in self.snapshot(comparable=True).chunks(SNAPSHOT_CHUNK_NODES):
            total.update(chunk)
        return total.digest()

    def count_nodes(self) -> int:
        """Keys and directories, together with those removed of which not all is freed yet."""
        return self.nodes - self._reclaimer.freed

    def reclaim(self, budget: int) -> bool:
        """Free at most so many removed nodes; True if there are more that can be freed."""
        return self._reclaimer.step(budget)

    # --- set and create ------------------------------------------------------------------

    def _set(self, request: Request) -> Event:
        try:
            event = self._put(actions.SET, request.path, request)
        except StoreError:
            self.stats.sets_fail += 1
            raise
        self.stats.sets_success += 1
        return event

    def _create(self, request: Request) -> Event:
        return self._create_at(request.path, request)

    def _create_in_order(self, request: Request) -> Event:
        parent = clean(request.path)
        path = b"%b/%020d" % (b"" if parent == b"/" else parent, self.index + 1)
        return self._create_at(path, request)

    def _create_at(self, path: bytes, request: Request) -> Event:
        try:
            event = self._put(actions.CREATE, path, request)
        except StoreError as error:
            self.stats.create_fail += 1
            if error.kind is ErrorKind.NOT_A_DIRECTORY:
                self.stats.sets_fail += 1  # the original counts a create below a file twice
            raise
        self.stats.create_success += 1
        return event

    def _put(self, action: bytes, path: bytes, request: Request) -> Event:
        """Put a node where there is none, or (set) in the place of a file."""
        names = path.split(b"/")
        name = names.pop()
        missing: list[bytes] | None = None
        parent: Node = self._above_root
        try:
            for part in names:
                parent = parent.children[part]
        except KeyError:
            parent, path, name, missing = self._place(path)
        if type(parent) is not Directory or not name or len(names) > MAX_PATH_DEPTH:
            parent, path, name, missing = self._place(path)
        old = None if missing else parent.children.get(name)
        value = request.value
        refresh = False
        if old is not None:
            name = old.name  # the very object that is the key in the directory
            if action is not actions.SET:
                raise StoreError(ErrorKind.KEY_EXISTS, path, self.index)
            if type(old) is not File:
                raise StoreError(ErrorKind.NOT_A_FILE, path, self.index)
            if request.refresh:
                refresh = True
                value = old.value
        elif request.refresh and action is actions.SET:
            raise self._not_found(path)
        index = self.index + 1
        expiration_ns = 0
        if request.ttl_seconds is not None:
            expiration_ns = self._expiration_ns(request.ttl_seconds)
            if expiration_ns < _YEAR_2000_NS:
                expiration_ns = 0
        pictures = self._pictures
        if parent.epoch != pictures.epoch:
            pictures.preserve(parent, path)
        if missing:
            parent = self._make_directories(parent, missing, index)
        node: Node
        shown: File | Folder
        if request.directory:
            node = Directory(name, index, index, expiration_ns, pictures.epoch)
            shown = Folder(index, index, expiration_ns)
        else:
            node = shown = File(name, value, index, index, expiration_ns)
        parent.children[name] = node
        if expiration_ns:
            self._expirations.add(path, node)
        if old is None:
            self.nodes += 1
        elif old.expiration_ns:
            self._expirations.cancel(path, old)
        return self._happened(Event(action, path, shown, old, index, refresh, self.now_ns), None)

    def _place(self, path: bytes) -> tuple[Directory, bytes, bytes, list[bytes]]:
        """Find where a path would go, the long way: the deepest directory that exists, the clean
        path, the last name and the directories missing in between."""
        path = self._checked(path)
        if path == b"/":
            raise self._root_is_read_only()
        names = path[1:].split(b"/")
        last = names.pop()
        parent = self._root
        for position, name in enumerate(names):
            child = parent.children.get(name)
            if child is None:
                return parent, path, last, names[position:]
            if type(child) is not Directory:
                cause = b"/" + b"/".join(names[: position + 1])
                raise StoreError(ErrorKind.NOT_A_DIRECTORY, cause, self.index)
            parent = child
        return parent, path, last, []

    def _make_directories(self, parent: Directory, names: list[bytes], index: int) -> Directory:
        for name in names:
            child = Directory(name, index, index, 0, self._pictures.epoch)
            parent.children[name] = child
            parent = child
        self.nodes += len(names)
        return parent

    # --- update and compare-and-swap -----------------------------------------------------

    def _update(self, request: Request) -> Event:
        try:
            parent, path, name, node = self._find(request.path)
        except StoreError as error:
            if error.kind is ErrorKind.ROOT_READ_ONLY:
                self.stats.update_success += 1  # so the original counts it
            else:
                self.stats.update_fail += 1
            raise
        self.stats.update_success += 1
        if type(node) is File:
            return self._replace(actions.UPDATE, parent, path, name, node, request)
        assert type(node) is Directory
        if request.value and not request.refresh:
            raise StoreError(ErrorKind.NOT_A_FILE, path, self.index)
        return self._update_directory(path, node, request)

    def _update_directory(self, path: bytes, node: Directory, request: Request) -> Event:
        """Change the ttl only; the event's new index is not kept in the directory."""
        expiration_ns = 0
        if request.ttl_seconds is not None:
            expiration_ns = self._expiration_ns(request.ttl_seconds)
        index = self.index + 1
        before = Folder(node.modified, node.created, node.expiration_ns)
        if node.epoch != self._pictures.epoch:
            self._pictures.preserve(node, path)
        if node.expiration_ns:
            self._expirations.cancel(path, node)
        node.expiration_ns = expiration_ns
        if expiration_ns:
            self._expirations.add(path, node)
        after = Folder(index, node.created, expiration_ns)
        return self._happened(
            Event(actions.UPDATE, path, after, before, index, request.refresh, self.now_ns), None
        )

    def _compare_and_swap(self, request: Request) -> Event:
        stats = self.stats
        try:
            parent, path, name, node = self._find(request.path)
            if type(node) is not File:
                raise StoreError(ErrorKind.NOT_A_FILE, path, self.index)
            self._compare(node, request)
        except StoreError as error:
            if error.kind is ErrorKind.ROOT_READ_ONLY:
                stats.compare_and_swap_success += 1  # so the original counts it
            else:
                stats.compare_and_swap_fail += 1
            raise
        stats.compare_and_swap_success += 1
        return self._replace(actions.COMPARE_AND_SWAP, parent, path, name, node, request)

    def _compare(self, node: File, request: Request) -> None:
        """Check both conditions of a request; raises StoreError naming those that fail."""
        failed = []
        if request.prev_value and request.prev_value != node.value:
            failed.append(b"[%b != %b]" % (request.prev_value, node.value))
        if request.prev_index and request.prev_index != node.modified:
            failed.append(b"[%d != %d]" % (request.prev_index, node.modified))
        if failed:
            raise StoreError(ErrorKind.COMPARE_FAILED, b" ".join(failed), self.index)

    def _replace(
        self,
        action: bytes,
        parent: Directory,
        path: bytes,
        name: bytes,
        old: File,
        request: Request,
    ) -> Event:
        """Give a file a new value and ttl; it keeps its createdIndex."""
        expiration_ns = 0
        if request.ttl_seconds is not None:
            expiration_ns = self._expiration_ns(request.ttl_seconds)
        index = self.index + 1
        value = old.value if request.refresh else request.value
        if parent.epoch != self._pictures.epoch:
            self._pictures.preserve(parent, path)
        new = File(old.name, value, index, old.created, expiration_ns)
        parent.children[name] = new
        if old.expiration_ns:
            self._expirations.cancel(path, old)
        if expiration_ns:
            self._expirations.add(path, new)
        return self._happened(
            Event(action, path, new, old, index, request.refresh, self.now_ns), None
        )

    # --- delete, compare-and-delete, expire ----------------------------------------------

    def _delete(self, request: Request) -> Event:
        stats = self.stats
        try:
            parent, path, name, node = self._find(request.path)
            if type(node) is Directory and not request.recursive:
                if not request.directory:
                    raise StoreError(ErrorKind.NOT_A_FILE, path, self.index)
                if node.children:
                    raise StoreError(ErrorKind.DIRECTORY_NOT_EMPTY, path, self.index)
        except StoreError as error:
            if error.kind is ErrorKind.ROOT_READ_ONLY:
                stats.delete_success += 1  # so the original counts it
            else:
                stats.delete_fail += 1
            raise
        stats.delete_success += 1
        return self._remove(actions.DELETE, parent, path, name, node)

    def _compare_and_delete(self, request: Request) -> Event:
        stats = self.stats
        if clean(request.path) == b"/":
            stats.compare_and_delete_success += 1
            raise StoreError(ErrorKind.NOT_A_FILE, b"", self.index)
        try:
            parent, path, name, node = self._find(request.path)
        except StoreError:
            stats.compare_and_delete_fail += 1
            raise
        stats.compare_and_delete_success += 1  # refusals from here on count so, too
        if type(node) is not File:
            raise StoreError(ErrorKind.NOT_A_FILE, path, self.index)
        self._compare(node, request)
        return self._remove(actions.COMPARE_AND_DELETE, parent, path, name, node)

    def _remove(
        self, action: bytes, parent: Directory, path: bytes, name: bytes, node: Node
    ) -> Event:
        if parent.epoch != self._pictures.epoch:
            self._pictures.preserve(parent, path)
        del parent.children[name]
        self.nodes -= 1
        if node.expiration_ns:
            self._expirations.cancel(path, node)
        before: File | Folder
        if type(node) is File:
            before = node
        else:
            before = Folder(node.modified, node.created, node.expiration_ns)
        event = Event(action, path, None, before, self.index + 1, False, self.now_ns)
        self._happened(event, node)
        if type(node) is Directory and node.children:
            self._reclaimer.add(path, node)  # last: it may begin to take it apart
        return event

    def _sync(self, request: Request) -> None:
        """Let the time of the log advance, and expire what it has reached.

        The number of keys is bounded, so that no heartbeat is missed over a mass expiry. Only
        keys that do expire count: what removed directories have left over differs between members.
        """
        self.now_ns = max(self.now_ns, request.time_ns)
        left = EXPIRE_BATCH
        for path, node in self._expirations.due(self.now_ns):
            try:
                parent, _, name, found = self._find(path)
            except StoreError:
                continue
            if found is not node:
                continue
            self.stats.expire_count += 1
            self.lateness.observe((self.now_ns - node.expiration_ns) / _NS)
            self._remove(actions.EXPIRE, parent, path, name, node)
            left -= 1
            if not left:
                return

    # --- the server's own records --------------------------------------------------------

    def _put_record(self, request: Request) -> Event:
        """Write a record; "directory" says that it has to be a new one.

        A given prev_value says that it has to exist, with that value.
        """
        name = request.path
        old = self._records.get(name)
        stats = self.stats
        if request.directory:
            if old is not None:
                stats.create_fail += 1
                raise StoreError(ErrorKind.KEY_EXISTS, name, self.index)
            stats.create_success += 1
        elif request.prev_value:
            try:
                self._compare_record(name, old, request.prev_value)
            except StoreError:
                stats.update_fail += 1
                raise
            stats.update_success += 1
        else:
            stats.sets_success += 1
        index = self.index + 1
        self._records[name] = request.value
        action = actions.CREATE if request.directory else actions.SET
        file = File(name, request.value, index, index, 0)
        event = Event(action, name, file, None, index, False, self.now_ns)
        return self._recorded(event, name)

    def _delete_record(self, request: Request) -> Event:
        """Remove a record; "recursive" says: all records below this name, in one step."""
        name = request.path
        records = self._records
        if request.recursive:
            removed = [known for known in records if known.startswith(name + b"/")]
            old = b"" if removed else None
        else:
            removed = [name]
            old = records.get(name)
        try:
            self._compare_record(name, old, request.prev_value)
        except StoreError:
            self.stats.delete_fail += 1
            raise
        assert old is not None
        self.stats.delete_success += 1
        for known in removed:
            del records[known]
        index = self.index + 1
        file = File(name, old, index, index, 0)
        event = Event(actions.DELETE, name, None, file, index, False, self.now_ns)
        return self._recorded(event, None if request.recursive else name)

    def _compare_record(self, name: bytes, value: bytes | None, expected: bytes) -> None:
        """Raise StoreError unless the record exists, with the expected value if one is given."""
        if value is None:
            raise StoreError(ErrorKind.KEY_NOT_FOUND, name, self.index)
        if expected and value != expected:
            raise StoreError(ErrorKind.COMPARE_FAILED, name, self.index)

    def _recorded(self, event: Event, changed: bytes | None) -> Event:
        """A record takes an index and a place in the history, and is no one's event."""
        self.index = event.index
        self._history.append(None)
        self._records_changed(changed)
        return event

    def _records_changed(self, name: bytes | None) -> None:
        for listener in self._record_listeners:
            listener(name)

    # --- common parts --------------------------------------------------------------------

    def _happened(self, event: Event, removed: Node | None) -> Event:
        self.index = event.index
        self._history.append(event)
        if self.hub.count and not event.refresh:
            self.hub.publish(event, removed)
        return event

    def _find(self, path: bytes) -> tuple[Directory, bytes, bytes, Node]:
        """Find an existing node, its directory, its clean path and its name."""
        names = path.split(b"/")
        name = names.pop()
        parent: Node = self._above_root
        try:
            for part in names:
                parent = parent.children[part]
            node = parent.children[name]
        except KeyError:
            self._explain_absence(path)
            return self._find(clean(path))
        if type(parent) is not Directory or not name:
            raise self._root_is_read_only()
        return parent, path, name, node

    def _explain_absence(self, path: bytes) -> None:
        """Raise what is wrong with a path that was not found, unless it only was not clean."""
        cleaned = self._checked(path)
        if cleaned == b"/":
            raise self._root_is_read_only()
        if cleaned == path:
            raise self._not_found(path)

    def _checked(self, path: bytes) -> bytes:
        path = clean(path)
        if depth(path) > MAX_PATH_DEPTH:
            raise StoreError(ErrorKind.PATH_TOO_DEEP, _TOO_DEEP, self.index)
        return path

    def _not_found(self, path: bytes) -> StoreError:
        """Name the first component of a clean path that is missing or is no directory."""
        if depth(path) > MAX_PATH_DEPTH:
            return StoreError(ErrorKind.PATH_TOO_DEEP, _TOO_DEEP, self.index)
        node: Node = self._root
        end = 0
        for name in path[1:].split(b"/"):
            if type(node) is File:
                return StoreError(ErrorKind.NOT_A_DIRECTORY, path[:end], self.index)
            child = node.children.get(name)
            end += 1 + len(name)
            if child is None:
                break
            node = child
        return StoreError(ErrorKind.KEY_NOT_FOUND, path[:end], self.index)

    def _root_is_read_only(self) -> StoreError:
        return StoreError(ErrorKind.ROOT_READ_ONLY, b"/", self.index)

    def _expiration_ns(self, ttl_seconds: int) -> int:
        """When a ttl that starts now ends; 0, and so never, if it wraps to exactly that."""
        return wrap64(self.now_ns + ttl_seconds * _NS)
