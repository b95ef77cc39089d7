"""`--force-new-cluster`: making one member of a lost cluster the only member of the same cluster.

Keys, etcd index and cluster id stay; all other members are removed, so that one that comes back
learns it. What the log holds behind its commit index is kept: a majority may have had it, and its
writer may have been told so, though this member did not hear of it any more. That is what an
election of this member by the others would have done (etcd drops it).

The decision is pure. What must be found out before, whether the others still form a cluster, is
asked by a probe: two halves that are forced independently would both go on as the same cluster.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft.limits import FORCE_PROBE_TIMEOUT_MS, PROBE_BODY_BYTES
from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    encode_conf_change,
)
from kvraft.server import logs, membership
from kvraft.server.ids import format_id, parse_id
from kvraft.server.membership import Context
from kvraft.server.peerdocument import read_body
from kvraft.server.replay import last_index, members_at
from kvraft.store.request import Op, Request, encode_request

if TYPE_CHECKING:
    import aiohttp

    from kvraft.api.service import MemberInfo
    from kvraft.server.replica import Replica
    from kvraft.storage import Recovered, Storage
    from kvraft.store.store import Store
    from kvraft.transport.tls import ContextSource

_log: Final = logs.logger("etcdserver")


LEADER_PATH: Final = "/raft/leader"


class Leading(NamedTuple):
    """Another member that answers, and says who leads."""

    member: int
    url: str
    leader: int


Probe = Callable[[int, Sequence["MemberInfo"]], Awaitable[list[Leading]]]
"""Given the cluster id and the other members: those that answer and have a leader."""


class ForcingRefused(Exception):
    """The cluster is not lost; the text says what to do instead."""


async def force_new_cluster(
    storage: Storage,
    recovered: Recovered,
    store: Store,
    peer_urls: Sequence[str],
    probe: Probe,
) -> Recovered:
    """Make the member that owns this data directory the only one; durable on return.

    `store` is that of the snapshot and stays as it is; `peer_urls` count only if none are stored.
    Raises ForcingRefused while other members have a leader, StorageError for a failing disk.
    """
    own_id = recovered.identity.member_id
    members = members_at(recovered, store, last_index(recovered)).members
    others = [info for member, info in members.items() if member != own_id]
    living = await probe(recovered.identity.cluster_id, others)
    if living:
        raise ForcingRefused(_advice(own_id, living))
    forced = forced_log(recovered, store, peer_urls)
    entries = forced.entries[len(recovered.entries) :]
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, storage.save, forced.hard_state, entries, True)
    own, cluster = (format_id(i) for i in recovered.identity)
    kept = last_index(recovered) - recovered.hard_state.commit
    if kept:
        _log.warning(
            "entries behind the commit index are kept, as their writers may have been answered: %d",
            kept,
        )
    commit = forced.hard_state.commit
    _log.info("forcing restart of member %s in cluster %s at commit index %d", own, cluster, commit)
    return forced


def forced_log(recovered: Recovered, store: Store, peer_urls: Sequence[str]) -> Recovered:
    """The log with what makes its owner the only member, all of it committed.

    The entries have a term of their own, so that none is taken for one that another member wrote
    at the same place.
    """
    own_id = recovered.identity.member_id
    index = last_index(recovered)
    before = members_at(recovered, store, index)
    term = recovered.hard_state.term + 1
    entries = list(recovered.entries)
    for payload in _changes(before, own_id, peer_urls):
        index += 1
        kind = EntryKind.NORMAL if isinstance(payload, Request) else EntryKind.CONFIG
        data = (
            encode_request(0, payload)
            if isinstance(payload, Request)
            else encode_conf_change(payload)
        )
        entries.append(Entry(term, index, kind, data))
    state = HardState(term, own_id, index)
    forced = recovered._replace(entries=entries, hard_state=state)
    after = members_at(forced, store, index)
    assert list(after.members) == [own_id], after.members
    assert after.core.membership == ((own_id,), ()), after.core.membership
    return forced


def _changes(before: Replica, own_id: int, peer_urls: Sequence[str]) -> list[ConfChange | Request]:
    """What has to be written, in an order in which each step is possible when its turn comes: a
    cluster never loses its last voter, and no two members have an address in common."""
    changes: list[ConfChange | Request] = []
    voters = before.core.membership.voters
    others = sorted(set(before.members) - {own_id})
    if own_id not in before.members:
        if before.is_removed(own_id):
            changes.append(Request(Op.DELETE_RECORD, membership.removal_record(own_id)))
        for member in others:
            if not set(before.members[member].peer_urls).isdisjoint(peer_urls):
                changes.append(_change(ConfChangeKind.UPDATE, member, ()))
        changes.append(_change(ConfChangeKind.ADD_LEARNER, own_id, peer_urls))
    if own_id not in voters:
        changes.append(ConfChange(ConfChangeKind.PROMOTE, own_id, b""))
    changes += [ConfChange(ConfChangeKind.REMOVE, member, b"") for member in others]
    return changes


async def ask_members(
    cluster_id: int, others: Sequence[MemberInfo], context: ContextSource
) -> list[Leading]:
    """The probe for members on the network; `context` is for those at https URLs."""
    import aiohttp  # half of what the whole server takes to load

    timeout = aiohttp.ClientTimeout(total=FORCE_PROBE_TIMEOUT_MS / 1000)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        answers = await asyncio.gather(
            *(
                _ask(session, cluster_id, info.id, url, context)
                for info in others
                for url in info.peer_urls
            )
        )
    return [answer for answer in answers if answer is not None]


async def _ask(
    session: aiohttp.ClientSession,
    cluster_id: int,
    member: int,
    url: str,
    context: ContextSource,
) -> Leading | None:
    """What one member says; None if it cannot be reached, is of another cluster or leaderless."""
    import aiohttp

    tls = context() if url.startswith("https:") else True
    try:
        async with session.get(url + LEADER_PATH, ssl=tls, allow_redirects=False) as answer:
            cluster = answer.headers.get("X-Etcd-Cluster-Id", "")
            document = json.loads(await read_body(answer, PROBE_BODY_BYTES))
            if parse_id(cluster) != cluster_id or not document["leader"]:
                return None
            return Leading(member, url, parse_id(document["leader"]))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, TypeError, LookupError):
        return None


def _change(kind: ConfChangeKind, member: int, peer_urls: Sequence[str]) -> ConfChange:
    return ConfChange(kind, member, membership.encode_context(Context(tuple(peer_urls))))


def _advice(own_id: int, living: Sequence[Leading]) -> str:
    where = ", ".join(f"{format_id(found.member)} ({found.url})" for found in living)
    leader = format_id(living[0].leader)
    own = format_id(own_id)
    return (
        f"--force-new-cluster refused: the cluster is not lost. Of its members {where} answered and"
        f" follow leader {leader}; a second cluster with the same id would part the data in two."
        f" Start this member without the flag. If its data are damaged: etcdctl member remove"
        f" {own}, empty its data directory, etcdctl member add. If the others are to be given up,"
        " stop them first"
    )
