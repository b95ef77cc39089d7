"""One process's life: which mode it starts in, what is started and stopped in which order.

The data directory decides what the process is, before any flag does. Errors that end a start are
logged where they are noticed; `run` only turns them into an exit code.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from kvraft import limits
from kvraft.api.guards import Guards
from kvraft.api.listening import Listener, listen
from kvraft.api.port import ClientPort
from kvraft.clock import SystemClock
from kvraft.errors import Corrupt, StorageError
from kvraft.raft.entry import NO_STATE
from kvraft.server import announcer, bootstrap, ids, joining, logs, membership
from kvraft.server import config as configuration
from kvraft.server.certificates import Certificates
from kvraft.server.collector import Collector
from kvraft.server.ids import format_id
from kvraft.server.joining import JoinError, RemovedError
from kvraft.server.member import Member
from kvraft.server.urls import address
from kvraft.storage import Files, Identity, PosixFiles, Recovered, Storage
from kvraft.storage.starts import next_start
from kvraft.store.errors import CorruptSnapshot
from kvraft.store.store import Store
from kvraft.transport.tls import TlsError

if TYPE_CHECKING:
    from kvraft.api.service import MemberInfo
    from kvraft.server.config import ServerConfig
    from kvraft.transport.tls import ContextSource

DRAIN_SECONDS = 0.5
"""How long requests may take to finish when the member stops."""

_log = logs.logger("etcdserver")
_main_log = logs.logger("etcdmain")


class Refused(Exception):
    """The member cannot start; the lines that say why are logged already."""

    def __init__(self, code: int = 1) -> None:
        super().__init__(code)
        self.code = code


class _Opened(NamedTuple):
    """A data directory that is ready; `founders` where this start has created it for a new
    cluster, `known_members` where it has created it to join one."""

    storage: Storage
    recovered: Recovered
    founders: tuple[int, ...] = ()
    known_members: tuple[MemberInfo, ...] = ()


async def run(config: ServerConfig) -> int | signal.Signals:
    """Run a member until a signal or a failure; the exit code, or the signal."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int | signal.Signals] = loop.create_future()

    def end(how: int | signal.Signals) -> None:
        if not ended.done():
            ended.set_result(how)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        _check_available(config)
        server = await start_member(
            config, lambda error: fatal(error, end), on_removed=lambda: end(0)
        )
    except Refused as refused:
        return refused.code
    loop.add_signal_handler(signal.SIGHUP, server.certificates.look)
    how = await ended
    if isinstance(how, signal.Signals):
        name = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminated"}[how]
        logs.logger("osutil").log(logs.NOTICE, "received %s signal, shutting down...", name)
        await server.member.transfer_leadership()
    await server.stop()
    return how


def _check_available(config: ServerConfig) -> None:
    """Refuse what would need a function that is not there, rather than run without it."""
    wanted = {
        "discovery": config.discovery,
        "discovery-srv": config.discovery_srv,
        "proxy": config.proxy != "off",
        "force-new-cluster": config.force_new_cluster,
    }
    for name in [name for name, given in wanted.items() if given]:
        _main_log.critical("flag -%s is not supported yet", name)
        raise Refused


def fatal(error: BaseException, end: Callable[[int | signal.Signals], None]) -> None:
    """Something that the member cannot live with: say so and stop, acknowledging nothing more."""
    _log.critical("%s", error, exc_info=None if isinstance(error, StorageError) else error)
    logging.shutdown()
    if isinstance(error, StorageError):
        # What is on the disk is unknown now: no orderly stop may write to it again.
        os._exit(1)
    end(1)


class MemberServer:
    """A member with its client port."""

    def __init__(
        self, member: Member, guards: Guards, certificates: Certificates, *, alone: bool = True
    ) -> None:
        self.member = member
        self.certificates = certificates
        self._port = ClientPort(member, asyncio.get_running_loop(), guards)
        self._listeners: list[Listener] = []
        self._collector = Collector() if alone else None

    async def start(self, config: ServerConfig) -> None:
        """Open both ports. Raises OSError for an address that cannot be used."""
        await self.member.start(config.listen_peer_urls)
        loop = asyncio.get_running_loop()
        for url in config.listen_client_urls:
            where = address(url)
            context = self.certificates.client.listener(url)
            self._listeners.append(
                await listen(loop, self._port.connection, where.host, where.port, context)
            )
            _main_log.info("listening for client requests on %s", url)
        self._port.start()
        if self._collector is not None:
            self._collector.start()
        self.certificates.start()

    async def stop(self) -> None:
        """Let clients finish, then stop the member."""
        for listener in self._listeners:
            listener.close()
        await self._port.drain(DRAIN_SECONDS)
        await self.member.stop()
        await self.certificates.stop()
        if self._collector is not None:
            self._collector.stop()


async def start_member(
    config: ServerConfig,
    on_fatal: Callable[[BaseException], None],
    *,
    on_removed: Callable[[], None],
    alone: bool = True,
) -> MemberServer:
    """Start a member and open its ports. Raises Refused.

    `on_removed` is called when the member has been removed from its cluster and may end now;
    `alone` says that the process is there for the member only, and may be tuned to it.
    """
    try:
        certificates = Certificates(config)
    except TlsError as error:
        _main_log.critical("%s", error)
        raise Refused from error
    try:
        opened = await _open(config, certificates.peer.client_context)
        storage, recovered, founders, known_members = opened
        store = _restore(storage, recovered)
        start = next_start(PosixFiles(), config.data_dir, int(time.time()))
        if not founders:
            _check_same_cluster(config, recovered, store)
    except StorageError as error:
        _log.critical("%s", error)
        raise Refused from error
    identity = recovered.identity
    clock = SystemClock()
    replica = bootstrap.build_replica(
        bootstrap.replica_config(config),
        bootstrap.raft_config(identity.member_id, config.election_ticks),
        random.Random(),
        clock,
        start,
        recovered,
        store,
    )
    member = Member(
        identity,
        replica,
        storage,
        clock,
        on_fatal=on_fatal,
        max_snapshots=config.max_snapshots,
        max_wals=config.max_wals,
        tls=certificates.peer,
        on_removed=on_removed,
        known_members=known_members,
    )
    server = MemberServer(member, _guards(config), certificates, alone=alone)
    try:
        await server.start(config)
    except OSError as error:
        _main_log.critical("%s", error.strerror or error)
        await server.stop()
        raise Refused from error
    if founders:
        member.campaign_when_new(founders)
    else:
        member.campaign_when_alone()
    return server


