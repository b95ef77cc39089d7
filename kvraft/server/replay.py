"""The state behind a data directory, computed by the same code that a running member uses.

A replica that is never ticked and has nobody to talk to does nothing but apply what is committed.
So what the tools find is what a start would come to, and there is no second opinion on what an
entry means.
"""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgpack import unpackb

from kvraft.clock import ManualClock
from kvraft.limits import SNAPSHOT_CHUNK_NODES
from kvraft.raft.entry import Entry, EntryKind
from kvraft.server import bootstrap, membership
from kvraft.server.replica import ReplicaConfig
from kvraft.store.codec import MACHINE, NODES
from kvraft.store.request import Op, Request, decode_request
from kvraft.store.store import Store
from kvraft.versions import CLUSTER_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kvraft.server.replica import Replica
    from kvraft.storage import Recovered

_ELECTION_TICKS: Final = 10  # any: no tick is ever counted
_CONFIG: Final = ReplicaConfig(
    name="",
    client_urls=(),
    tick_ms=100,
    election_ticks=_ELECTION_TICKS,
    request_timeout_ms=1000,
    snapshot_count=1 << 62,
    snapshot_keep_entries=0,
    cluster_version=CLUSTER_VERSION,
)


class Census(NamedTuple):
    """What a snapshot holds."""

    keys: int
    directories: int
    with_ttl: int
    digest: bytes  # equal for equal stores


def replay(recovered: Recovered, store: Store, commit: int) -> Replica:
    """Apply the log to the store of its snapshot, up to an index that the log reaches."""
    hard_state = recovered.hard_state._replace(commit=commit)
    replica = bootstrap.build_replica(
        _CONFIG,
        bootstrap.raft_config(recovered.identity.member_id, _ELECTION_TICKS),
        random.Random(0),
        ManualClock(),
        1,
        recovered._replace(hard_state=hard_state),
        store,
    )
    while replica.applied_index < commit:
        work = replica.take_work()
        if work.persist is not None:
            replica.persisted(work.persist)
        assert work.committed or replica.busy(), "committed entries are missing"
        replica.apply(work.committed)
    return replica


def members_at(recovered: Recovered, store: Store, commit: int) -> Replica:
    """As `replay`, but of what concerns the members only: quick, and `store` is left alone."""
    records = Store()
    for name, value in store.records().items():
        if name.startswith(membership.SERVER_RECORDS):
            records.apply(Request(Op.PUT_RECORD, name, value, directory=True))
    entries = [
        entry if _concerns_members(entry) else entry._replace(data=b"")
        for entry in recovered.entries
    ]
    return replay(recovered._replace(entries=entries), records, commit)


def last_index(recovered: Recovered) -> int:
    """Where the log ends."""
    if recovered.entries:
        return recovered.entries[-1].index
    return recovered.snapshot.index if recovered.snapshot is not None else 0


def committed_index(recovered: Recovered, store: Store) -> int:
    """The last entry that is certain to be committed.

    The commit index on the disk lags behind. The only voter of a cluster has committed all that
    is durable, as nobody else is asked; if that includes a change of the members, up to there.
    """
    commit = recovered.hard_state.commit
    members = members_at(recovered, store, commit)
    if members.core.membership.voters != (recovered.identity.member_id,):
        return commit
    for entry in recovered.entries:
        if entry.index > commit:
            commit = entry.index
            if entry.kind == EntryKind.CONFIG:
                break
    return commit


def census(chunks: Iterable[bytes]) -> Census:
    """Count what the chunks of a snapshot hold; they have to be proved already."""
    keys = directories = with_ttl = 0
    digest = sha256()
    for chunk in chunks:
        kind, *parts = unpackb(chunk)
        if kind == MACHINE:
            continue  # its bytes may differ between equal members
        digest.update(chunk)
        if kind != NODES:
            continue
        rows: list[Any] = parts[0]
        for row in rows:
            if row is not None:
                is_file = len(row) == 5
                keys += is_file
                directories += not is_file
                with_ttl += row[-1] != 0
    return Census(keys, directories, with_ttl, digest.digest())


def census_of(store: Store) -> Census:
    """As `census`; the digest is the one that members with equal stores agree on."""
    return census(store.snapshot(comparable=True).chunks(SNAPSHOT_CHUNK_NODES))


def _concerns_members(entry: Entry) -> bool:
    if entry.kind == EntryKind.CONFIG or not entry.data:
        return True
    _, request = decode_request(entry.data)
    return request.op > Op.SYNC and request.path.startswith(membership.SERVER_RECORDS)
