"""Asking the members of a running cluster who they are, before this one takes part.

A member that joins takes its id and the cluster's from the others: they agreed on them when it was
added. A member that founds a cluster asks whether it has done so before, and lost its data since.
Both read the documents of the peer port, `/members` and `/version` (server, sections 3.1 and 3.6),
and of members of this kind who has called them.
"""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from kvraft import limits
from kvraft.api.service import MemberInfo
from kvraft.errors import KvraftError
from kvraft.server.announcer import release
from kvraft.server.ids import IdError, format_id, parse_id
from kvraft.server.peerdocument import read_body
from kvraft.server.urls import UrlError, parse_urls, resolve_host, same_urls
from kvraft.storage import Identity
from kvraft.transport.handshake import (
    REMOVED,
    STREAM_PATH,
    AnswerReader,
    HandshakeError,
    Hello,
    request_head,
)
from kvraft.versions import SERVER_VERSION

if TYPE_CHECKING:
    from kvraft.transport.tls import ContextSource

CALLERS_PATH = "/raft/callers"
"""Who has called a member since it was started; kvraft's own document."""
OLDEST_VERSION = "2.2.0"
"""What a cluster has to have agreed on at least for this version to take part."""
_REFUSES_STRANGER = 412  # a member of ours says so of a wrong cluster or a wrong recipient


class JoinError(KvraftError):
    """This member cannot take part; the text is for the operator."""


class RemovedError(JoinError):
    """The cluster has removed this member for good."""


class RemoteCluster(NamedTuple):
    """What a member says about its cluster; `version` is None while it is not decided.

    `callers`: the ids of the members that have called it since it was started.
    """

    cluster_id: int
    members: tuple[MemberInfo, ...]
    version: str | None
    callers: frozenset[int] = frozenset()

    def has_seen(self, member_id: int) -> bool:
        """Whether this member has taken part: its record says so, or it has called."""
        own = next((one for one in self.members if one.id == member_id), None)
        return own is not None and (bool(own.client_urls) or member_id in self.callers)


async def fetch_members(
    urls: Iterable[str], timeout_s: float, context: ContextSource | None
) -> RemoteCluster:
    """Ask one peer URL after the other, in their order as text; the first answer counts.

    `timeout_s` is for each of them, to be reached. Raises JoinError if none has answered.
    """
    for url in sorted(urls):
        found = await _ask(url, timeout_s, context)
        if found is not None:
            return found
    raise JoinError("could not retrieve cluster information from the given urls")


async def already_bootstrapped(
    own_id: int, urls: Iterable[str], timeout_s: float, context: ContextSource | None
) -> bool:
    """Whether any peer has seen a member of this id take part before.

    Each of them may lag behind, so what one knows counts, whatever the others say. All are asked
    at once: a peer that is down refuses at once, and only silence takes its time.
    """
    answers = await asyncio.gather(*(_ask(url, timeout_s, context) for url in sorted(set(urls))))
    return any(found is not None and found.has_seen(own_id) for found in answers)


class Joined(NamedTuple):
    """Who this member is, and whom it knows before it has read the log."""

    identity: Identity
    members: tuple[MemberInfo, ...]


async def join(
    initial_cluster: Mapping[str, Sequence[str]], own_name: str, context: ContextSource | None
) -> Joined:
    """Find out who this member is to the cluster that it was added to. Raises JoinError."""
    others = [url for name, urls in initial_cluster.items() if name != own_name for url in urls]
    remote, own = await _find_own(initial_cluster, own_name, others, context)
    if own.client_urls:
        # It has taken part before: votes and entries that others count on went with its disk.
        raise JoinError(f"member {format_id(own.id)} has already been bootstrapped")
    if remote.version is None or not (
        release(OLDEST_VERSION) <= release(remote.version) <= release(SERVER_VERSION)
    ):
        raise JoinError("incomptible with current running cluster")
    await _require_kin(remote, own.id, context)
    return Joined(Identity(own.id, remote.cluster_id), remote.members)


