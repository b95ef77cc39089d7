"""A member of a cluster inside a program, in the program's own event loop.

    async with kvraft.Node("/var/lib/app") as node:
        await node.set("/config/colour", "blue")

Without a data directory everything is in memory and gone when the object is. Without a client URL
nothing listens: the program calls the node directly, or through `node.client()`. The node sets no
signal handlers, configures no logging and changes nothing else of the process; several may run
side by side. Everything that was started is stopped again by `stop`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from kvraft.api.service import (
    ChangeOutcome,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.client.errors import DidNotHappen, MembershipError, OutcomeUnknown
from kvraft.client.model import MemberRecord
from kvraft.embedded.errors import NodeFailed, NodeRemoved, NodeStopped, StartFailed
from kvraft.embedded.keys import DirectKeys
from kvraft.embedded.opening import newcomer
from kvraft.embedded.running import Life, Sockets, Starter
from kvraft.embedded.settings import (
    ELECTION_TICKS,
    SNAPSHOT_COUNT,
    memory_client_url,
    memory_host,
    settings,
)
from kvraft.raft.core import Role
from kvraft.server.ids import format_id
from kvraft.store.machine import Applied, Machine
from kvraft.versions import SERVER_VERSION

if TYPE_CHECKING:
    from kvraft.client.client import Client
    from kvraft.clock import Clock
    from kvraft.embedded.watch import NodeWatch
    from kvraft.storage import Identity
    from kvraft.transport.memory import MemoryNetwork

# As a library: whoever wants the lines configures logging; nobody gets them unasked.
logging.getLogger("kvraft").addHandler(logging.NullHandler())

_POLL_S = 0.001
MakeMachine = Callable[[], Machine]


class Node(DirectKeys):
    """See the module's description."""

    def __init__(
        self,
        data_dir: str | os.PathLike[str] | None = None,
        *,
        name: str = "default",
        client_url: str | None = None,
        peer_url: str | None = None,
        initial_cluster: Mapping[str, str | Sequence[str]] | None = None,
        initial_cluster_state: str = "new",
        initial_cluster_token: str = "etcd-cluster",
        tick_ms: int | None = None,
        election_ticks: int = ELECTION_TICKS,
        snapshot_count: int = SNAPSHOT_COUNT,
        state_machine: Machine | MakeMachine | None = None,
        network: MemoryNetwork | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`data_dir`: where the data is kept; None: in memory, for as long as this object lives.

        `client_url`: where HTTP clients are served; with port 0 a free one is taken, and
        `client_url` tells it after the start. None: nowhere.
        `peer_url`: where other members reach this one, in the same way. None: there are none, or
        they share a `network` in this process.
        `initial_cluster`: names and peer URLs of all members, for the first start of a node that
        has company; `initial_cluster_state` "existing": the node was added to a cluster that runs.
        `tick_ms` is the interval of heartbeats, `election_ticks` of them are the least time after
        which a leader is missed. `snapshot_count`: entries of the log between two snapshots.
        `state_machine`: the program's own state, changed by `submit`; a function that makes one
        if the node is to be started more than once.
        `clock`: what TTLs follow; tests may set it forward (`kvraft.clock.ShiftedClock`).

        Raises ValueError for arguments that make no sense.
        """
        self._settings = settings(
            data_dir,
            name=name,
            client_url=client_url,
            peer_url=peer_url,
            initial_cluster=initial_cluster,
            initial_cluster_state=initial_cluster_state,
            initial_cluster_token=initial_cluster_token,
            tick_ms=tick_ms,
            election_ticks=election_ticks,
            snapshot_count=snapshot_count,
            network=network,
            clock=clock,
        )
        self._starter = Starter(self._settings)
        self._machine = state_machine
        self._machine_used = False
        self._life: Life | None = None
        self._starting = False
        self._stopping: asyncio.Future[None] | None = None
        self._failed: BaseException | None = None
        self._sockets: Sockets | None = None
        self._member_id = 0
        self._watches: set[NodeWatch] = set()

    # --- life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start; a node that has no company serves on return, others see `wait_ready`.

        May be called again after `stop` or `kill`: the node goes on with the data that it has, at
        the addresses that it had. Raises StartFailed, or StorageError for data that cannot be used
        (`Locked` if somebody else uses it), and RuntimeError if the node is running already.
        """
        await self.take_addresses()
        await self.begin()
        self.campaign()
        if self._settings.network is None and self._settings.peer_url is None:
            try:
                await self.wait_ready()
            except NodeFailed as ended:
                await self.kill()
                raise ended.__cause__ or ended from None
            except BaseException:
                await self.kill()
                raise

    async def take_addresses(self) -> None:
        """The first step of `start`: from here on `client_url` and `peer_url` are the real ones.

        For founders that have to know each other's URLs before any of them starts.
        """
        if self._life is not None or self._starting:
            raise RuntimeError(f"node {self.name!r} is running already")
        if self._sockets is None:
            self._starting = True
            try:
                self._sockets = await self._starter.take_addresses()
            finally:
                self._starting = False

    async def begin(self, initial_cluster: Mapping[str, Sequence[str]] | None = None) -> None:
        """The second step of `start`; `initial_cluster` replaces the one given before."""
        assert self._sockets is not None, "addresses come first"
        self._starting = True
        self._failed = None
        try:
            self._life = await self._starter.start(
                self._sockets,
                self._make_machine(),
                initial_cluster=initial_cluster,
                on_fatal=self._fail,
                on_removed=lambda: self._fail(NodeRemoved("it was removed from its cluster")),
            )
            self._member_id = self._life.member.member_id
        finally:
            self._starting = False
            if self._life is None:
                self._sockets.close()
                self._sockets = None

    def campaign(self) -> None:
        """The last step of `start`: let the founders choose a leader at once."""
        assert self._life is not None
        self._life.campaign()

    async def stop(self) -> None:
        """Let requests finish, hand over if this node leads, and stop; harmless if stopped."""
        await self._end(hand_over=True, at_once=False)

    async def retire(self) -> None:
        """Stop without handing over: for clusters of which all members stop."""
        await self._end(hand_over=False, at_once=False)

    async def kill(self, *, keep_addresses: bool = False) -> None:
        """Stop without a word to anybody, as if the process had been killed.

        `keep_addresses`: nobody else gets its ports before it is started again, or stopped.
        """
        await self._end(hand_over=False, at_once=True)
        if keep_addresses and self._sockets is None:
            # If somebody else is that quick, the next start says so.
            with contextlib.suppress(StartFailed):
                self._sockets = await self._starter.take_addresses(early=False)

    async def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until a leader is known and everything that was committed before is applied.

        Raises TimeoutError, or NodeStopped if the node ends meanwhile.
        """
        async with asyncio.timeout(timeout_s):
            # The member has no event for this; it lasts a few milliseconds, once in a life.
            while not self._running().is_ready():  # noqa: ASYNC110
                await asyncio.sleep(_POLL_S)

    def pause(self) -> None:
        """Stand still as a process does that got SIGSTOP: for tests of what others make of it."""
        self._running().pause()

    async def resume(self) -> None:
        """Go on after `pause`, first of all with what has arrived meanwhile."""
        await self._running().resume()

    async def _end(self, *, hand_over: bool, at_once: bool) -> None:
        life, self._life = self._life, None
        if life is None:
            if self._stopping is not None:
                await asyncio.shield(self._stopping)
            if self._sockets is not None:  # taken, and not used
                self._sockets.close()
                self._sockets = None
            return
        if at_once or self._failed is not None:
            life.end()
        self._tell_watches(life)
        ending = asyncio.ensure_future(life.stop(hand_over and self._failed is None))
        self._stopping = ending
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await asyncio.wait((ending,))  # nothing may be left behind
            raise
        finally:
            self._stopping = self._sockets = None

    def _fail(self, error: BaseException) -> None:
        """The member cannot go on: nothing more is acknowledged, whoever waits is told."""
        if self._failed is None:
            self._failed = error
        if self._life is not None:
            self._life.end()
            self._tell_watches(self._life)

    def _tell_watches(self, life: Life) -> None:
        life.ended = True
        for watch in list(self._watches):
            watch.node_ended()

    def follow(self, watch: NodeWatch) -> None:
        """See `DirectKeys.follow`."""
        self._watches.add(watch)

    def unfollow(self, watch: NodeWatch) -> None:
        """See `DirectKeys.unfollow`."""
        self._watches.discard(watch)

    def _running(self) -> Life:
        """The present life. Raises NodeFailed or NodeStopped."""
        if self._failed is not None:
            raise NodeFailed(f"node {self.name!r} has ended: {self._failed}") from self._failed
        if self._life is None:
            raise NodeStopped(f"node {self.name!r} is not running")
        return self._life

    def _make_machine(self) -> Machine | None:
        machine = self._machine
        if machine is None:
            return None
        if isinstance(machine, type) or not hasattr(machine, "apply"):
            return cast("MakeMachine", machine)()
        if self._machine_used:
            raise StartFailed(
                "state_machine: this one has been used; a node that is started again needs a "
                "function that makes a new one"
            )
        self._machine_used = True
        return cast("Machine", machine)

    # --- what it is ---------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Its name among the members."""
        return self._settings.name

    @property
    def running(self) -> bool:
        """Whether it has been started, and neither stopped nor failed."""
        return self._life is not None and self._failed is None

    @property
    def failed(self) -> BaseException | None:
        """Why it has ended by itself: a StorageError, or NodeRemoved; None if it has not."""
        return self._failed

    @property
    def id(self) -> str:
        """Its id in hexadecimal, as the members routes show it; empty before the first start."""
        return format_id(self._member_id) if self._member_id else ""

    @property
    def client_url(self) -> str | None:
        """Where HTTP clients are served; None: nowhere."""
        return self._settings.client_url if self._sockets is None else self._sockets.client_url

    @property
    def peer_url(self) -> str | None:
        """Where other members reach this one over the network; None: nowhere."""
        return self._settings.peer_url if self._sockets is None else self._sockets.peer_url

    @property
    def is_leader(self) -> bool:
        """Whether it leads, as far as it knows."""
        return self.running and self._running().replica.core.role is Role.LEADER

    @property
    def leader_id(self) -> str | None:
        """The id of the leader, as far as it knows."""
        leader = self._running().replica.core.leader
        return format_id(leader) if leader else None

    @property
    def etcd_index(self) -> int:
        """The store's index: a watch after it misses nothing that comes."""
        return self._running().member.store.index

    @property
    def raft_index(self) -> int:
        """The last entry of the log that its store shows."""
        return self._running().member.applied_index

    @property
    def raft_term(self) -> int:
        """The term of that entry."""
        return self._running().member.applied_term

    @property
    def state_machine(self) -> Machine | None:
        """The program's own state, as far as it is applied here."""
        return self._running().machine

    @property
    def life(self) -> Life:
        """The parts of the running node, for those who build on it. Raises NodeStopped."""
        return self._running()

    # --- the cluster ----------------------------------------------------------------------

    async def members(self) -> list[MemberRecord]:
        """All members, by id."""
        return [_record(info) for info in self._running().member.members()]

    async def leader(self) -> MemberRecord | None:
        """The leader, as far as this node knows."""
        info = self._running().member.leader()
        return None if info is None else _record(info)

    async def change_members(self, change: MemberChange) -> MemberInfo | None:
        """Have a change of the members made; the member as it is then, None for a removed one.

        Raises MembershipError if it is refused, DidNotHappen, or OutcomeUnknown.
        """
        done: asyncio.Future[ChangeOutcome] = asyncio.get_running_loop().create_future()
        self._running().member.change_membership(change, lambda outcome: _settle(done, outcome))
        outcome = await done
        if isinstance(outcome, MemberChangeError):
            raise MembershipError(0, outcome.text or outcome.reason.name.lower())
        if isinstance(outcome, Unavailable):
            raise self.unavailable(outcome)
        return outcome

    def join(self, identity: Identity, members: Sequence[MemberInfo]) -> None:
        """Begin as this member, which was added to a cluster in the same network in memory."""
        self._starter.origin = newcomer(identity, members)

    async def health(self) -> bool:
        """Whether a linearizable read succeeds within a second."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._running().member.health(lambda healthy: _settle(answer, healthy))
        return await answer

    async def version(self) -> dict[str, Any]:
        """The versions that `/version` tells."""
        version = self._running().member.cluster_version or "not_decided"
        return {"etcdserver": SERVER_VERSION, "etcdcluster": version}

    async def self_stats(self) -> dict[str, Any]:
        """The document of `/v2/stats/self`."""
        return self._running().member.self_stats()

    def client(self, **options: Any) -> Client:
        """A client of this node alone, in memory: for code that takes a `kvraft.Client`.

        `options`: those of `Client`, but for endpoints, TLS and connector. It belongs to the
        program's event loop, and has to be closed. Users and permissions count for it.
        """
        # Who calls the node directly need not load an HTTP client.
        from kvraft.embedded.connector import MemoryClient, MemoryConnector

        connector = MemoryConnector({memory_host(self.name): self.accept})
        return MemoryClient([memory_client_url(self.name)], connector, **options)

    def accept(self) -> asyncio.Protocol:
        """The server's side of a new connection of a client. Raises NodeStopped."""
        return self._running().port.connection()

    async def submit(self, command: bytes) -> object:
        """Have the state machines of all members carry out a command; returns what `apply` did.

        What `apply` raises is raised here. Raises DidNotHappen, or OutcomeUnknown if the command
        may have been or may still be carried out.
        """
        life = self._running()
        if life.machine is None:
            raise ValueError("this node was started without a state_machine")
        done: asyncio.Future[Applied | Unavailable]
        done = asyncio.get_running_loop().create_future()
        life.member.submit(command, lambda outcome: _settle(done, outcome))
        outcome = await done
        if isinstance(outcome, Unavailable):
            raise self.unavailable(outcome)
        if outcome.error is not None:
            raise outcome.error
        return outcome.result

    def unavailable(self, outcome: Unavailable) -> DidNotHappen | OutcomeUnknown:
        """The error for a change that the cluster did not answer."""
        kind = DidNotHappen if outcome.definite else OutcomeUnknown
        error = kind(outcome.cause)
        error.__cause__ = self._failed
        return error


def _settle(future: asyncio.Future[Any], outcome: object) -> None:
    if not future.done():
        future.set_result(outcome)


def _record(info: MemberInfo) -> MemberRecord:
    return MemberRecord(format_id(info.id), info.name, info.peer_urls, info.client_urls)
