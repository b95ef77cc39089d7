"""The key space against a small model: a flat dict, searched from end to end each time.

The model is written from the API's description and shares no code with the store, but for the
form of requests. Hypothesis looks for a sequence of operations after which the two differ in an
answer, a refusal, an event, the tree or the state after a restore.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kvraft.store.errors import StoreError
from kvraft.store.request import Op, Request
from kvraft.store.store import Store
from tests.store.drive import NOW, NS, at, chunks_of, copy_of, shown

WRAP = 1 << 64
YEAR_2000 = 946_684_800 * NS


@dataclass(frozen=True)
class Entry:
    """A node of the model; value None makes it a directory."""

    value: str | None
    modified: int
    created: int
    expires: int = 0


class Refused(Exception):
    """Kind and cause."""


def above(path: str) -> list[str]:
    """The proper ancestors of a path below the root, from the top."""
    names = path.split("/")[1:-1]
    return ["/" + "/".join(names[: count + 1]) for count in range(len(names))]


class Model:
    """The description of the API, as directly as it goes."""

    def __init__(self) -> None:
        self.nodes: dict[str, Entry] = {}
        self.index = 0
        self.now = 0

    def lookup(self, path: str) -> Entry:
        for part in [*above(path), path]:
            if part not in self.nodes:
                raise Refused("KEY_NOT_FOUND", part)
            if part != path and self.nodes[part].value is not None:
                raise Refused("NOT_A_DIRECTORY", part)
        return self.nodes[path]

    def expiry(self, ttl: int | None, replacing: bool) -> int:
        if ttl is None:
            return 0
        expires = (self.now + ttl * NS) % WRAP
        if expires >= WRAP // 2:
            expires -= WRAP
        return 0 if replacing and expires < YEAR_2000 else expires

    def below(self, path: str) -> list[str]:
        return [other for other in self.nodes if other.startswith(path + "/")]

    def drop(self, path: str) -> Entry:
        for other in self.below(path):
            del self.nodes[other]
        return self.nodes.pop(path)

    def apply(self, request: Request) -> tuple[Entry | None, Entry | None]:
        """The node after and before; raises Refused."""
        path = request.path.decode()
        if request.op in (Op.SET, Op.CREATE, Op.CREATE_IN_ORDER):
            return self.put(path, request)
        if path == "/":
            if request.op == Op.COMPARE_AND_DELETE:
                raise Refused("NOT_A_FILE", "")
            raise Refused("ROOT_READ_ONLY", "/")
        old = self.lookup(path)
        if request.op == Op.DELETE:
            if old.value is None and not request.recursive:
                if not request.directory:
                    raise Refused("NOT_A_FILE", path)
                if self.below(path):
                    raise Refused("DIRECTORY_NOT_EMPTY", path)
            self.index += 1
            return None, self.drop(path)
        if request.op in (Op.COMPARE_AND_SWAP, Op.COMPARE_AND_DELETE):
            self.compare(path, old, request)
            if request.op == Op.COMPARE_AND_DELETE:
                self.index += 1
                return None, self.drop(path)
        elif old.value is None and request.value and not request.refresh:
            raise Refused("NOT_A_FILE", path)
        self.index += 1
        expires = self.expiry(request.ttl_seconds, False)
        if old.value is None:
            self.nodes[path] = replace(old, expires=expires)
            return replace(old, expires=expires, modified=self.index), old
        value = old.value if request.refresh else request.value.decode()
        self.nodes[path] = Entry(value, self.index, old.created, expires)
        return self.nodes[path], old

    def compare(self, path: str, old: Entry, request: Request) -> None:
        if old.value is None:
            raise Refused("NOT_A_FILE", path)
        failed = []
        if request.prev_value and request.prev_value.decode() != old.value:
            failed.append(f"[{request.prev_value.decode()} != {old.value}]")
        if request.prev_index and request.prev_index != old.modified:
            failed.append(f"[{request.prev_index} != {old.modified}]")
        if failed:
            raise Refused("COMPARE_FAILED", " ".join(failed))

    def put(self, path: str, request: Request) -> tuple[Entry, Entry | None]:
        if request.op == Op.CREATE_IN_ORDER:
            path = f"{path.rstrip('/')}/{self.index + 1:020}"
        if path == "/":
            raise Refused("ROOT_READ_ONLY", "/")
        refresh = request.refresh and request.op == Op.SET
        for part in above(path):
            if part in self.nodes and self.nodes[part].value is not None:
                raise Refused("NOT_A_DIRECTORY", part)
        old = self.nodes.get(path)
        if refresh:
            old = self.lookup(path)
        if old is not None and request.op != Op.SET:
            raise Refused("KEY_EXISTS", path)
        if old is not None and old.value is None:
            raise Refused("NOT_A_FILE", path)
        self.index += 1
        for part in above(path):
            self.nodes.setdefault(part, Entry(None, self.index, self.index))
        value = old.value if refresh and old is not None else request.value.decode()
        if request.directory:
            value = None
        expires = self.expiry(request.ttl_seconds, True)
        new = Entry(value, self.index, self.index, expires)
        self.nodes[path] = new
        return new, old

    def sync(self, now: int) -> list[str]:
        """The paths that expire, in order."""
        self.now = max(self.now, now)
        expired: list[str] = []
        while True:
            due = [
                (entry.expires, path)
                for path, entry in self.nodes.items()
                if entry.expires and entry.expires <= self.now
            ]
            if not due:
                return expired
            path = min(due)[1]
            self.drop(path)
            self.index += 1
            expired.append(path)

    def tree(self, path: str, now: int) -> dict[str, Any]:
        """What a recursive, sorted get shows."""
        node: dict[str, Any] = {"dir": True} if path == "/" else self.node(path, now)
        start = path.rstrip("/")
        names = {p[len(start) + 1 :] for p in self.nodes if p.startswith(start + "/")}
        visible = sorted(n for n in names if "/" not in n and not n.startswith("_"))
        if visible:
            node["nodes"] = [self.tree(f"{start}/{name}", now) for name in visible]
        return node

    def node(self, path: str, now: int, entry: Entry | None = None) -> dict[str, Any]:
        entry = entry or self.nodes[path]
        node: dict[str, Any] = {"key": path}
        if entry.value is None:
            node["dir"] = True
        else:
            node["value"] = entry.value
        if entry.expires:
            left = entry.expires - now
            ttl = -(-left // NS) if left > 0 else -min(-left // NS, 9223372036)
            node["expires"] = True
            if ttl:
                node["ttl"] = ttl
        node["modifiedIndex"] = entry.modified
        node["createdIndex"] = entry.created
        return node


def without_times(node: dict[str, Any]) -> dict[str, Any]:
    """Expirations are only known to be there; their text is tested elsewhere."""
    node = {("expires" if k == "expiration" else k): v for k, v in node.items()}
    if "expires" in node:
        node["expires"] = True
    if "nodes" in node:
        node["nodes"] = [without_times(child) for child in node["nodes"]]
    return node


PATHS = st.lists(st.sampled_from(["a", "b", "_h", "c"]), min_size=0, max_size=4).map(
    lambda names: "/" + "/".join(names)
)
VALUES = st.sampled_from([b"", b"1", b"2"])
TTLS = st.sampled_from([None, None, None, 0, 1, 2, 30, 8_000_000_000, (1 << 64) - 1])


class Comparison(RuleBasedStateMachine):
    """Applies the same requests to a store and to the model."""

    @initialize()
    def start(self) -> None:
        self.store = Store()
        self.model = Model()
        self.stream = self.store.watch(b"/", True, True, 0)
        at(self.store, NOW)
        self.model.sync(NOW)

    @rule(
        op=st.sampled_from([Op.SET, Op.SET, Op.CREATE, Op.UPDATE, Op.DELETE, Op.CREATE_IN_ORDER]),
        path=PATHS,
        value=VALUES,
        directory=st.booleans(),
        recursive=st.booleans(),
        refresh=st.sampled_from([False, False, True]),
        ttl=TTLS,
    )
    def change(
        self,
        op: Op,
        path: str,
        value: bytes,
        directory: bool,
        recursive: bool,
        refresh: bool,
        ttl: int | None,
    ) -> None:
        self.both(Request(op, path.encode(), value, directory, recursive, refresh, ttl_seconds=ttl))

    @rule(
        op=st.sampled_from([Op.COMPARE_AND_SWAP, Op.COMPARE_AND_DELETE]),
        path=PATHS,
        value=VALUES,
        prev_value=VALUES,
        back=st.integers(0, 3),
        refresh=st.booleans(),
        ttl=TTLS,
    )
    def compare(
        self,
        op: Op,
        path: str,
        value: bytes,
        prev_value: bytes,
        back: int,
        refresh: bool,
        ttl: int | None,
    ) -> None:
        index = max(self.store.index - back, 0) if back else 0
        self.both(
            Request(
                op,
                path.encode(),
                value,
                refresh=refresh,
                prev_value=prev_value,
                prev_index=index,
                ttl_seconds=ttl,
            )
        )

    @rule(step=st.sampled_from([1, NS // 2, NS, 2 * NS, 40 * NS]))
    def time_passes(self, step: int) -> None:
        expected = self.model.sync(self.model.now + step)
        watcher = self.store.watch(b"/", True, True, self.store.index + 1)
        hidden = [path for path in expected if "/_" in path]
        at(self.store, self.model.now)
        seen = [event.path.decode() for event in watcher.events]
        assert seen == [path for path in expected if path not in hidden]
        self.store.unwatch(watcher)

    @rule()
    def restart_from_a_snapshot(self) -> None:
        before = chunks_of(self.store)
        self.store = copy_of(self.store)
        assert chunks_of(self.store) == before

    @rule(budget=st.integers(1, 5))
    def reclaim(self, budget: int) -> None:
        self.store.reclaim(budget)

    def both(self, request: Request) -> None:
        try:
            expected: Any = self.model.apply(request)
        except Refused as refusal:
            expected = refusal.args
        try:
            event = self.store.apply(request)
        except StoreError as error:
            refused: tuple[str, str, int] | None
            refused = (error.kind.name, error.cause.decode(), error.index)
        else:
            refused = None
        if refused is not None:
            assert refused == (*expected, self.model.index)
            return
        assert event is not None
        assert event.index == self.model.index
        new, old = expected
        document = json.loads(event.body())
        path = event.path.decode()
        now = self.model.now
        if new is not None:
            assert without_times(document["node"]) == self.model.node(path, now, new)
        if old is None:
            assert "prevNode" not in document
        else:
            assert without_times(document["prevNode"]) == self.model.node(path, now, old)
            if new is None:
                bare = {"key": path, "modifiedIndex": event.index, "createdIndex": old.created}
                assert document["node"] == bare | ({"dir": True} if old.value is None else {})

    @invariant()
    def equal(self) -> None:
        assert self.store.index == self.model.index
        now = self.model.now
        got = without_times(shown(self.store, b"/", recursive=True, sorted_=True, now_ns=now))
        assert got == self.model.tree("/", now)
        for path in ("/_h", "/a/_h"):
            entry = self.model.nodes.get(path)
            if entry is not None:
                hidden = shown(self.store, path.encode(), recursive=True, sorted_=True, now_ns=now)
                assert without_times(hidden) == self.model.tree(path, now)
        assert self.store.has_ttls() >= any(entry.expires for entry in self.model.nodes.values())


TestComparison = Comparison.TestCase
TestComparison.settings = settings(
    settings.get_profile("kvraft"), max_examples=80, stateful_step_count=40
)
