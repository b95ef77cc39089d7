"""The asyncio client of a cluster that speaks the v2 API, be it kvraft or etcd 2.x and 3.4.

    async with kvraft.Client(["http://10.0.0.1:2379", "http://10.0.0.2:2379"]) as client:
        await client.set("/config/color", "blue")
        async with client.watch("/config", recursive=True) as events:
            async for event in events:
                ...

What may go wrong is told by the class of the exception (see `kvraft.client.errors`), and what is
tried again by the table in `kvraft.client.endpoints`.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections.abc import Callable, Sequence
from typing import Any, Final, Self
from weakref import WeakSet

import aiohttp

from kvraft.client import answers, requests
from kvraft.client.answers import Answer, understood
from kvraft.client.auth import Auth
from kvraft.client.changes import KeyChanges
from kvraft.client.dispatch import Dispatcher, Settings
from kvraft.client.endpoints import Endpoints, normal_url, origin_of
from kvraft.client.errors import ClientError, ReadFailed
from kvraft.client.http import Http, basic, origins
from kvraft.client.model import MemberRecord, Result
from kvraft.client.requests import Request
from kvraft.client.watcher import Watch
from kvraft.limits import CLIENT_PARSE_INLINE_BYTES, CLIENT_ROUNDS, CLIENT_SYNC_INTERVAL_S

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:2379"


class Client(KeyChanges):
    """A connection to a cluster, for use within one event loop.

    `endpoints` are client URLs of members or proxies, as a sequence or as one text with commas.
    `timeout_s` holds for one call with all its tries, `connect_timeout_s` for one connection;
    `attempt_timeout_s`, if given, for one try. With `sync_endpoints` the members are asked for
    their client URLs before the first call and once a minute; the endpoints given stay as a last
    resort.

    TLS: either a context, or files (`ca_file` to check the servers with instead of the system's
    authorities, `cert_file` and `key_file` to show them). Credentials go to the endpoints and to
    the members' own URLs only, never to where somebody else redirects.

    `connector` replaces the connections themselves (it is not closed with the client); `rng` makes
    the choice of endpoints repeatable.

    Text is UTF-8. A value that is not comes back with U+FFFD in place of each bad byte, as the
    servers send it; values may be given as bytes.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout_s: float = 5.0,
        connect_timeout_s: float = 1.0,
        attempt_timeout_s: float | None = None,
        sync_endpoints: bool = False,
        connector: aiohttp.BaseConnector | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Connects to nothing yet. Raises ValueError for settings that contradict each other."""
        self._rng = rng or random.Random()
        self._endpoints = Endpoints(requests.url_list(endpoints), self._rng)
        self._given = self._endpoints.urls
        self._settings = Settings(timeout_s, connect_timeout_s, attempt_timeout_s)
        self._authorization = _authorization(username, password)
        self._tls = _context(tls, ca_file, cert_file, key_file)
        self._connector = connector
        self._origins = origins(self._given)
        self._sync_due_s: float | None = 0.0 if sync_endpoints else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._http: Http | None = None
        self._dispatcher: Dispatcher | None = None
        self._closed = False
        self._watches: WeakSet[Watch] = WeakSet()
        self.auth = Auth(self._call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all watches, close all connections. May be called more than once."""
        self._closed = True
        for watch in list(self._watches):
            await watch.aclose()
        if self._http is not None:
            await self._http.close()

    @property
    def endpoints(self) -> list[str]:
        """The endpoints in the order in which the next call tries them."""
        return self._endpoints.urls

    # --- keys ---------------------------------------------------------------------------

    async def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        """Read a key, or a directory with its children (`recursive`: with all below it).

        Without `quorum` one member answers from what it has: that may be behind, but never goes
        back on the same member. With it, the answer holds everything that was written before.
        Raises KeyNotFound, NotADirectory, ReadFailed.
        """
        request = requests.get(key, recursive=recursive, sorted_=sorted, quorum=quorum)
        return await self._perform(request)

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> Watch:
        """Follow the changes of a key, or with `recursive` of everything below it.

            async with client.watch("/services", recursive=True) as events:
                async for event in events:
                    if isinstance(event, Resync):
                        state = event.node      # events were lost: start over from here
                    else:
                        ...                     # event.action, event.node, event.prev_node

        Yields each change once, in order. The first one is the first above `after_index`; without
        it, the first after the watch has begun, which is when the `async with` is entered or the
        first event is asked for. With `initial` the present tree comes first, as a Resync.

        A watch survives the failure of members, and goes on as long as it takes. If events cannot
        be had any more, it says so and yields a Resync with the tree to go on from. It raises only
        what waiting cannot cure: Unauthorized, and other refusals.
        """
        watch = Watch(
            self._ready,
            key,
            recursive=recursive,
            after_index=after_index,
            initial=initial,
            rng=self._rng,
            on_close=self._watches.discard,
        )
        self._watches.add(watch)
        return watch

    # --- members ------------------------------------------------------------------------

    async def members(self) -> list[MemberRecord]:
        """All members of the cluster, as one of them knows it."""
        answer = await self._call(requests.read("/v2/members"))
        with understood(answer):
            return answers.members_of(answers.document_of(answer, "members"))

    async def leader(self) -> MemberRecord | None:
        """The member that leads; None while there is none."""
        answer = await self._call(requests.read("/v2/members/leader", 503))
        if answer.status == 503:
            return None
        with understood(answer):
            return answers.member_of(answers.document_of(answer, "members"))

    async def add_member(self, peer_urls: str | Sequence[str]) -> MemberRecord:
        """Add a member that will be reached at these peer URLs. Raises MembershipError."""
        document = {"peerURLs": requests.url_list(peer_urls)}
        answer = await self._call(requests.change("POST", "/v2/members", document))
        with understood(answer, changes=True):
            return answers.member_of(answers.document_of(answer, "members"))

    async def update_member(self, id: str, peer_urls: str | Sequence[str]) -> None:  # noqa: A002
        """Replace the peer URLs of a member. Raises MembershipError."""
        target = requests.name_target("/v2/members", id)
        document = {"peerURLs": requests.url_list(peer_urls)}
        answer = await self._call(requests.change("PUT", target, document))
        answers.accepted(answer, "members")

    async def remove_member(self, id: str) -> None:  # noqa: A002
        """Remove a member for good. Raises MembershipError."""
        target = requests.name_target("/v2/members", id)
        answers.accepted(await self._call(requests.change("DELETE", target)), "members")

    # --- the servers themselves ---------------------------------------------------------

    async def version(self) -> dict[str, Any]:
        """Versions of the server and of the cluster: `etcdserver`, `etcdcluster`."""
        return await self._document("/version")

    async def health(self, endpoint: str | None = None) -> bool:
        """Whether an endpoint can serve writes; without an argument, whether any can."""
        request = requests.read("/health", 503)
        only = None if endpoint is None else [normal_url(endpoint)]
        try:
            answer = await self._call(request, only=only, settled=answers.is_healthy, rounds=1)
        except ReadFailed:
            return False
        return answers.is_healthy(answer)

    async def self_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """What a member says of its role, its leader and their traffic."""
        return await self._document("/v2/stats/self", endpoint)

    async def store_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """How often a member has carried out which operation."""
        return await self._document("/v2/stats/store", endpoint)

    async def leader_stats(self) -> dict[str, Any]:
        """Latencies and failures of the leader towards each follower.

        Raises ReadFailed if the leader is none of the endpoints, and not found through them.
        """
        leader = await self.leader()
        urls = [] if leader is None else list(leader.client_urls)
        request = requests.read("/v2/stats/leader")
        candidates = [*urls, *(url for url in self.endpoints if url not in urls)]
        answer = await self._call(
            request, only=candidates, settled=lambda answer: answer.status == 200
        )
        with understood(answer):
            return answers.document_of(answer)

    # --- calls --------------------------------------------------------------------------

    async def _perform(self, request: Request) -> Result:
        answer = await self._call(request)
        with understood(answer, request.changes):
            if len(answer.body) <= CLIENT_PARSE_INLINE_BYTES:
                return answers.result_of(answer)
            # Long enough to be felt; in a thread, the loop gets its turns in between.
            return await asyncio.to_thread(answers.result_of, answer)

    async def _document(self, target: str, endpoint: str | None = None) -> dict[str, Any]:
        only = None if endpoint is None else [normal_url(endpoint)]
        answer = await self._call(requests.read(target), only=only)
        with understood(answer):
            return answers.document_of(answer)

    async def _call(
        self,
        request: Request,
        *,
        only: Sequence[str] | None = None,
        settled: Callable[[Answer], bool] | None = None,
        rounds: int = CLIENT_ROUNDS,
    ) -> Answer:
        dispatcher = await self._ready()
        return await dispatcher.call(request, only=only, settled=settled, rounds=rounds)

    async def _ready(self) -> Dispatcher:
        """The dispatcher, with endpoints that are not out of date."""
        dispatcher = self._open()
        now_s = asyncio.get_running_loop().time()
        if self._sync_due_s is not None and now_s >= self._sync_due_s:
            self._sync_due_s = now_s + CLIENT_SYNC_INTERVAL_S
            try:
                await self.sync()
            except ClientError:
                pass  # whoever cannot list the members may still serve keys
        return dispatcher

    async def sync(self) -> list[str]:
        """Ask the members for their client URLs and use them from now on; those URLs.

        If an endpoint was given as https, only such URLs count. What was given stays in use:
        members may advertise addresses that are not reachable from here.
        """
        answer = await self._open().call(requests.read("/v2/members"))
        with understood(answer):
            members = answers.members_of(answers.document_of(answer, "members"))
        secure = any(url.startswith("https:") for url in self._given)
        found = []
        for url in dict.fromkeys(url for member in members for url in member.client_urls):
            if url.startswith("https://" if secure else ("http://", "https://")):
                found.append(url.rstrip("/"))
        if found:
            self._endpoints.replace([*found, *self._given])
            self._origins = origins(self._endpoints.urls)
        return found

    def _open(self) -> Dispatcher:
        if self._closed:
            raise RuntimeError("the client is closed")
        loop = asyncio.get_running_loop()
        if self._dispatcher is None:
            self._loop = loop
            self._http = Http(
                authorization=self._authorization,
                tls=self._tls,
                connect_timeout_s=self._settings.connect_timeout_s,
                connector=self._connector,
                trusted=lambda url: origin_of(url) in self._origins,
            )
            self._dispatcher = Dispatcher(self._http, self._endpoints, self._settings, self._rng)
        elif loop is not self._loop:
            raise RuntimeError(
                "a Client belongs to the event loop that used it first; "
                "make one for each loop, or use SyncClient"
            )
        return self._dispatcher


def _authorization(username: str | None, password: str | None) -> str:
    if username is None:
        if password is not None:
            raise ValueError("a password is given, but no username")
        return ""
    return basic(username, password or "")


def _context(
    tls: ssl.SSLContext | None, ca_file: str | None, cert_file: str | None, key_file: str | None
) -> ssl.SSLContext | None:
    """The context to use; None for the default one. Raises ValueError, OSError, ssl.SSLError."""
    if tls is not None:
        if ca_file or cert_file or key_file:
            raise ValueError("give either a TLS context or files, not both")
        return tls
    if key_file and not cert_file:
        raise ValueError("key_file is given, but no cert_file")
    if not (ca_file or cert_file):
        return None
    for path in filter(None, (ca_file, cert_file, key_file)):
        with open(path, "rb"):
            pass  # the ssl module does not say which file is missing; this does
    context = ssl.create_default_context(cafile=ca_file)
    if cert_file:
        context.load_cert_chain(cert_file, key_file)
    return context
