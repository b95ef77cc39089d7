"""One call: from a request to an answer, over as many endpoints as the rules allow.

The rules themselves are in `endpoints` (what may be repeated) and `answers` (what an answer
means); here they meet connections and the clock. Invariant: after a change may have reached a
server, nothing is sent for that call any more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import aiohttp

from kvraft.client.answers import Answer, Verdict, judge
from kvraft.client.endpoints import Endpoints, share_s, summary
from kvraft.client.errors import ClientError, DidNotHappen, OutcomeUnknown, ReadFailed
from kvraft.client.http import Failed, Http
from kvraft.client.requests import Request
from kvraft.limits import CLIENT_ROUND_PAUSE_S, CLIENT_ROUNDS


class Settings:
    """How long calls and attempts may take, in seconds."""

    __slots__ = ("attempt_timeout_s", "connect_timeout_s", "timeout_s")

    def __init__(
        self, timeout_s: float, connect_timeout_s: float, attempt_timeout_s: float | None
    ) -> None:
        for name, value in (
            ("timeout_s", timeout_s),
            ("connect_timeout_s", connect_timeout_s),
            ("attempt_timeout_s", attempt_timeout_s),
        ):
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, not {value}")
        self.timeout_s = timeout_s
        self.connect_timeout_s = connect_timeout_s
        self.attempt_timeout_s = attempt_timeout_s


class _Call:
    """What one call has come across."""

    def __init__(self, request: Request, deadline_s: float) -> None:
        self.request = request
        self.deadline_s = deadline_s
        self.problems: list[tuple[str, str]] = []

    def note(self, url: str, text: str) -> None:
        self.problems.append((url, text))

    def unknown(self, url: str, text: str) -> OutcomeUnknown:
        request = self.request
        return OutcomeUnknown(
            f"{request.method} {_path(request)} may have been executed, or may yet be: "
            f"{url}: {text}"
        )

    def failure(self) -> ClientError:
        """No endpoint has taken it."""
        request = self.request
        text = f"{request.method} {_path(request)}: {summary(self.problems)}"
        return DidNotHappen(text) if request.changes else ReadFailed(text)


class Dispatcher:
    """Gives requests to endpoints until one answers."""

    def __init__(
        self, http: Http, endpoints: Endpoints, settings: Settings, rng: random.Random
    ) -> None:
        self._http = http
        self.endpoints = endpoints
        self._settings = settings
        self._rng = rng
        self._now_s = asyncio.get_running_loop().time
        self.only_polls: set[str] = set()  # endpoints whose streams are of no use

    async def call(
        self,
        request: Request,
        *,
        only: Sequence[str] | None = None,
        settled: Callable[[Answer], bool] | None = None,
        rounds: int = CLIENT_ROUNDS,
    ) -> Answer:
        """The answer to a request: a success, or a refusal that no other endpoint would take back.

        `only` are the endpoints to ask instead of all; an answer that is not `settled` sends a
        read on to the next one; `rounds` is how often all of them are tried. Raises
        DidNotHappen, OutcomeUnknown or ReadFailed.
        """
        call = _Call(request, self._now_s() + self._settings.timeout_s)
        for number in range(rounds):
            if number and not await self._pause(number, call.deadline_s):
                break
            urls = only or self.endpoints.candidates(self._now_s())
            for tried, url in enumerate(urls):
                remaining_s = call.deadline_s - self._now_s()
                if remaining_s <= 0:
                    raise call.failure()
                fixed_s = self._settings.attempt_timeout_s
                limit_s = share_s(remaining_s, len(urls) - tried, request.changes, fixed_s)
                answer = await self._attempt(url, call, limit_s)
                if answer is None:
                    continue
                if settled is None or settled(answer):
                    self.endpoints.succeeded(url)
                    return answer
                call.note(url, f"status {answer.status}")
        raise call.failure()

    async def _attempt(self, url: str, call: _Call, limit_s: float) -> Answer | None:
        """Ask one endpoint; None if another one may be asked. Raises OutcomeUnknown."""
        request = call.request
        answer = await self._ask(url, call, limit_s)
        if answer is None:
            return None
        verdict, text = judge(answer.status, answer.body, request.also)
        if verdict is Verdict.ANSWERED:
            return answer
        self.endpoints.failed(url, self._now_s())
        if verdict is Verdict.UNCLEAR and request.changes:
            raise call.unknown(url, text)
        call.note(url, text)
        return None

    async def _ask(self, url: str, call: _Call, limit_s: float) -> Answer | None:
        request = call.request
        began_s = self._now_s()
        for again in (True, False):
            try:
                return await self._http.ask(url, request, limit_s - (self._now_s() - began_s))
            except Failed as failed:
                if failed.sent and request.changes:
                    self.endpoints.failed(url, self._now_s())
                    raise call.unknown(url, failed.text) from failed
                left_s = limit_s - (self._now_s() - began_s)
                if again and failed.sent and failed.reused and left_s > 0:
                    continue  # an old connection that the server had closed says nothing about it
                self.endpoints.failed(url, self._now_s())
                call.note(url, failed.text)
                return None
        return None

    async def open(self, url: str, request: Request, limit_s: float) -> aiohttp.ClientResponse:
        """The head of an answer whose body may take for ever. Raises Failed."""
        return await self._http.open(url, request, limit_s)

    async def _pause(self, number: int, deadline_s: float) -> bool:
        """Wait before another round over the endpoints; False if there is no time left for it."""
        pause_s = CLIENT_ROUND_PAUSE_S * 2 ** (number - 1) * (0.5 + self._rng.random())
        if self._now_s() + pause_s >= deadline_s:
            return False
        await asyncio.sleep(pause_s)
        return True


def _path(request: Request) -> str:
    """What a request is about; without its query, which may hold a value."""
    return request.target.partition("?")[0]
