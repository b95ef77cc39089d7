"""The operations on keys, called directly: no HTTP, no JSON, no socket; the same answers.

Arguments are checked by the code that the client checks them with, and carried out by the one that
serves HTTP. Nobody has to log in: who can call a node is the program itself, so users and
permissions do not count here.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kvraft.api.errors import RAFT_INTERNAL, STORE_ERRORS, ErrorCode
from kvraft.api.params import BadParameters, Params, parse_params
from kvraft.api.service import Unavailable
from kvraft.api.target import decode_path
from kvraft.client import requests
from kvraft.client.changes import KeyChanges
from kvraft.client.errors import (
    ClientError,
    DidNotHappen,
    EtcdError,
    ReadFailed,
    etcd_error,
)
from kvraft.client.model import Result
from kvraft.embedded.values import nodes_of, read_tree, text
from kvraft.embedded.watch import NodeWatch
from kvraft.store.errors import StoreError
from kvraft.store.path import clean

if TYPE_CHECKING:
    from kvraft.embedded.running import Life
    from kvraft.server.member import Member
    from kvraft.store.event import Event
    from kvraft.store.view import View
    from kvraft.store.watch import Watcher

_PREFIX = len(requests.KEYS)


class DirectKeys(KeyChanges):
    """The operations of a node on keys; implements `KeyOperations`."""

    @property
    @abstractmethod
    def life(self) -> Life:
        """The parts of the running node. Raises NodeStopped."""

    @abstractmethod
    def unavailable(self, outcome: Unavailable) -> ClientError:
        """The error for a change that the cluster did not answer."""

    @abstractmethod
    def follow(self, watch: NodeWatch) -> None:
        """Tell this watch when the node ends."""

    @abstractmethod
    def unfollow(self, watch: NodeWatch) -> None:
        """Tell it no more."""

    async def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        """Read a key, or a directory with its children (`recursive`: with all below it).

        Without `quorum` from what this node has; with it, everything that was written before is in
        the answer. Raises KeyNotFound, NotADirectory, ReadFailed.
        """
        path = clean(requests.clean_key(key).encode("utf-8", "surrogateescape"))
        await self._accepting(ReadFailed)
        if quorum:
            await self._barrier()
        member = self.life.member
        index = member.store.index
        term, applied = member.applied_term, member.applied_index
        try:
            node = await read_tree(member.store, path, recursive, sorted, member.now_ns())
        except StoreError as error:
            raise _store_error(error) from None
        return Result("get", node, None, index, applied, term)

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> NodeWatch:
        """Follow the changes of a key, or with `recursive` of everything below it.

        An asynchronous iterator of WatchEvent and Resync, and a context manager that ends it; see
        `Client.watch`, which yields the same. Raises NodeStopped when the node is stopped; after
        another start it goes on where it was.
        """
        return NodeWatch(self, key, recursive=recursive, after_index=after_index, initial=initial)

    # --- how ----------------------------------------------------------------------------

    async def _perform(self, request: requests.Request) -> Result:
        await self._accepting(DidNotHappen)
        life = self.life
        target, _, query = request.target.partition("?")
        path = decode_path(target[_PREFIX:].encode("ascii"))
        assert path is not None, "the client's own quoting"
        method = request.method.encode("ascii")
        try:
            params = parse_params(query.encode("ascii"), request.body or b"", method)
        except BadParameters as bad:
            raise _numbered(bad.code, bad.cause, 0) from None
        reply = _Reply(life.member, self.unavailable)
        _OPERATIONS[method](life, clean(path), params, reply)
        return await reply.result

    async def _accepting(self, kind: type[ClientError]) -> None:
        """Wait until this node has caught up after its start. Raises `kind`."""
        life = self.life
        if not life.member.accepting():
            waiting = _Waiting(kind)
            life.port.gate.hold(waiting.resume, waiting)
            await waiting.done
            _ = self.life

    async def _barrier(self) -> None:
        """Wait until everything that was written before is applied here. Raises ReadFailed."""
        done: asyncio.Future[Unavailable | None] = asyncio.get_running_loop().create_future()
        self.life.member.read_barrier(partial(_settle, done))
        problem = await done
        if problem is not None:
            raise ReadFailed(problem.cause)


class _Waiting:
    """An operation that waits for the node to catch up."""

    def __init__(self, kind: type[ClientError]) -> None:
        self._kind = kind
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def resume(self) -> None:
        _settle(self.done, None)

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        if not self.done.done():
            self.done.set_exception(self._kind(text(cause)))


class _Reply:
    """Takes the outcome of one change; see `api.keys.Reply`."""

    __slots__ = ("_member", "_unavailable", "result")

    def __init__(self, member: Member, unavailable: Callable[[Unavailable], ClientError]) -> None:
        self.result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._member = member
        self._unavailable = unavailable

    def wrote(self, result: Event | StoreError | Unavailable) -> None:
        """See `Reply.wrote`."""
        if self.result.done():
            return  # the caller has given up
        if isinstance(result, StoreError):
            self.result.set_exception(_store_error(result))
        elif isinstance(result, Unavailable):
            self.result.set_exception(self._unavailable(result))
        else:
            node, previous = nodes_of(result)
            member = self._member
            self.result.set_result(
                Result(
                    result.action.decode(),
                    node,
                    previous,
                    result.index,
                    member.applied_index,
                    member.applied_term,
                    result.created,
                )
            )

    wrote_briefly = wrote

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        """See `Reply.refuse`."""
        if self.result.done():
            return
        if code is RAFT_INTERNAL:
            self.result.set_exception(DidNotHappen(text(cause)))
        else:
            self.result.set_exception(_numbered(code, cause, index))

    def document(self, index: int, body: bytes) -> None:
        """See `Reply.document`."""
        raise AssertionError("a change has no document")

    def listing(self, index: int, view: View) -> None:
        """See `Reply.listing`."""
        raise AssertionError("a change has no listing")

    def watching(self, index: int, watcher: Watcher) -> None:
        """See `Reply.watching`."""
        raise AssertionError("a change is no watch")


def _put(life: Life, path: bytes, params: Params, reply: _Reply) -> None:
    life.port.keys.put(path, params, reply)


def _post(life: Life, path: bytes, params: Params, reply: _Reply) -> None:
    life.port.keys.post(path, params, reply)


def _delete(life: Life, path: bytes, params: Params, reply: _Reply) -> None:
    life.port.keys.delete(path, params, reply)


_OPERATIONS = {b"PUT": _put, b"POST": _post, b"DELETE": _delete}


def _store_error(error: StoreError) -> EtcdError:
    return _numbered(STORE_ERRORS[error.kind], error.cause, error.index)


def _numbered(code: ErrorCode, cause: bytes, index: int) -> EtcdError:
    return etcd_error(code.number, code.message, text(cause), index)


def _settle(future: asyncio.Future[Any], outcome: object) -> None:
    if not future.done():
        future.set_result(outcome)
