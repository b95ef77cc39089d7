"""Watches that lose nothing in silence.

A watch is a chain of requests, each from the index behind the last event: whatever breaks, the next
request goes on where the last one ended, at another endpoint if need be. Servers keep the last 1000
events; if those do not reach back far enough, the watch reads the present state and says so.

**Indices.** `seen` is the index up to which everything has been yielded; what comes with an index
at or below it is a repetition, and dropped. `resume` is where the next request begins, and is
ahead of `seen` while a watch is quiet: a store where a thousand other keys change must not make it
lose its place. It moves when a poll has been silent for `CLIENT_WATCH_SETTLED_S` after its head: a
poll whose index lies in the past is answered from the history at once, or not at all, so up to the
index in its head there was nothing. That index is the answering member's own, so a member that
lags does no harm.

**Silence.** A poll from an index that a member has not reached waits there. So does a server that
came back with an empty store, and one that is cut off from the others, or stopped. So the member
that is silent gets a linearizable read now and then: without an answer, another one is asked; an
index below what was seen tells that the store is not the same any more.

**Polls and streams.** etcd's streams skip what lies between the past and the present, and are
dropped without a word when their reader is slow; so each poll there is answered by one event. A
kvraft member says that its streams have neither fault, and gives all events to one request.

**Memory.** Nothing is read ahead: who takes events slowly finds the rest in the server's history,
or gets a Resync.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Self

import aiohttp

from kvraft.client import answers, requests
from kvraft.client.answers import Answer, Unreadable, Verdict, judge, refusal, understood
from kvraft.client.dispatch import Dispatcher
from kvraft.client.errors import (
    DidNotHappen,
    EventIndexCleared,
    KeyNotFound,
    NotADirectory,
    ReadFailed,
    WatcherCleared,
)
from kvraft.client.http import Failed, reason
from kvraft.client.model import KeyNode, Resync, WatchEvent
from kvraft.client.scope import Scope
from kvraft.limits import (
    CLIENT_MAX_ANSWER_BYTES,
    CLIENT_MAX_REFUSAL_BYTES,
    CLIENT_STREAM_HEAD_S,
    CLIENT_WATCH_BEHIND,
    CLIENT_WATCH_HEAD_S,
    CLIENT_WATCH_PAUSE_MAX_S,
    CLIENT_WATCH_PAUSE_MIN_S,
    CLIENT_WATCH_QUIET_MAX_S,
    CLIENT_WATCH_SETTLED_S,
    CLIENT_WATCH_STEADY_S,
    CLIENT_WATCH_TOO_FAR,
)

_BROKEN: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_NOT_THERE: Final = (KeyNotFound, NotADirectory)

INITIAL: Final = "initial"


class _Trouble(Exception):
    """An endpoint cannot serve a watch now."""


_RETRIED: Final = (ReadFailed, DidNotHappen, Failed, _Trouble)


class _Feed:
    """The answer to one poll, as it comes in."""

    def __init__(self, response: aiohttp.ClientResponse, url: str, now_s: float) -> None:
        self.url = url
        self.index = answers.header_number(response.headers, answers.INDEX)
        self.cluster = response.headers.get(answers.CLUSTER, "")
        self.opened_s = now_s
        self.quiet_at_s = now_s  # when to wonder why nothing comes; set by the watch
        self.answered = False  # something has come
        self._response = response
        self._buffer = bytearray()
        self._searched = 0
        self._received = 0

    def line(self) -> bytes | None:
        """The next complete document, if it is here."""
        end = self._buffer.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        self.answered = True
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    async def more(self) -> bool:
        """Wait for further bytes; False at the end of the answer. May be cancelled."""
        data = await self._response.content.readany()
        self._buffer += data
        self._received += len(data)
        if len(self._buffer) > CLIENT_MAX_ANSWER_BYTES:
            raise Unreadable(f"an event has more than {CLIENT_MAX_ANSWER_BYTES} bytes")
        return bool(data)

    def is_silent(self) -> bool:
        """Whether nothing has come that was not read; the end of the answer counts as something."""
        content = self._response.content
        return content.total_bytes == self._received and not content.is_eof()

    def close(self) -> None:
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class Watch:
    """The changes of a key, or of all below it: see `Client.watch`, which makes it.

    An asynchronous iterator of WatchEvent and Resync, for one task at a time; a context manager.
    A cancelled wait loses nothing: the next one goes on. So a watch ends with `aclose`, with the
    `async with` around it, or with its client.
    """

    def __init__(
        self,
        ready: Callable[[], Awaitable[Dispatcher]],
        key: str,
        *,
        recursive: bool,
        after_index: int | None,
        initial: bool,
        rng: random.Random,
        on_close: Callable[[Watch], None],
    ) -> None:
        if after_index is not None and (after_index < 0 or isinstance(after_index, bool)):
            raise ValueError(f"after_index is a store's index, not {after_index!r}")
        if initial and after_index is not None:
            raise ValueError("give either initial or after_index: the tree has an index of its own")
        self._ready = ready
        self._key = requests.clean_key(key)
        self._recursive = recursive
        self._scope = Scope(self._key, recursive)
        self._rng = rng
        self._on_close = on_close
        self._seen = self._resume = after_index or 0
        self._begun = after_index is not None
        self._resync = INITIAL if initial else ""  # why the state has to be read first
        self._cluster = ""
        self._feed: _Feed | None = None
        self._quiet_s = float(CLIENT_WATCH_SETTLED_S)
        self._failures = 0
        self._problem = ""
        self._kept: WatchEvent | Resync | None = None  # came when nobody waited any more
        self._task: asyncio.Task[None] | None = None  # what is under way
        self._waited_for = False
        self._closed = False

    @property
    def index(self) -> int:
        """Every change up to this index has been yielded; 0 before the watch has begun."""
        return self._seen

    @property
    def problem(self) -> str:
        """Why the watch makes no progress now; empty if it does."""
        return self._problem

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent | Resync:
        while self._kept is None:
            if self._closed:
                raise StopAsyncIteration
            if self._task is None:
                try:
                    self._kept = self._event_at_hand()
                except Unreadable as error:
                    self._drop_feed()  # so that it is asked for again
                    self._problem = str(error)
            if self._kept is None:
                await self._run(self._fetch)
        item, self._kept = self._kept, None
        return item

    async def __aenter__(self) -> Self:
        if not self._begun and not self._resync and not self._closed:
            try:
                await self._run(self._begin)
            except BaseException:
                await self.aclose()  # as nobody will leave what nobody has entered
                raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the watch; a pending `__anext__` raises StopAsyncIteration."""
        if not self._closed:
            self._closed = True
            self._on_close(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # nobody waits for it any more
        self._drop_feed()

    async def _run(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do something that `aclose` may interrupt, and that goes on if the caller is cancelled.

        So whoever waits for each event with a timeout, however short, gets it in the end.
        """
        if self._waited_for:
            raise RuntimeError("this watch is being waited for already")
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(work())
        task = self._task
        self._waited_for = True
        try:
            await asyncio.wait((task,))
        finally:
            self._waited_for = False
        self._task = None
        if not task.cancelled():
            task.result()

    # --- one step after the other -------------------------------------------------------

    async def _fetch(self) -> None:
        """Put the next item where it is kept."""
        while self._kept is None:
            try:
                await self._step()
            except EventIndexCleared as error:
                self._drop_feed()
                self._resync = error.cause or error.message
            except (*_RETRIED, Unreadable, WatcherCleared) as error:
                await self._failed(str(error))
            except _BROKEN as error:
                await self._failed(reason(error))

    async def _step(self) -> None:
        if self._resync:
            self._kept = await self._read_state()
        elif not self._begun:
            await self._begin()
        elif self._feed is None:
            self._feed = await self._open()
        else:
            await self._listen(self._feed)

    async def _begin(self) -> None:
        """Find out where the watch begins: at the store's index now."""
        while True:
            try:
                dispatcher = await self._ready()
                answer = await dispatcher.call(requests.head(self._key))
                break
            except _RETRIED as error:
                await self._failed(str(error))
        index = answer.etcd_index()
        if not index:  # a refusal of the request, rather than of its key
            raise refusal(answer)
        self._seen = self._resume = index
        self._begun = True

    async def _read_state(self) -> Resync:
        """What the watch is about, as it is now; the events go on behind it."""
        node, index = await self._state()
        reason_, self._resync = self._resync, ""
        self._seen = self._resume = index
        self._begun = True
        self._went_well()
        return Resync(node, index, reason_)

    async def _state(self, url: str = "") -> tuple[KeyNode | None, int]:
        """A linearizable read; of this endpoint, and without what is below, if one is given."""
        dispatcher = await self._ready()
        request = requests.get(self._key, recursive=self._recursive and not url, quorum=True)
        if url:
            answer = await dispatcher.call(request, only=[url], rounds=1)
        else:
            answer = await dispatcher.call(request)
        self._cluster = answer.headers.get(answers.CLUSTER, "")
        try:
            with understood(answer):
                result = await asyncio.to_thread(answers.result_of, answer)
        except _NOT_THERE as error:
            return None, error.index
        return result.node, result.etcd_index

    async def _open(self) -> _Feed | None:
        """Ask for the next event, at whatever endpoint takes the question."""
        dispatcher = await self._ready()
        loop = asyncio.get_running_loop()
        url = dispatcher.endpoints.candidates(loop.time())[0]
        stream = url not in dispatcher.only_polls
        request = requests.wait(
            self._key, recursive=self._recursive, from_index=self._resume + 1, stream=stream
        )
        began_s = loop.time()
        limit_s = CLIENT_STREAM_HEAD_S if stream else CLIENT_WATCH_HEAD_S
        try:
            response = await dispatcher.open(url, request, limit_s)
            if response.status != 200:
                await self._refused(response)
        except (Failed, _Trouble) as error:
            dispatcher.endpoints.failed(url, loop.time())
            if isinstance(error, Failed) and error.sent and loop.time() >= began_s + 0.9 * limit_s:
                # A proxy of etcd's holds back even the head until there is an event.
                dispatcher.only_polls.add(url)
                return None
            raise
        if stream and response.headers.get(requests.STREAM) != requests.COMPLETE:
            response.close()
            dispatcher.only_polls.add(url)
            return None
        dispatcher.endpoints.succeeded(url)
        feed = _Feed(response, url, loop.time())
        if self._cluster and feed.cluster and feed.cluster != self._cluster:
            feed.close()
            self._resync = f"another cluster answers: {feed.cluster}, not {self._cluster}"
            return None
        self._cluster = feed.cluster or self._cluster
        feed.quiet_at_s = feed.opened_s + self._quiet_s
        return feed

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        """Raise what an answer that is no watch means."""
        try:
            async with asyncio.timeout(CLIENT_WATCH_HEAD_S):
                body = await response.content.read(CLIENT_MAX_REFUSAL_BYTES)
        finally:
            response.close()
        verdict, text = judge(response.status, body)
        if verdict is Verdict.ANSWERED and response.status >= 300:
            raise refusal(Answer(response.status, response.headers, body))
        raise _Trouble(text or f"status {response.status}")

    async def _listen(self, feed: _Feed) -> None:
        """Wait for what a poll brings."""
        try:
            async with asyncio.timeout_at(feed.quiet_at_s):
                going_on = await feed.more()
        except TimeoutError:
            await self._quiet(feed)
            return
        if going_on:
            feed.quiet_at_s = asyncio.get_running_loop().time() + self._quiet_s
            self._kept = self._event_at_hand()
        elif feed is self._feed:
            self._drop_feed()
            lasted_s = asyncio.get_running_loop().time() - feed.opened_s
            if not feed.answered and lasted_s < CLIENT_WATCH_STEADY_S:
                await self._failed(f"{feed.url} ended the watch without an event")

    def _event_at_hand(self) -> WatchEvent | None:
        """The next event that has come in already; None if there is none."""
        feed = self._feed
        while feed is not None and (line := feed.line()) is not None:
            event = answers.event_of(line)
            if event.index <= self._seen:
                continue
            self._seen = event.index
            self._resume = max(self._resume, event.index)
            if self._scope.wants(event):
                self._went_well()
                return event
        return None

    # --- quiet times --------------------------------------------------------------------

    async def _quiet(self, feed: _Feed) -> None:
        """Nothing has come for a while: see whether that is as it should be."""
        _, index = await self._state(feed.url)
        # Only now, as the loop has looked at the network since: it may have been held up before.
        if not feed.is_silent():
            return
        if index < self._seen:
            self._drop_feed()
            self._resync = f"the store's index went back from {self._seen} to {index}"
            return
        self._went_well()
        self._resume = max(self._resume, feed.index)
        behind = index - self._resume
        self._quiet_s = quiet_interval_s(self._quiet_s, behind)
        feed.quiet_at_s = asyncio.get_running_loop().time() + self._quiet_s
        if CLIENT_WATCH_BEHIND <= behind < CLIENT_WATCH_TOO_FAR:
            self._drop_feed()  # asked anew, the head brings a later index

    # --- failures -----------------------------------------------------------------------

    def _drop_feed(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def _went_well(self) -> None:
        self._failures = 0
        self._problem = ""

    async def _failed(self, problem: str) -> None:
        """Note it and wait: hardly before another endpoint is tried, then longer and longer."""
        self._drop_feed()
        self._problem = problem
        rounds = self._failures // max(1, len((await self._ready()).endpoints.urls))
        self._failures += 1
        if rounds or self._failures == 1:
            pause_s = min(
                CLIENT_WATCH_PAUSE_MIN_S * 2.0 ** min(rounds, 16), CLIENT_WATCH_PAUSE_MAX_S
            )
            await asyncio.sleep(pause_s * (0.5 + self._rng.random() / 2))


def quiet_interval_s(last_s: float, behind: int) -> float:
    """How long to wait before the next look at a quiet watch that is so many events behind.

    So that about `CLIENT_WATCH_BEHIND` events pass in between, never less than it takes to be
    sure of a silence.
    """
    wanted_s = last_s * CLIENT_WATCH_BEHIND / max(1, behind)
    wanted_s = min(wanted_s, 2 * last_s, CLIENT_WATCH_QUIET_MAX_S)
    return max(wanted_s, float(CLIENT_WATCH_SETTLED_S))