async def _find_own(
    initial_cluster: Mapping[str, Sequence[str]],
    own_name: str,
    others: Iterable[str],
    context: ContextSource | None,
) -> tuple[RemoteCluster, MemberInfo]:
    """The cluster as a peer knows it that knows of this member, too. Raises JoinError.

    A peer that has just been restarted, or is slow, may not have heard of it yet: if what one says
    does not fit, the next one is asked.
    """
    refusal: JoinError | None = None
    for url in sorted(others):
        remote = await _ask(url, limits.JOIN_TIMEOUT_S, context)
        if remote is None:
            continue
        try:
            # Host names may have to be looked up, which takes as long as it likes.
            own = await asyncio.to_thread(_match, initial_cluster, own_name, remote, resolve_host)
        except JoinError as error:
            refusal = refusal or error
        else:
            return remote, own
    raise refusal or JoinError(
        "cannot fetch cluster info from peer urls: "
        "could not retrieve cluster information from the given urls"
    )


async def known_again(
    initial_cluster: Mapping[str, Sequence[str]],
    own_name: str,
    cluster_id: int,
    context: ContextSource | None,
) -> tuple[MemberInfo, ...]:
    """Whom to dial for a member that was stopped before it had any part of the log.

    The others call a member that they know. One that has been removed meanwhile has to call them
    to learn it. Nobody, if none of them answers for this cluster.
    """
    others = [url for name, urls in initial_cluster.items() if name != own_name for url in urls]
    try:
        remote = await fetch_members(others, limits.BOOTSTRAP_PROBE_S, context)
    except JoinError:
        return ()
    return remote.members if remote.cluster_id == cluster_id else ()


def _match(
    initial_cluster: Mapping[str, Sequence[str]],
    own_name: str,
    remote: RemoteCluster,
    resolve: Callable[[str], str],
) -> MemberInfo:
    """The own place among the members; each of them must have the URLs that the flags name."""

    def refusal(why: str) -> JoinError:
        return JoinError(f"error validating peerURLs {_describe(remote)}: {why}")

    if len(initial_cluster) != len(remote.members):
        raise refusal("member count is unequal")
    own: MemberInfo | None = None
    left = list(remote.members)
    for name, urls in initial_cluster.items():
        found = next((one for one in left if same_urls(urls, one.peer_urls, resolve)), None)
        if found is None:
            raise refusal("unmatched member while checking PeerURLs")
        left.remove(found)
        if name == own_name:
            own = found
    assert own is not None, "the own name was looked for before"
    return own


def _describe(remote: RemoteCluster) -> str:
    members = " ".join(
        f"&{{ID:{format_id(one.id)} RaftAttributes:{{PeerURLs:[{' '.join(one.peer_urls)}]}} "
        f"Attributes:{{Name:{one.name} ClientURLs:[{' '.join(one.client_urls)}]}}}}"
        for one in remote.members
    )
    return f"{{ClusterID:{format_id(remote.cluster_id)} Members:[{members}] RemovedMemberIDs:[]}}"


# --- asking one peer ---------------------------------------------------------------------


async def _ask(url: str, timeout_s: float, context: ContextSource | None) -> RemoteCluster | None:
    """What this peer says; None if it cannot be reached or makes no sense."""
    try:
        async with asyncio.timeout(timeout_s):
            if not await _listens(url):
                return None
        await asyncio.to_thread(importlib.import_module, "aiohttp")
        # Somebody is there. What it says may keep a member that has lost its data from voting
        # again, so a slow answer is worth waiting for.
        async with asyncio.timeout(max(timeout_s, limits.MEMBERS_ANSWER_S)):
            return await _documents(url, context)
    except (OSError, TimeoutError, ValueError, RecursionError):
        return None


async def _listens(url: str) -> bool:
    """Whether anybody is there: the HTTP client takes long to load, and few starts need it."""
    target = urlsplit(url)
    try:
        _, writer = await asyncio.open_connection(target.hostname, target.port)
    except OSError:
        return False
    writer.close()
    return True


