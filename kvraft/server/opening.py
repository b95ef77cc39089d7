"""From settings and a data directory to the state that a member begins with.

Whether there is a log decides: a member with one goes on where it ends, whatever the flags about
founding a cluster say; one without founds a cluster or joins one. Nothing is created before all
that can be checked has been. (server.md, sections 2 and 3.)
"""

from __future__ import annotations

import asyncio
import posixpath
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from kvraft import limits
from kvraft.errors import Locked, StorageError
from kvraft.raft.entry import NO_STATE
from kvraft.server import announcer, bootstrap, forcing, ids, joining, logs, membership, modes
from kvraft.server import config as configuration
from kvraft.server.ids import format_id
from kvraft.server.initial import with_first_members
from kvraft.server.joining import JoinError, RemovedError
from kvraft.server.modes import StartRefused, refused
from kvraft.storage import PosixFiles, Recovered, Storage
from kvraft.storage.starts import next_start
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.store import Store

if TYPE_CHECKING:
    from kvraft.api.service import MemberInfo
    from kvraft.raft.entry import Entry, HardState
    from kvraft.server.config import ServerConfig
    from kvraft.storage import Files, Identity
    from kvraft.transport.tls import ContextSource

_NOTHING_TO_FORCE = (
    "--force-new-cluster needs the data of a member, and %s holds none; give the --data-dir of the"
    " member that is to go on alone, or make a new one out of a backup: kvraft restore --help"
)

_log = logs.logger("etcdserver")


class Opened(NamedTuple):
    """What a member begins with.

    `founders` are named if this start founds the cluster, `known_members` if it joins one.
    """

    storage: Storage
    recovered: Recovered
    store: Store
    start: int
    founders: tuple[int, ...]
    known_members: tuple[MemberInfo, ...]


class _Ready(NamedTuple):
    """The same before its snapshot has been read."""

    storage: Storage
    recovered: Recovered
    founders: tuple[int, ...] = ()
    known_members: tuple[MemberInfo, ...] = ()


async def open_member(
    config: ServerConfig, context: ContextSource, files: Files | None = None
) -> Opened:
    """Open or create the data directory; `context` is for asking other members.

    Raises StartRefused, or ClusterFull where the flags lead to a cluster that others have filled.
    """
    try:
        return await _open(PosixFiles() if files is None else files, config, context)
    except Locked as error:
        raise modes.in_use(str(error)) from error
    except StorageError as error:
        raise refused(str(error), "etcdserver") from error


async def _open(files: Files, config: ServerConfig, context: ContextSource) -> Opened:
    exists = Storage.exists(files, config.data_dir, config.wal_dir)
    modes.make_data_dir(files, config.data_dir)
    if config.wal_dir and not exists:
        modes.make_wal_dir(files, config.wal_dir)
    if exists:
        found = _reopen(files, config)
    elif config.force_new_cluster:
        raise refused(_NOTHING_TO_FORCE % config.data_dir, "etcdserver")
    elif config.initial_cluster_state == "new":
        found = await _found_cluster(files, config, context)
    else:
        found = await _join(files, config, context)
    storage, recovered, founders, known_members = found
    try:
        store = restore(storage, recovered)
        if config.force_new_cluster:
            recovered = await _force(config, storage, recovered, store, context)
        elif exists and recovered.snapshot is None and not recovered.entries:
            known_members = await joining.known_again(
                config.initial_cluster, config.name, recovered.identity.cluster_id, context
            )
        if not founders:
            check_same_cluster(config, recovered, store)
        start = next_start(files, config.data_dir, int(time.time()))
    except BaseException:
        storage.close()
        raise
    return Opened(storage, recovered, store, start, founders, known_members)


# --- a member that has been here before -----------------------------------------------------


def _reopen(files: Files, config: ServerConfig) -> _Ready:
    modes.check_writable(files, config.data_dir, config.wal_dir)
    wal_dir = config.wal_dir or posixpath.join(config.data_dir, "member", "wal")
    ignored = "ignored since a cluster has already been initialized. Valid log found at"
    if config.discovery:
        _log.warning('discovery token %s "%s"', ignored, wal_dir)
    if config.discovery_srv:
        _log.warning('DNS SRV discovery %s "%s"', ignored, wal_dir)
    logs.emit(configuration.describe(config, bootstrapping=False))
    storage, recovered = Storage.open(files, config.data_dir, config.wal_dir)
    for note in recovered.repaired:
        _log.warning("%s", note)
    if config.force_new_cluster:
        return _Ready(storage, recovered)
    own, cluster = (format_id(i) for i in recovered.identity)
    commit = recovered.hard_state.commit
    _log.info("restarting member %s in cluster %s at commit index %d", own, cluster, commit)
    return _Ready(storage, recovered)


