"""How an embedded member begins: with what it has, as a founder, or as one that was added.

Among members of one process nobody has to be asked over a network, so this is short; members that
reach each other by sockets go the way of the server (`server/opening.py`). All calls here block as
long as the disk does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kvraft.raft.entry import NO_STATE
from kvraft.server import bootstrap
from kvraft.server.opening import Opened, restore
from kvraft.storage import Identity, Recovered, Storage
from kvraft.storage.files import make_dirs
from kvraft.storage.starts import next_start

if TYPE_CHECKING:
    from kvraft.api.service import MemberInfo
    from kvraft.raft.entry import Entry, HardState
    from kvraft.storage import Files


class Origin(NamedTuple):
    """What a member without data begins with."""

    identity: Identity
    entries: list[Entry]
    hard_state: HardState
    founders: tuple[int, ...] = ()
    known_members: tuple[MemberInfo, ...] = ()


def founder(urls: Mapping[str, Sequence[str]], token: str, name: str) -> Origin:
    """One of the members that found a cluster; all get the same log from the same arguments."""
    founding = bootstrap.found(urls, token, name)
    entries, hard_state = bootstrap.initial_entries(founding.members)
    founders = tuple(member.id for member in founding.members)
    return Origin(founding.identity, entries, hard_state, founders)


def newcomer(identity: Identity, members: Sequence[MemberInfo]) -> Origin:
    """A member that was added to a running cluster: the leader fills its log."""
    return Origin(identity, [], NO_STATE, known_members=tuple(members))


def open_storage(files: Files, data_dir: str, origin: Origin, segment_bytes: int) -> Opened:
    """Open what is there, or create it. Raises StorageError, Locked if somebody else has it."""
    if Storage.exists(files, data_dir):
        storage, recovered = Storage.open(files, data_dir, segment_bytes=segment_bytes)
        return _opened(files, data_dir, storage, recovered, (), origin.known_members)
    make_dirs(files, data_dir)
    identity, entries, state, founders, known_members = origin
    storage = Storage.create(files, data_dir, identity, entries, state, segment_bytes=segment_bytes)
    recovered = Recovered(identity, state, None, entries, [])
    return _opened(files, data_dir, storage, recovered, founders, known_members)


def reopen_storage(files: Files, data_dir: str) -> Opened | None:
    """Open what is there; None if there is nothing, or a member that never heard of the others.

    For members that reach the others by sockets, and then have to ask them. Raises as
    `open_storage`.
    """
    if not Storage.exists(files, data_dir):
        return None
    storage, recovered = Storage.open(files, data_dir)
    if recovered.snapshot is None and not recovered.entries:
        storage.close()
        return None
    return _opened(files, data_dir, storage, recovered, (), ())


def _opened(
    files: Files,
    data_dir: str,
    storage: Storage,
    recovered: Recovered,
    founders: tuple[int, ...],
    known_members: tuple[MemberInfo, ...],
) -> Opened:
    try:
        store = restore(storage, recovered)
        start = next_start(files, data_dir, int(time.time()))
    except BaseException:
        storage.close()
        raise
    return Opened(storage, recovered, store, start, founders, known_members)
