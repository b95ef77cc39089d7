"""The one log that all members must have applied, with the model that follows it.

Members report each entry they apply. The first report of an index fixes it and moves the model;
every later one must be the same entry. So two members that apply different entries,
a member that skips one or applies one twice after a restart, and an entry that changes after
it was applied anywhere are all found at the step where it happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.commands import Tally
from jepsen_like.check.model import Change, Model, Refused
from kvraft.raft.entry import ConfChange, ConfChangeKind, Entry, EntryKind, decode_conf_change
from kvraft.server import membership
from kvraft.store.request import Op, Request, decode_request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Result = Change | Refused | None


class Applied:
    """One entry of the agreed log and what it did."""

    __slots__ = ("answer", "at_ns", "changes", "entry", "request", "result", "store_index")

    def __init__(self, entry: Entry, at_ns: int) -> None:
        self.entry = entry
        self.at_ns = at_ns
        self.request: Request | None = None
        self.result: Result = None
        self.answer: object = None  # of the machine, to a command
        self.changes: list[Change] = []
        self.store_index = 0


class AgreedLog:
    """All entries applied by anybody, in order."""

    def __init__(self, tag_of: TagOf, now_ns: Callable[[], int] = lambda: 0) -> None:
        self._now_ns = now_ns
        self._tag_of = tag_of
        self.entries: list[Applied] = []
        self.model = Model()
        self.tally = Tally()
        self.by_tag: dict[bytes, list[Applied]] = {}
        self.added: set[int] = set()
        self.removed: set[int] = set()
        self.changes: dict[int, int] = {}  # a change's request -> how many entries made it
        self.digests: dict[int, tuple[int, bytes]] = {}  # log index -> member, digest

    def observe(self, member: int, applied: int, entries: Sequence[Entry]) -> None:
        """Member `member`, which stood at `applied`, applies `entries` now."""
        for entry in entries:
            if entry.index != applied + 1:
                raise Violation(
                    f"member {member} applies index {entry.index} after index {applied}"
                )
            applied = entry.index
            if applied <= len(self.entries):
                known = self.entries[applied - 1].entry
                if known.term != entry.term or known.data != entry.data:
                    raise Violation(
                        f"member {member} applies {entry} where {known} was applied before"
                    )
            elif applied == len(self.entries) + 1:
                self._append(entry)
            else:
                raise Violation(f"member {member} applies {entry} beyond all that was applied")

    def _append(self, entry: Entry) -> None:
        record = Applied(entry, self._now_ns())
        self.entries.append(record)
        if entry.kind == EntryKind.CONFIG:
            self._config(record)
        elif entry.data:
            _, request = decode_request(entry.data)
            record.request = request
            if request.op == Op.COMMAND:
                record.answer = self.tally.apply(request.value, entry.index)
            result = execute(self.model, request)
            if isinstance(result, list):
                record.changes = result
            else:
                record.result = result
                if isinstance(result, Change):
                    record.changes = [result]
            tag = self._tag_of(request)
            if tag:
                self.by_tag.setdefault(tag, []).append(record)
        record.store_index = self.model.index

    def _config(self, record: Applied) -> None:
        change = decode_conf_change(record.entry.data)
        context = membership.decode_context(change.context)
        assert context is not None, "nobody writes such a context here"
        members = membership.members_from_records(self.model.records)
        refusal = None
        if change.kind != ConfChangeKind.PROMOTE:
            refusal = membership.objection(members, self._is_removed, change, context)
        if refusal is None:
            self._note_members(change)
            self.changes[context.request] = self.changes.get(context.request, 0) + 1
            for write in membership.writes_of(change, context, self.model.records.get):
                result = execute(self.model, write)
                assert isinstance(result, Change), result
                record.changes.append(result)

    def _note_members(self, change: ConfChange) -> None:
        member = change.member
        if member in self.removed:
            raise Violation(f"{member} was removed before, and comes back: {change}")
        if change.kind in membership.ADDING:
            self.added.add(member)
        elif change.kind == ConfChangeKind.REMOVE:
            self.removed.add(member)

    def _is_removed(self, member: int) -> bool:
        return membership.removal_record(member) in self.model.records

    def digest(self, member: int, applied: int, digest: bytes) -> None:
        """The store of a member that has applied exactly `applied` entries."""
        known = self.digests.setdefault(applied, (member, digest))
        if known[1] != digest:
            raise Violation(
                f"at log index {applied} the stores of members {known[0]} and {member} differ"
            )

    def store_index(self, member: int, applied: int, index: int) -> None:
        """The store index of a member that has applied exactly `applied` entries."""
        if applied and self.entries[applied - 1].store_index != index:
            raise Violation(
                f"member {member} has store index {index} at log index {applied}, the model has "
                f"{self.entries[applied - 1].store_index}"
            )


class TagOf:
    """How to find the client's tag in a request: in its value, or where a value has no use."""

    def __call__(self, request: Request) -> bytes:
        """The tag, or nothing for the server's own requests."""
        if request.op in (Op.SYNC, Op.PUT_RECORD, Op.DELETE_RECORD, Op.CHECK):
            return b""
        return request.value


def execute(model: Model, request: Request) -> Change | Refused | list[Change]:
    """One request on the model."""
    op, path, ttl = request.op, request.path, request.ttl_seconds
    value = None if request.directory else request.value
    if op == Op.SET:
        return model.set(path, value, ttl, request.refresh)
    if op == Op.CREATE:
        return model.create(path, value, ttl)
    if op == Op.UPDATE:
        return model.update(path, request.value, ttl, request.refresh)
    if op == Op.COMPARE_AND_SWAP:
        return model.compare_and_swap(
            path, request.value, ttl, request.prev_value, request.prev_index
        )
    if op == Op.DELETE:
        return model.delete(path, request.directory, request.recursive)
    if op == Op.COMPARE_AND_DELETE:
        return model.compare_and_delete(path, request.prev_value, request.prev_index)
    if op == Op.CREATE_IN_ORDER:
        return model.in_order(path, value, ttl)
    if op == Op.SYNC:
        return model.sync(request.time_ns)
    if op in (Op.CHECK, Op.COMMAND):
        return []
    if op == Op.PUT_RECORD:
        return model.put_record(path, request.value, request.directory)
    if op == Op.DELETE_RECORD:
        return model.delete_record(path, request.recursive)
    raise Violation(f"an unknown request was applied: {request}")