async def _documents(url: str, context: ContextSource | None) -> RemoteCluster | None:
    import aiohttp  # half of what the whole server takes to load

    ssl_context = context() if context is not None and url.startswith("https:") else True
    connector = aiohttp.TCPConnector(ssl=ssl_context)
    try:
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            async with session.get(f"{url}/members", allow_redirects=False) as answer:
                cluster_id = parse_id(answer.headers.get("X-Etcd-Cluster-ID", ""))
                members = read_members(await read_body(answer, limits.MAX_MEMBERS_BYTES))
            async with session.get(f"{url}/version", allow_redirects=False) as answer:
                version = read_version(await read_body(answer, limits.MAX_MEMBERS_BYTES))
            async with session.get(f"{url}{CALLERS_PATH}", allow_redirects=False) as answer:
                callers: frozenset[int] = frozenset()
                if answer.status == HTTPStatus.OK:  # etcd's members do not know this document
                    callers = read_callers(await read_body(answer, limits.MAX_MEMBERS_BYTES))
    except (aiohttp.ClientError, IdError):
        return None
    return RemoteCluster(cluster_id, members, version, callers)


def read_members(body: bytes) -> tuple[MemberInfo, ...]:
    """The members in the document of the peer port, by id. Raises ValueError."""
    document = json.loads(body)
    if not isinstance(document, list):
        raise ValueError("no list of members")
    members = []
    for item in document:
        if not isinstance(item, dict) or type(item.get("id")) is not int:
            raise ValueError("a member without an id")
        name = item.get("name", "")
        if not 0 < item["id"] < 1 << 64 or not isinstance(name, str):
            raise ValueError("a member with an impossible id or name")
        peer_urls = _urls(item.get("peerURLs"))
        members.append(MemberInfo(item["id"], name, peer_urls, _urls(item.get("clientURLs"))))
    return tuple(sorted(members))


def _urls(value: object) -> tuple[str, ...]:
    if value in (None, []):
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ValueError("URLs are no list of texts")
    try:
        return parse_urls(value)
    except UrlError as error:
        raise ValueError(str(error)) from error


def callers_document(callers: Iterable[int]) -> bytes:
    """The document of `CALLERS_PATH`."""
    return json.dumps({"callers": [format_id(member) for member in sorted(callers)]}).encode()


def read_callers(body: bytes) -> frozenset[int]:
    """The members in that document. Raises ValueError or IdError."""
    document = json.loads(body)
    callers = document.get("callers") if isinstance(document, dict) else None
    if not isinstance(callers, list) or not all(isinstance(one, str) for one in callers):
        raise ValueError("no list of callers")
    return frozenset(parse_id(one) for one in callers)


def read_version(body: bytes) -> str | None:
    """The cluster's version in the document of `/version`. Raises ValueError."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("no version")
    version = document.get("etcdcluster")
    return version if isinstance(version, str) and version[:1].isdigit() else None


# --- whether the others speak our language -----------------------------------------------


async def _require_kin(remote: RemoteCluster, own_id: int, context: ContextSource | None) -> None:
    """Raise JoinError if the members talk to each other in another way than this one does.

    Those of etcd serve the same documents, but expect etcd's own protocol behind them. Who cannot
    be asked is believed: the first contact decides then.
    """
    for member in remote.members:
        if member.id == own_id:
            continue
        for url in member.peer_urls:
            hello = Hello(remote.cluster_id, own_id, member.id)
            try:
                async with asyncio.timeout(limits.JOIN_TIMEOUT_S):
                    await _greet(url, hello, context)
            except HandshakeError as error:
                if error.status == REMOVED:
                    raise RemovedError("the member has been permanently removed") from None
                if error.status not in (0, _REFUSES_STRANGER):
                    raise JoinError(
                        f"the member at {url} is not of this kind (it answered {error.status}): "
                        "kvraft cannot be added to a cluster of etcd members; start a cluster of "
                        "its own and copy the keys"
                    ) from None
            except (OSError, TimeoutError):
                continue
            else:
                return


async def _greet(url: str, hello: Hello, context: ContextSource | None) -> None:
    """Open a stream and close it again. Raises HandshakeError if it is refused."""
    target = urlsplit(url)
    ssl_context = context() if context is not None and target.scheme == "https" else None
    reader, writer = await asyncio.open_connection(target.hostname, target.port, ssl=ssl_context)
    try:
        writer.write(request_head(STREAM_PATH, target.netloc, hello))
        answer = AnswerReader()
        while data := await reader.read(1 << 16):
            if answer.feed(data) is not None:
                return
        raise HandshakeError("connection closed")
    finally:
        writer.close()