def restore(storage: Storage, recovered: Recovered) -> Store:
    """The store out of the newest snapshot. Raises Corrupt."""
    meta = recovered.snapshot
    if meta is None:
        return Store()
    try:
        return bootstrap.restore_store(storage.read_snapshot(meta))
    except CorruptSnapshot as error:
        raise storage.unreadable(meta, str(error)) from error


async def _force(
    config: ServerConfig,
    storage: Storage,
    recovered: Recovered,
    store: Store,
    context: ContextSource,
) -> Recovered:
    """Make this member the only one of its cluster, unless the others are still one."""
    probe = partial(forcing.ask_members, context=context)
    urls = config.initial_advertise_peer_urls
    try:
        return await forcing.force_new_cluster(storage, recovered, store, urls, probe)
    except forcing.ForcingRefused as error:
        raise refused(str(error), "etcdserver") from error


def check_same_cluster(config: ServerConfig, recovered: Recovered, store: Store) -> None:
    """Refuse the directory of another cluster, where the flags say which cluster is meant.

    Raises StartRefused.

    Bootstrap flags are otherwise without effect on a restart. A member that was added or moved
    while the cluster ran cannot be judged by them: its id does not follow from addresses.
    """
    named = {"initial-cluster", "initial-cluster-token"} & config.given
    if not named or config.initial_cluster_state != "new" or not config.initial_cluster:
        return
    own_id = recovered.identity.member_id
    if membership.was_changed(bootstrap.stored_records(recovered, store), own_id):
        return
    flag_urls = config.initial_cluster.get(config.name, ())
    for urls in (flag_urls, bootstrap.stored_peer_urls(recovered, store)):
        if ids.member_id(urls, config.initial_cluster_token) == own_id:
            return
    member, cluster = (format_id(i) for i in recovered.identity)
    raise refused(
        f"the data directory {config.data_dir} belongs to member {member} of cluster {cluster}, "
        "which is not the one that --initial-cluster and --initial-cluster-token describe; give "
        "another --data-dir, or the flags that this one was created with",
        "etcdserver",
    )


# --- a new member ---------------------------------------------------------------------------


async def _found_cluster(files: Files, config: ServerConfig, context: ContextSource) -> _Ready:
    """A member of a new cluster, unless its peers have seen it before."""
    config = await with_first_members(config)
    refusal = await asyncio.to_thread(configuration.check_new_cluster, config)
    if refusal is not None:
        raise StartRefused(*refusal.lines)
    founding = bootstrap.found(config.initial_cluster, config.initial_cluster_token, config.name)
    own_id = founding.identity.member_id
    others = [url for one in founding.members if one.id != own_id for url in one.peer_urls]
    if config.discovery:
        others = []  # the service knows who has registered before, and they do not serve yet
    probe_s = limits.BOOTSTRAP_PROBE_S
    if others and await joining.already_bootstrapped(own_id, others, probe_s, context):
        raise refused(f"member {format_id(own_id)} has already been bootstrapped")
    entries, hard_state = bootstrap.initial_entries(founding.members)
    storage = _create(files, config, founding.identity, entries, hard_state)
    recovered = Recovered(founding.identity, hard_state, None, entries, [])
    return _Ready(storage, recovered, tuple(member.id for member in founding.members))


async def _join(files: Files, config: ServerConfig, context: ContextSource) -> _Ready:
    """A member that was added to a running cluster: its log is empty, the leader fills it."""
    if config.discovery:
        raise refused("discovery URL should not be set when joining existing initial cluster")
    config = await with_first_members(config)
    refusal = configuration.check_joining(config)
    if refusal is not None:
        raise StartRefused(*refusal.lines)
    try:
        joined = await joining.join(config.initial_cluster, config.name, context)
    except RemovedError as error:
        announcer.tell_removal()
        raise StartRefused(code=0) from error
    except JoinError as error:
        raise refused(str(error)) from error
    storage = _create(files, config, joined.identity, [], NO_STATE)
    recovered = Recovered(joined.identity, NO_STATE, None, [], [])
    return _Ready(storage, recovered, known_members=joined.members)


def _create(
    files: Files,
    config: ServerConfig,
    identity: Identity,
    entries: list[Entry],
    hard_state: HardState,
) -> Storage:
    logs.emit(configuration.describe(config, bootstrapping=True))
    storage = Storage.create(files, config.data_dir, identity, entries, hard_state, config.wal_dir)
    own, cluster = (format_id(i) for i in identity)
    _log.info("starting member %s in cluster %s", own, cluster)
    return storage