def _guards(config: ServerConfig) -> Guards:
    """Names by which clients may call this member, beside addresses."""
    names = {address(url).host for url in config.advertise_client_urls}
    names |= {socket.gethostname(), *config.host_whitelist}
    return Guards(names, config.cors, strict=bool(config.host_whitelist))


async def _open(config: ServerConfig, context: ContextSource) -> _Opened:
    """The data directory, created if there is none."""
    files = PosixFiles()
    exists = Storage.exists(files, config.data_dir, config.wal_dir)
    logs.emit(configuration.describe(config, bootstrapping=not exists))
    if exists:
        return _reopen(files, config)
    joins = config.initial_cluster_state != "new"
    check = configuration.check_joining if joins else configuration.check_new_cluster
    refusal = check(config)
    if refusal is not None:
        configuration.report(refusal, sys.stdout, sys.stderr)
        raise Refused
    return await (_join if joins else _found)(files, config, context)


async def _found(files: Files, config: ServerConfig, context: ContextSource) -> _Opened:
    """A member of a new cluster, unless its peers have seen it before."""
    founding = bootstrap.found(config.initial_cluster, config.initial_cluster_token, config.name)
    own_id = founding.identity.member_id
    others = [url for one in founding.members if one.id != own_id for url in one.peer_urls]
    probe_s = limits.BOOTSTRAP_PROBE_S
    if others and await joining.already_bootstrapped(own_id, others, probe_s, context):
        _main_log.critical("member %s has already been bootstrapped", format_id(own_id))
        raise Refused
    entries, hard_state = bootstrap.initial_entries(founding.members)
    storage = Storage.create(
        files, config.data_dir, founding.identity, entries, hard_state, config.wal_dir
    )
    _log_start(founding.identity)
    recovered = Recovered(founding.identity, hard_state, None, entries, [])
    return _Opened(storage, recovered, tuple(member.id for member in founding.members))


async def _join(files: Files, config: ServerConfig, context: ContextSource) -> _Opened:
    """A member that was added to a running cluster: its log is empty, the leader fills it."""
    try:
        if config.discovery:
            text = "discovery URL should not be set when joining existing initial cluster"
            raise JoinError(text)
        joined = await joining.join(config.initial_cluster, config.name, context)
    except RemovedError as error:
        announcer.tell_removal()
        raise Refused(0) from error
    except JoinError as error:
        _main_log.critical("%s", error)
        raise Refused from error
    storage = Storage.create(files, config.data_dir, joined.identity, [], NO_STATE, config.wal_dir)
    _log_start(joined.identity)
    recovered = Recovered(joined.identity, NO_STATE, None, [], [])
    return _Opened(storage, recovered, known_members=joined.members)


def _log_start(identity: Identity) -> None:
    own, cluster = (format_id(i) for i in identity)
    _log.info("starting member %s in cluster %s", own, cluster)


def _reopen(files: Files, config: ServerConfig) -> _Opened:
    storage, recovered = Storage.open(files, config.data_dir, config.wal_dir)
    for note in recovered.repaired:
        _log.warning("%s", note)
    own, cluster = (format_id(i) for i in recovered.identity)
    commit = recovered.hard_state.commit
    _log.info("restarting member %s in cluster %s at commit index %d", own, cluster, commit)
    return _Opened(storage, recovered)


def _check_same_cluster(config: ServerConfig, recovered: Recovered, store: Store) -> None:
    """Refuse the directory of another cluster, where the flags say which cluster is meant.

    Bootstrap flags are otherwise without effect on a restart. A member that was added or moved
    while the cluster ran cannot be judged by them: its id does not follow from addresses.
    """
    named = {"initial-cluster", "initial-cluster-token"} & config.given
    if not named or config.initial_cluster_state != "new":
        return
    own_id = recovered.identity.member_id
    if membership.was_changed(bootstrap.stored_records(recovered, store), own_id):
        return
    flag_urls = config.initial_cluster.get(config.name, ())
    for urls in (flag_urls, bootstrap.stored_peer_urls(recovered, store)):
        if ids.member_id(urls, config.initial_cluster_token) == own_id:
            return
    _log.critical(
        "the data directory %s belongs to member %s of cluster %s, which is not the one that "
        "--initial-cluster and --initial-cluster-token describe; give another --data-dir, or the "
        "flags that this one was created with",
        config.data_dir,
        format_id(own_id),
        format_id(recovered.identity.cluster_id),
    )
    raise Refused


def _restore(storage: Storage, recovered: Recovered) -> Store:
    meta = recovered.snapshot
    if meta is None:
        return Store()
    try:
        return bootstrap.restore_store(storage.read_snapshot(meta))
    except CorruptSnapshot as error:
        raise Corrupt(
            "the newest snapshot", 0, str(error), "restore this member from the others"
        ) from error
