"""One running member: what clients and peers may ask of it, and how it starts and stops.

Ties the driver to the two ports. It holds no state of its own that matters: everything that has to
survive is in the log, everything that clients see is in the store.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from kvraft import limits
from kvraft.api.listening import Listener, listen
from kvraft.api.response import go_json
from kvraft.api.service import (
    ChangeDone,
    ChangeOutcome,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.errors import DiskFull, StorageError
from kvraft.raft.core import Role
from kvraft.raft.message import InstallSnapshot
from kvraft.server import membership
from kvraft.server.addressbook import AddressBook
from kvraft.server.announcer import Announcer, Downgrade
from kvraft.server.backup import OnlineBackup
from kvraft.server.corruption import CorruptionCheck
from kvraft.server.diagnostics import MemberDiagnostics
from kvraft.server.diskthread import DiskThread, MakeQueue
from kvraft.server.driver import Driver
from kvraft.server.durations import go_duration
from kvraft.server.exposition import Parts, own_version
from kvraft.server.forcing import LEADER_PATH
from kvraft.server.frames import FRAME_NUMBERS, frame_from_wire
from kvraft.server.ids import format_id
from kvraft.server.joining import CALLERS_PATH, callers_document
from kvraft.server.logs import logger
from kvraft.server.metrics import Metrics
from kvraft.server.observing import Observer
from kvraft.server.peerstats import PeerStats
from kvraft.server.urls import address
from kvraft.storage import Identity
from kvraft.store.codec import Restorer
from kvraft.store.errors import CorruptSnapshot
from kvraft.transport.codec import FrameEncoder, MalformedFrame
from kvraft.transport.hub import PeerHub
from kvraft.transport.listener import Document, PeerConnection, peer_protocol_factory
from kvraft.transport.snapshot import confirm, items
from kvraft.versions import SERVER_VERSION

if TYPE_CHECKING:
    from kvraft.clock import Clock
    from kvraft.server.proposals import CommandDone, Done
    from kvraft.server.reads import Barrier
    from kvraft.server.replica import Replica
    from kvraft.storage import Storage
    from kvraft.store.request import Request
    from kvraft.store.store import Store
    from kvraft.transport.handshake import Hello
    from kvraft.transport.links import PeerLinks
    from kvraft.transport.memory import MemoryNetwork
    from kvraft.transport.tls import Tls

_STATES = {Role.LEADER: "StateLeader", Role.FOLLOWER: "StateFollower"}

_log = logger("etcdserver")
_peer_log = logger("rafthttp")


Bound = Mapping[str, Sequence[socket.socket]]


class Member:
    """A member of a cluster in this process; implements `api.service.Service`."""

    def __init__(
        self,
        identity: Identity,
        replica: Replica,
        storage: Storage,
        clock: Clock,
        *,
        on_fatal: Callable[[BaseException], None],
        max_snapshots: int,
        max_wals: int,
        tls: Tls | None = None,
        on_removed: Callable[[], None] = lambda: None,
        known_members: Iterable[MemberInfo] = (),
        network: MemoryNetwork | None = None,
        make_queue: MakeQueue = DiskThread,
    ) -> None:
        """`tls`: of the peer side; without it the member neither serves nor dials https.

        `on_removed` is called some time after this member has been removed from its cluster;
        `known_members` are those that a joining member was told of; `network`: where the others
        are, if they all run in this process; `make_queue`: where disk calls are made.
        """
        self._tls = tls
        self.member_id = identity.member_id
        self.cluster_id = identity.cluster_id
        self.cluster_id_hex = format_id(identity.cluster_id).encode()
        self._replica = replica
        self._on_fatal = on_fatal
        self._announcer = Announcer(replica, identity.cluster_id)
        self._book = AddressBook()
        self._callers: set[int] = set()
        for info in known_members:
            self._book.note(info.id, info.peer_urls)
        self._storage = storage
        self._stats = PeerStats(clock)
        self.metrics = Metrics(clock, replica.config.tick_ms)
        self._driver = Driver(
            replica,
            storage,
            self._stats,
            self.metrics,
            on_fatal=on_fatal,
            on_change=self._note_changes,
            addresses=self._addresses,
            on_removed=on_removed,
            max_snapshots=max_snapshots,
            max_wals=max_wals,
            make_queue=make_queue,
        )
        self._observer: Observer | None = None
        self._hub = self._links(identity, network)
        self.diagnostics = MemberDiagnostics(
            Parts(identity.member_id, replica, self._hub, self._stats, self.metrics)
        )
        self.corruption = CorruptionCheck(
            replica,
            self.metrics,
            version=own_version(),
            connected=self._hub.connected,
            wake=self._driver.wake,
            on_fatal=on_fatal,
        )
        self._campaigns: list[asyncio.TimerHandle] = []
        self._peer_servers: list[Listener] = []
        self._peer_connections: set[PeerConnection] = set()
        self._reception: asyncio.Task[object] | None = None
        self._started = datetime.now(UTC)
        self._leader_started = self._started

    def _links(self, identity: Identity, network: MemoryNetwork | None) -> PeerLinks:
        if network is not None:
            return network.join(
                self, on_unreachable=self._peer_unreachable, on_removed=self._told_of_removal
            )
        hub = PeerHub(
            identity.cluster_id,
            identity.member_id,
            FrameEncoder(FRAME_NUMBERS),
            on_unreachable=self._peer_unreachable,
            on_state=self._peer_state,
            on_removed=self._told_of_removal,
            context=None if self._tls is None else self._tls.client_context,
        )
        self._observer = Observer(hub, self.metrics, self._other_members)
        return hub

    # --- life ---------------------------------------------------------------------------

    async def start(self, peer_urls: Sequence[str], bound: Bound | None = None) -> None:
        """Listen to the peers and begin to take part. Raises OSError for a taken address.

        `bound`: the sockets of URLs whose address is taken already.
        """
        loop = asyncio.get_running_loop()
        factory = peer_protocol_factory(self, frame_from_wire, self._peer_connections)
        for url in peer_urls:
            where = address(url)
            context = None if self._tls is None else self._tls.listener(url)
            sockets = None if bound is None else bound.get(url)
            server = await listen(loop, factory, where.host, where.port, context, sockets=sockets)
            self._peer_servers.append(server)
        self._driver.start(self._hub)
        if self._observer is not None:
            self._observer.start()

    def campaign_when_new(self, founders: Sequence[int]) -> None:
        """In a cluster that has never had a leader, do not wait for an election timeout.

        The founders try one after the other, in the order of their ids; nobody is disturbed,
        since an election only begins once a majority has been asked.
        """
        loop = asyncio.get_running_loop()
        rank = sorted(founders).index(self.member_id)
        step = self._replica.config.tick_ms / 1000
        rounds = self._replica.config.election_ticks
        for attempt in range(0, rounds, len(founders)):
            delay_s = (rank + attempt) * step
            self._campaigns.append(loop.call_later(delay_s, self._campaign_if_leaderless))
        if len(founders) == 1:
            self._campaign_if_leaderless()

    def campaign_when_alone(self) -> None:
        """The only voter of a cluster need not wait for anybody after a restart."""
        loop = asyncio.get_running_loop()
        for tick in range(1, self._replica.config.election_ticks):
            delay_s = tick * self._replica.config.tick_ms / 10_000
            self._campaigns.append(loop.call_later(delay_s, self._campaign_if_alone))

    async def transfer_leadership(self) -> None:
        """Hand over before stopping, if this member leads."""
        await self._driver.transfer_leadership()

    def pause(self) -> None:
        """Take no part until `resume`; others see a member that is silent, not one that is gone."""
        self._driver.pause()

    def resume(self) -> None:
        """Take part again, first of all in what has arrived meanwhile."""
        self._driver.resume()

    def expire_now(self) -> bool:
        """As the leader, let everything expire whose time has come; see `Replica.expire_now`."""
        done = self._replica.expire_now()
        self._driver.wake()
        return done

    def end(self) -> None:
        """Take part in nothing any more, as if the power had failed; `stop` is still due."""
        self._driver.end()

    async def stop(self) -> None:
        """Leave the network and close the data directory."""
        for campaign in self._campaigns:
            campaign.cancel()
        for server in self._peer_servers:
            server.close()
        for connection in list(self._peer_connections):
            connection.abort()
        if self._reception is not None:
            await _cancel(self._reception)
        if self._observer is not None:
            await self._observer.stop()
        await self.corruption.stop()
        await self._driver.stop()
        await self._hub.close()
        self._storage.close()

    def _other_members(self) -> list[int]:
        return [member_id for member_id in self._replica.members if member_id != self.member_id]

    def _campaign_if_alone(self) -> None:
        if self._replica.core.membership.voters == (self.member_id,):
            self._campaign_if_leaderless()

    def _campaign_if_leaderless(self) -> None:
        core = self._replica.core
        if core.leader == 0 and core.role is Role.FOLLOWER:
            core.campaign()
            self._driver.wake()

    # --- what clients may do (api.service.Service) -----------------------------------------

    @property
    def store(self) -> Store:
        """The local store; replaced as a whole when a snapshot arrives."""
        return self._replica.store

    @property
    def applied_index(self) -> int:
        """The last entry that the store shows."""
        return self._replica.applied_index

    @property
    def applied_term(self) -> int:
        """The term of that entry."""
        return self._replica.applied_term

    @property
    def cluster_version(self) -> str | None:
        """The version the cluster has agreed on; None before its first leader has set it."""
        version = self._replica.store.get_record(membership.VERSION_RECORD)
        return None if version is None else version.decode()

    def now_ns(self) -> int:
        """See `Service.now_ns`."""
        return self._replica.log_time.now_ns()

    def propose(self, request: Request, done: Done) -> None:
        """See `Service.propose`."""
        self._replica.propose(request, done)
        self._driver.wake()

    def submit(self, command: bytes, done: CommandDone) -> None:
        """Have the state machines of all members carry out a command."""
        self._replica.submit(command, done)
        self._driver.wake()

    def read_barrier(self, done: Barrier) -> None:
        """See `Service.read_barrier`."""
        self._replica.read_barrier(done)
        self._driver.wake()

    def begin_backup(self) -> OnlineBackup:
        """See `Service.begin_backup`."""
        identity = Identity(self.member_id, self.cluster_id)
        backup = OnlineBackup(identity, self._replica, int(time.time()))
        _log.info("sending a backup at index %d", backup.raft_index)
        return backup

    def accepting(self) -> bool:
        """See `Service.accepting`."""
        return self._replica.accepting()

    def members(self) -> list[MemberInfo]:
        """All members, by id."""
        return list(self._replica.members.values())

    def change_membership(self, change: MemberChange, done: ChangeDone) -> None:
        """See `Service.change_membership`; tells operators what clients are not told."""

        def told(outcome: ChangeOutcome) -> None:
            if isinstance(outcome, MemberChangeError):
                if outcome.reason is ChangeRefusal.NOT_SAFE:
                    _log.warning("%s", outcome.text)
            elif isinstance(outcome, Unavailable):
                _log.error(
                    "error on a change of the members (%s): %s", change.kind.value, outcome[0]
                )
            done(outcome)

        self._replica.change_membership(change, told)
        self._driver.wake()

    def leader(self) -> MemberInfo | None:
        """The leader as far as it is known here."""
        return self._replica.members.get(self._replica.core.leader)

    def health(self, done: Callable[[bool], None]) -> None:
        """Whether a linearizable read succeeds in time."""
        open_calls = [done]

        def finish(healthy: bool) -> None:
            if open_calls:
                timer.cancel()
                open_calls.pop()(healthy)

        loop = asyncio.get_running_loop()
        timer = loop.call_later(limits.HEALTH_TIMEOUT_MS / 1000, finish, False)
        self.read_barrier(lambda outcome: finish(not isinstance(outcome, Unavailable)))

    def self_stats(self) -> dict[str, object]:
        """The document of `/v2/stats/self`."""
        core = self._replica.core
        own = self._replica.members.get(self.member_id)
        leader = core.leader
        uptime = (datetime.now(UTC) - self._leader_started).total_seconds() if leader else 0.0
        return {
            "name": own.name if own is not None else self._replica.config.name,
            "id": format_id(self.member_id),
            "state": _STATES.get(core.role, "StateCandidate"),
            "startTime": _timestamp(self._started),
            "leaderInfo": {
                "leader": format_id(leader) if leader else "",
                "uptime": go_duration(uptime),
                "startTime": _timestamp(self._leader_started),
            },
            **self._stats.self_document(),
        }

    def leader_stats(self) -> dict[str, object] | None:
        """The document of `/v2/stats/leader`; None if this member does not lead."""
        if self._replica.core.role is not Role.LEADER:
            return None
        others = [m for m in self._replica.members if m != self.member_id]
        return {
            "leader": format_id(self.member_id),
            "followers": self._stats.followers_document(others),
        }

    # --- what peers may do (transport.listener.PeerPort) -----------------------------------

    def receive_frames(self, frames: list[Any]) -> None:
        """See `PeerPort.receive_frames`."""
        self._driver.receive_frames(frames)

    def count_received(self, member_id: int, size: int) -> None:
        """See `PeerPort.count_received`."""
        received = self.metrics.received_bytes
        received[member_id] = received.get(member_id, 0) + size

    async def receive_snapshot(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """See `PeerPort.receive_snapshot`."""
        if await self.take_snapshot(_snapshot_parts(reader, self.member_id)):
            await confirm(writer)

    async def take_snapshot(self, parts: AsyncIterator[InstallSnapshot | bytes]) -> bool:
        """Store a snapshot and read it into a new store, chunk by chunk; whether that went well.

        One at a time, which bounds the memory: the newest, since whoever sends a second one has
        given up the first.
        """
        previous, self._reception = self._reception, asyncio.current_task()
        if previous is not None:
            await _cancel(previous)
        try:
            message, store = await self._read_snapshot(parts)
        except (OSError, TimeoutError, MalformedFrame, CorruptSnapshot, DiskFull) as error:
            _log.warning("a snapshot from the leader could not be taken: %s", error)
            return False
        except StorageError as error:
            self._driver.fail(error)
            return False
        finally:
            if self._reception is asyncio.current_task():
                self._reception = None
        self._driver.receive_snapshot(message, store)
        return True

    async def _read_snapshot(
        self, parts: AsyncIterator[InstallSnapshot | bytes]
    ) -> tuple[InstallSnapshot, Store]:
        message = await anext(parts)
        assert type(message) is InstallSnapshot, "a snapshot begins with its message"
        run = self._driver.run_snapshot_job
        file = await run(partial(self._storage.snapshot_writer, message.meta))
        restorer = Restorer()
        try:
            async for chunk in parts:
                assert type(chunk) is bytes, "and goes on with its content"
                await run(partial(file.write, chunk))
                restorer.feed(chunk)
            store = restorer.finish()
            await run(file.seal)
        except BaseException:
            await run(file.abort)
            raise
        return message, store

    def document(self, path: str) -> Document | None:
        """The documents that joining members and proxies read from the peer port."""
        if path == "/members":
            return Document("application/json", self._members_document(), names_cluster=True)
        if path == "/version":
            version = {"etcdserver": SERVER_VERSION, "etcdcluster": self.cluster_version}
            version["etcdcluster"] = version["etcdcluster"] or "not_decided"
            return Document("application/json", json.dumps(version, separators=(",", ":")).encode())
        if path == CALLERS_PATH:
            return Document("application/json", callers_document(self._callers))
        if path == LEADER_PATH:
            leader = self._replica.core.leader
            body = json.dumps({"leader": format_id(leader) if leader else ""})
            return Document("application/json", body.encode(), names_cluster=True)
        if path == "/raft/probing":
            now = _timestamp(datetime.now(UTC))
            body = json.dumps({"OK": True, "Now": now}, separators=(",", ":")) + "\n"
            return Document("text/plain; charset=utf-8", body.encode(), methods=())
        return None

    def called_by(self, hello: Hello) -> None:
        """See `PeerPort.called_by`."""
        self._callers &= self._replica.members.keys()  # so that they cannot be many
        self._callers.add(hello.sender)
        if self._book.note(hello.sender, hello.peer_urls):
            self._driver.follow_membership()

    def is_removed(self, member_id: int) -> bool:
        """See `PeerPort.is_removed`."""
        return self._replica.may_be_told_of_removal(member_id)

    def warn(self, text: str) -> None:
        """See `PeerPort.warn`."""
        _peer_log.warning("%s", text)

    def _members_document(self) -> bytes:
        documents = []
        for member in self.members():
            document: dict[str, object] = {"id": member.id, "peerURLs": list(member.peer_urls)}
            if member.name:
                document["name"] = member.name
            if member.client_urls:
                document["clientURLs"] = list(member.client_urls)
            documents.append(document)
        return go_json(documents) + b"\n"

    # --- the members --------------------------------------------------------------------

    def _addresses(self) -> dict[int, tuple[str, ...]]:
        return self._book.addresses(self._replica.members, self._replica.is_removed)

    def _note_changes(self) -> None:
        try:
            if self._announcer.look():
                self._leader_started = datetime.now(UTC)
        except Downgrade as error:
            self._on_fatal(error)
            return
        refused = self._replica.removals.refused
        for connection in list(self._peer_connections):
            if connection.sender in refused:
                connection.abort()  # it may not know; when it calls again, it is told
        if self._replica.removals.own_ns is not None:
            self._announcer.removal()

    def _told_of_removal(self, by: int) -> None:
        self._replica.told_of_removal(by)
        self._announcer.removal()

    def _peer_unreachable(self, member: int) -> None:
        self._stats.failed(member)
        self._driver.report_unreachable(member)

    def _peer_state(self, member: int, connected: bool, reason: str) -> None:
        if connected:
            _peer_log.info("the connection with %s became active", format_id(member))
        else:
            _peer_log.warning("the connection with %s is inactive: %s", format_id(member), reason)


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _snapshot_parts(
    reader: asyncio.StreamReader, member_id: int
) -> AsyncIterator[InstallSnapshot | bytes]:
    """What another member sends, checked; raises as `items` does."""
    stream = items(reader)
    yield _install_message(await anext(stream), member_id)
    async for chunk in stream:
        if chunk is None:
            return
        if type(chunk) is not bytes:
            raise MalformedFrame("a snapshot chunk is no byte string")
        yield chunk


def _install_message(item: object, member_id: int) -> InstallSnapshot:
    if type(item) is not tuple or not item or type(item[0]) is not int:
        raise MalformedFrame("a snapshot begins with an InstallSnapshot frame")
    message = frame_from_wire(item[0], item[1:])
    if type(message) is not InstallSnapshot or message.to != member_id:
        raise MalformedFrame("a snapshot for another member")
    return message


def _timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with the fraction's trailing zeros cut, as Go prints it."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.%f").rstrip("0").rstrip(".")
    return text + "Z"
