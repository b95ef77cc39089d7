"""How a member comes into being: founding a cluster, or returning from its data directory.

A new cluster's log begins with one entry per initial member, already committed, in the order of
their ids, so that all founders start from the same log without talking to each other.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from kvraft import limits
from kvraft.api.service import MemberInfo
from kvraft.raft.config import RaftConfig
from kvraft.raft.core import RaftCore
from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    Entry,
    EntryKind,
    HardState,
    decode_conf_change,
    encode_conf_change,
)
from kvraft.server import ids, membership
from kvraft.server.membership import Context
from kvraft.server.replica import Replica, ReplicaConfig
from kvraft.storage import Identity
from kvraft.store.codec import Restorer
from kvraft.store.store import Store
from kvraft.versions import CLUSTER_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kvraft.clock import Clock
    from kvraft.server.config import ServerConfig
    from kvraft.storage import Recovered
    from kvraft.store.machine import Machine

FIRST_TERM = 1
SNAPSHOT_KEEP_ENTRIES = 5000
"""Entries kept in memory behind a snapshot for followers that lag a little; as etcd 2.3."""


class Founding(NamedTuple):
    """What a new cluster's flags say about this member and all of them."""

    identity: Identity
    members: tuple[MemberInfo, ...]


def found(initial_cluster: Mapping[str, Sequence[str]], token: str, own_name: str) -> Founding:
    """Compute the ids of a new cluster from its flags."""
    members = sorted(
        MemberInfo(ids.member_id(urls, token), name, tuple(urls), ())
        for name, urls in initial_cluster.items()
    )
    own_id = next(member.id for member in members if member.name == own_name)
    cluster_id = ids.cluster_id(member.id for member in members)
    return Founding(Identity(own_id, cluster_id), tuple(members))


def initial_entries(members: Iterable[MemberInfo]) -> tuple[list[Entry], HardState]:
    """The log that every founder starts with."""
    entries = []
    for index, member in enumerate(sorted(members), 1):
        context = membership.encode_context(Context(member.peer_urls, member.name))
        change = ConfChange(ConfChangeKind.ADD_VOTER, member.id, context)
        data = encode_conf_change(change)
        entries.append(Entry(FIRST_TERM, index, EntryKind.CONFIG, data))
    return entries, HardState(term=FIRST_TERM, vote=0, commit=len(entries))


def raft_config(member_id: int, election_ticks: int) -> RaftConfig:
    """The core's settings; a tick is one heartbeat."""
    return RaftConfig(
        member_id=member_id,
        election_ticks=election_ticks,
        heartbeat_ticks=1,
        max_append_bytes=limits.MAX_APPEND_BYTES,
        max_inflight_appends=limits.MAX_INFLIGHT_APPENDS,
        max_inflight_bytes=limits.MAX_INFLIGHT_BYTES,
        max_uncommitted_bytes=limits.MAX_UNCOMMITTED_BYTES,
    )


def replica_config(config: ServerConfig) -> ReplicaConfig:
    """The replica's settings out of the server's."""
    return ReplicaConfig(
        name=config.name,
        client_urls=config.advertise_client_urls,
        tick_ms=config.heartbeat_ms,
        election_ticks=config.election_ticks,
        request_timeout_ms=config.request_timeout_ms,
        snapshot_count=config.snapshot_count,
        snapshot_keep_entries=SNAPSHOT_KEEP_ENTRIES,
        cluster_version=CLUSTER_VERSION,
        strict_reconfig=config.strict_reconfig_check,
    )


def restore_store(chunks: Iterable[bytes]) -> Store:
    """The store out of a snapshot's content. Raises CorruptSnapshot."""
    restorer = Restorer()
    for chunk in chunks:
        restorer.feed(chunk)
    return restorer.finish()


def stored_records(recovered: Recovered, store: Store) -> dict[bytes, bytes]:
    """The records that the data directory has of this member, whether committed or not."""
    own_id = recovered.identity.member_id
    records = dict(store.records())
    for entry in recovered.entries:
        if entry.kind == EntryKind.CONFIG:
            change = decode_conf_change(entry.data)
            context = membership.decode_context(change.context)
            if change.member == own_id and context is not None and context.peer_urls:
                for write in membership.writes_of(change, context, records.get):
                    records[write.path] = write.value
    return records


def stored_peer_urls(recovered: Recovered, store: Store) -> tuple[str, ...]:
    """Where this member could be reached as far as its data directory tells."""
    members = membership.members_from_records(stored_records(recovered, store))
    own = members.get(recovered.identity.member_id)
    return own.peer_urls if own is not None else ()


def build_replica(
    config: ReplicaConfig,
    core_config: RaftConfig,
    rng: random.Random,
    clock: Clock,
    incarnation: int,
    recovered: Recovered,
    store: Store,
    machine: Machine | None = None,
    log_clock: Clock | None = None,
) -> Replica:
    """A replica that goes on where the data directory ends; `store` is its snapshot's content.

    `log_clock`: see `Replica`. Raises as `Replica`.
    """
    snapshot = recovered.snapshot
    core = RaftCore(
        core_config,
        rng,
        hard_state=recovered.hard_state,
        snapshot=snapshot,
        entries=recovered.entries,
        applied=snapshot.index if snapshot is not None else 0,
    )
    return Replica(config, core, store, clock, incarnation, machine, log_clock)
