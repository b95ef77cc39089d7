"""A key space of the discovery service's own: a member in the same process, asked without a hop.

It implements the reply that the operations on keys expect, and turns it into an `Answer`. (The
other implementation of a reply is `api/exchange.py`, which writes to a socket.)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

from kvraft.api.errors import INVALID_FORM, RAFT_INTERNAL, STORE_ERRORS, ErrorCode, error_body
from kvraft.api.gate import Gate
from kvraft.api.keys import Keys
from kvraft.api.mediatype import is_form
from kvraft.api.params import BadParameters, parse_params
from kvraft.api.service import Service, Unavailable
from kvraft.api.turns import Turns
from kvraft.discovery.backend import Answer, Question
from kvraft.limits import VIEW_SLICE_NODES
from kvraft.store.errors import StoreError
from kvraft.store.event import Event
from kvraft.store.path import clean

if TYPE_CHECKING:
    from kvraft.store.view import View
    from kvraft.store.watch import Watcher


class MemberBackend:
    """The key space of a member in this process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        loop = asyncio.get_running_loop()
        self._keys = Keys(service, Gate(service, loop), Turns(loop))

    async def start(self) -> None:
        """See `Backend.start`."""

    async def stop(self) -> None:
        """See `Backend.stop`."""

    @asynccontextmanager
    async def ask(self, question: Question) -> AsyncIterator[Answer]:
        """See `Backend.ask`."""
        reply = _Reply(self._service)
        try:
            self._dispatch(question, reply)
            yield await reply.answer
        finally:
            reply.abandon()

    def _dispatch(self, question: Question, reply: _Reply) -> None:
        method = question.method.encode()
        path = clean(question.key.encode("utf-8", "surrogateescape"))
        try:
            query = question.query.encode("utf-8", "surrogateescape")
            params = parse_params(query, _form(question), method)
        except BadParameters as bad:
            reply.refuse(bad.code, bad.cause, 0)
            return
        {
            "GET": self._keys.get,
            "PUT": self._keys.put,
            "DELETE": self._keys.delete,
        }[question.method](path, params, reply)


def _form(question: Question) -> bytes:
    """The form that a PUT may have for its body; raises BadParameters."""
    if question.method != "PUT":
        return b""
    for name, value in question.headers:
        if name.lower() == "content-type":
            counts, problem = is_form(value.encode("utf-8", "surrogateescape"))
            if problem is not None:
                raise BadParameters(INVALID_FORM, problem)
            return question.body if counts else b""
    return b""


class _Reply:
    """Takes the outcome of one question, and what becomes of a watch or a listing after it."""

    def __init__(self, service: Service) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._service = service
        self._watcher: Watcher | None = None
        self._view: View | None = None
        self._ready = asyncio.Event()

    # --- what the operations on keys call ----------------------------------------------

    def document(self, index: int, body: bytes) -> None:
        """See `api.keys.Reply`."""
        self._complete(HTTPStatus.OK, self._success(index), body)

    def wrote(self, result: Event | StoreError | Unavailable) -> None:
        """See `api.keys.Reply`."""
        if isinstance(result, Event):
            self._changed(result, result.body())
        else:
            self._failed(result)

    def wrote_briefly(self, result: Event | StoreError | Unavailable) -> None:
        """See `api.keys.Reply`."""
        if isinstance(result, Event):
            self._changed(result, result.no_value_body())
        else:
            self._failed(result)

    def refuse(self, code: ErrorCode, cause: bytes, index: int) -> None:
        """See `api.keys.Reply`."""
        body = error_body(code, cause, index)
        self._complete(code.status, self._headers(index), body)

    def listing(self, index: int, view: View) -> None:
        """See `api.keys.Reply`."""
        self._view = view
        self._begin(self._success(index), self._slices(view))

    def watching(self, index: int, watcher: Watcher) -> None:
        """See `api.keys.Reply`."""
        self._watcher = watcher
        watcher.owner = self
        if watcher.events or watcher.closed:
            self._ready.set()
        self._begin(self._success(index), self._events(watcher))

    def watch_ready(self, watcher: Watcher) -> None:
        """The watcher has got events, or has been dropped."""
        self._ready.set()

    def abandon(self) -> None:
        """Nobody is interested any more, now or in what may come."""
        self.answer.cancel()
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.owner = None
            self._service.store.unwatch(watcher)
        view, self._view = self._view, None
        if view is not None:
            view.close()

    # --- answers -----------------------------------------------------------------------

    def _changed(self, event: Event, body: bytes) -> None:
        status = HTTPStatus.CREATED if event.created else HTTPStatus.OK
        self._complete(status, self._success(event.index), body)

    def _failed(self, result: StoreError | Unavailable) -> None:
        if isinstance(result, StoreError):
            self.refuse(STORE_ERRORS[result.kind], result.cause, result.index)
        else:
            self.refuse(RAFT_INTERNAL, result.cause.encode(), 0)

    def _headers(self, index: int) -> tuple[tuple[str, str], ...]:
        return (
            ("Content-Type", "application/json"),
            ("Date", formatdate(usegmt=True)),
            ("X-Etcd-Cluster-Id", self._service.cluster_id_hex.decode()),
            ("X-Etcd-Index", str(index)),
        )

    def _success(self, index: int) -> tuple[tuple[str, str], ...]:
        service = self._service
        return (
            *self._headers(index),
            ("X-Raft-Index", str(service.applied_index)),
            ("X-Raft-Term", str(service.applied_term)),
        )

    def _complete(self, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer(status, headers, len(body), _one(body)))

    def _begin(self, headers: tuple[tuple[str, str], ...], chunks: AsyncIterator[bytes]) -> None:
        if self.answer.done():  # given up while the member was still catching up
            self.abandon()
        else:
            self.answer.set_result(Answer(HTTPStatus.OK, headers, None, chunks))

    async def _events(self, watcher: Watcher) -> AsyncIterator[bytes]:
        while True:
            while watcher.events:
                yield watcher.events.popleft().body()
                if not watcher.stream:
                    return
            if watcher.closed:
                return
            self._ready.clear()
            await self._ready.wait()

    async def _slices(self, view: View) -> AsyncIterator[bytes]:
        for data in view.json_chunks(VIEW_SLICE_NODES):
            if data:
                yield data
            await asyncio.sleep(0)


async def _one(body: bytes) -> AsyncIterator[bytes]:
    yield body
