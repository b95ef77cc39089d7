"""A new cluster out of a backup: same keys, same indices, other ids.

Every founder restores the same file with the same flags, each under its own name. Their ids follow
from the flags and from what the file holds, so that all come to the same cluster without talking
to each other, and to another one than the backup was taken from: a member of that one that still
runs somewhere is refused as a stranger.

Keys, their indices and TTLs, the history of events, users and roles are kept; who the members were
is not. All founders begin with the same snapshot and an empty log.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvraft.errors import Corrupt
from kvraft.raft.entry import HardState, Membership, SnapshotMeta
from kvraft.server import bootstrap, membership
from kvraft.server.replay import Census, census
from kvraft.storage import Storage
from kvraft.storage.backups import BackupInfo, SavedState, open_state
from kvraft.store.codec import Restorer, with_records
from kvraft.store.errors import CorruptSnapshot

if TYPE_CHECKING:
    from kvraft.server.bootstrap import Founding
    from kvraft.storage import Files


class Proved(NamedTuple):
    """A saved state that was read to its end and found right."""

    info: BackupInfo
    census: Census
    etcd_index: int


def prove(files: Files, path: str) -> Proved:
    """Read a backup or a snapshot file, and build the store that it describes.

    Raises Corrupt or ForeignData.
    """
    state = open_state(files, path)
    restorer = Restorer()
    try:
        found = census(_fed(state.chunks(), restorer))
        store = restorer.finish()
    except CorruptSnapshot as error:
        advice = "this file cannot be used: take an older backup"
        raise Corrupt(path, 0, str(error), advice) from error
    finally:
        state.close()
    info = state.info
    if info.etcd_index not in (None, store.index):
        raise Corrupt(path, 0, "the head tells another etcd index than the keys", "take another")
    if not (info.meta.index and info.meta.term):
        raise Corrupt(path, 0, "nothing had been written yet", "start a new cluster instead")
    return Proved(info, found, store.index)


def restored_cluster(
    proved: Proved, initial_cluster: Mapping[str, Sequence[str]], token: str, name: str
) -> Founding:
    """The ids of the members of the restored cluster."""
    info = proved.info
    origin = f"{info.cluster_id:x} {info.meta.index} {proved.census.digest.hex()}"
    return bootstrap.found(initial_cluster, f"{token}\n{origin}", name)


def restore(
    files: Files,
    path: str,
    proved: Proved,
    founding: Founding,
    data_dir: str,
    wal_dir: str | None = None,
) -> None:
    """Make the data directory of one founder; durable on return.

    Raises Corrupt if there is a member already, and what the disk raises; leaves nothing then.
    """
    voters = tuple(member.id for member in founding.members)
    meta = SnapshotMeta(proved.info.meta.index, proved.info.meta.term, Membership(voters, ()))
    state = open_state(files, path)
    try:
        storage = Storage.create_behind(
            files,
            data_dir,
            founding.identity,
            meta,
            _rewritten(state, founding),
            [],
            HardState(meta.term, 0, meta.index),
            wal_dir,
        )
    finally:
        state.close()
    storage.close()


def _rewritten(state: SavedState, founding: Founding) -> Iterator[bytes]:
    def edit(records: dict[bytes, bytes]) -> dict[bytes, bytes]:
        kept = {n: v for n, v in records.items() if not membership.is_member_record(n)}
        return {**kept, **_records(founding)}

    return with_records(state.chunks(), edit)


def _records(founding: Founding) -> dict[bytes, bytes]:
    """The founders as records; marked, since their ids do not follow from the flags alone."""
    return {
        membership.base_record(member.id): json.dumps(
            {"peerURLs": list(member.peer_urls), "name": member.name, "changed": True}
        ).encode()
        for member in founding.members
    }


def _fed(chunks: Iterable[bytes], restorer: Restorer) -> Iterator[bytes]:
    for chunk in chunks:
        restorer.feed(chunk)
        yield chunk
