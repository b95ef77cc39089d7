"""The operations on keys: one implementation of each, whatever carries it.

From clean paths and validated parameters to reads of the local store, requests for the log, and
watchers. The outcome goes to a Reply, which HTTP implements with bytes and an embedding
program with whatever it likes. Must not know HTTP. (keys-api, sections 4, 10 and 11.)
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from kvraft.api.errors import RAFT_INTERNAL, STORE_ERRORS, ErrorCode
from kvraft.api.gate import Gate
from kvraft.api.params import Params
from kvraft.api.service import Service, Unavailable
from kvraft.api.turns import Turns
from kvraft.store.errors import StoreError
from kvraft.store.event import Event
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from kvraft.store.view import View
    from kvraft.store.watch import Watcher

_new_tuple = tuple.__new__
_SET: Final = int(Op.SET)


class Reply(Protocol):
    """Takes the outcome of one operation; exactly one of its methods is called, once."""

    def document(self, index: int, body: bytes) -> None:
        """A read: the document and the store index it belongs to."""

    def listing(self, index: int, view: View) -> None:
        """A read whose document is too long to be made at once."""

    def wrote(self, result: Event | StoreError | Unavailable) -> None:
        """A write: its event, or why there is none."""

    def wrote_briefly(self, result: Event | StoreError | Unavailable) -> None:
        """The same where the client does not want to be told the value."""

    def watching(self, index: int, watcher: Watcher) -> None:
        """A watch: the reply becomes responsible for the watcher."""

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        """Nothing was done."""


class Keys:
    """The operations on keys of one member."""

    __slots__ = ("_gate", "_service", "_turns", "recursive_reads")

    def __init__(self, service: Service, gate: Gate, turns: Turns) -> None:
        self.recursive_reads = 0
        self._service = service
        self._gate = gate
        self._turns = turns

    def get(self, path: bytes, params: Params, reply: Reply) -> None:
        """Read, locally or linearizably, or watch."""
        service = self._service
        if not service.accepting():
            self._gate.hold(lambda: self.get(path, params, reply), reply)
            return
        service.store.count_auth_lookup()
        if params.quorum:
            self._read_fresh(path, params, reply)
        elif params.wait:
            self._watch(path, params, reply)
        else:
            self._read(path, params, reply)

    def head(self, path: bytes, params: Params, reply: Reply) -> None:
        """Read locally, whatever the parameters say."""
        service = self._service
        if not service.accepting():
            self._gate.hold(lambda: self.head(path, params, reply), reply)
            return
        service.store.count_auth_lookup()
        self._read(path, params, reply)

    def get_plain(self, path: bytes, reply: Reply) -> None:
        """Read locally without any parameters: what most requests are."""
        service = self._service
        if not service.accepting():
            self._gate.hold(lambda: self.get_plain(path, reply), reply)
            return
        store = service.store
        store.count_auth_lookup()
        try:
            body = store.get_body(path, False, False, service.now_ns() if store.has_ttls() else 0)
        except StoreError as error:
            reply.refuse(STORE_ERRORS[error.kind], error.cause, error.index)
            return
        if isinstance(body, bytes):
            reply.document(store.index, body)
        else:
            reply.listing(store.index, body)

    def put(self, path: bytes, params: Params, reply: Reply) -> None:
        """Set, create, update or compare-and-swap."""
        self._propose(put_request(path, params), params.no_value, reply)

    def set_plain(self, path: bytes, value: bytes, reply: Reply) -> None:
        """Set a value without any other parameter: what most writes are."""
        service = self._service
        if not service.accepting():
            self._gate.hold(lambda: self.set_plain(path, value, reply), reply)
            return
        service.store.count_auth_lookup()
        service.propose(
            _new_tuple(Request, (_SET, path, value, False, False, False, b"", 0, None, 0)),
            reply.wrote,
        )

    def post(self, path: bytes, params: Params, reply: Reply) -> None:
        """Create a key with a name in order below a directory."""
        value = b"" if params.directory else params.value
        request = Request(
            Op.CREATE_IN_ORDER,
            path,
            value,
            directory=params.directory,
            ttl_seconds=params.ttl_seconds,
        )
        self._propose(request, params.no_value, reply)

    def delete(self, path: bytes, params: Params, reply: Reply) -> None:
        """Delete or compare-and-delete."""
        if params.prev_value or params.prev_index:
            request = Request(
                Op.COMPARE_AND_DELETE,
                path,
                prev_value=params.prev_value,
                prev_index=params.prev_index,
            )
        else:
            request = Request(
                Op.DELETE, path, directory=params.directory, recursive=params.recursive
            )
        self._propose(request, params.no_value, reply)

    def _propose(self, request: Request, no_value: bool, reply: Reply) -> None:
        service = self._service
        if not service.accepting():
            self._gate.hold(lambda: self._propose(request, no_value, reply), reply)
            return
        service.store.count_auth_lookup()
        service.propose(request, reply.wrote_briefly if no_value else reply.wrote)

    def _read(self, path: bytes, params: Params, reply: Reply) -> None:
        service = self._service
        store = service.store
        if params.recursive:
            self.recursive_reads += 1
        try:
            body = store.get_body(path, params.recursive, params.sorted, service.now_ns())
        except StoreError as error:
            reply.refuse(STORE_ERRORS[error.kind], error.cause, error.index)
            return
        if isinstance(body, bytes):
            reply.document(store.index, body)
        else:
            reply.listing(store.index, body)

    def _read_fresh(self, path: bytes, params: Params, reply: Reply) -> None:
        # No function that knows itself: that would be a reference cycle for each read.
        self._service.read_barrier(partial(self._read_now_fresh, path, params, reply))

    def _read_now_fresh(
        self, path: bytes, params: Params, reply: Reply, problem: Unavailable | None
    ) -> None:
        if self._turns.full:  # one round of heartbeats releases many reads at once
            self._turns.later(partial(self._read_now_fresh, path, params, reply, problem))
        elif problem is None:
            self._read(path, params, reply)
        else:
            reply.refuse(RAFT_INTERNAL, problem.cause.encode(), 0)

    def _watch(self, path: bytes, params: Params, reply: Reply) -> None:
        store = self._service.store
        try:
            watcher = store.watch(path, params.recursive, params.stream, params.wait_index)
        except StoreError as error:
            reply.refuse(STORE_ERRORS[error.kind], error.cause, error.index)
            return
        reply.watching(watcher.start_index, watcher)


def put_request(path: bytes, params: Params) -> Request:
    """Find out what a PUT asks for."""
    exist = params.prev_exist
    if exist is not False and (params.prev_value or params.prev_index):
        op = Op.COMPARE_AND_SWAP
    elif exist is None:
        op = Op.SET
    elif exist:
        op = Op.UPDATE
    else:
        op = Op.CREATE
    makes_directory = params.directory and op in (Op.SET, Op.CREATE)
    compares = op is Op.COMPARE_AND_SWAP
    return Request(
        op,
        path,
        b"" if makes_directory else params.value,
        directory=makes_directory,
        refresh=params.refresh and op is not Op.CREATE,
        prev_value=params.prev_value if compares else b"",
        prev_index=params.prev_index if compares else 0,
        ttl_seconds=params.ttl_seconds,
    )
