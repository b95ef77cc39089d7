"""A cluster that can be broken and mended, in the caller's event loop.

Around `kvraft.embedded.Cluster`: the same members at real URLs, with the faults that a test or a
tutorial wants. Members are named m1, m2, ...; every operation takes names and returns when
what it is about is so: after `wait_leader` a write succeeds, after `restart` the URL answers,
after `advance` the keys are gone.

Clients reach every member whatever the partition: it is the members that do not hear each other.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from kvraft import limits
from kvraft.clock import ShiftedClock
from kvraft.embedded.cluster import Cluster as EmbeddedCluster
from kvraft.errors import KvraftError
from kvraft.raft.core import Role

if TYPE_CHECKING:
    from kvraft.client.client import Client
    from kvraft.embedded.cluster import Links
    from kvraft.embedded.node import Node

TICK_MS: Final = 10
"""A heartbeat. All members share one event loop, so that a busy machine delays them alike, and
quick elections are no false ones."""
_POLL_S: Final = 0.001
_NANOS_PER_S: Final = 10**9
_HOST: Final = "127.0.0.1"
_LINUX: Final = sys.platform == "linux"
_STATES: Final = {Role.LEADER: "leader", Role.FOLLOWER: "follower"}


class ControlError(KvraftError):
    """An operation does not go with the state of the cluster; the text says why."""


class NoLeader(ControlError):
    """No leader was found in time: no majority is running and connected."""


class MemberStatus(NamedTuple):
    """One member as it is now.

    `state` is "leader", "follower", "candidate", "paused" or "stopped"; `term` is its Raft term and
    `applied` the last entry of the log that it has applied, both 0 while it does not run.
    """

    name: str
    url: str
    state: str
    term: int
    applied: int

    @property
    def running(self) -> bool:
        """Whether it is there, if only paused."""
        return self.state != "stopped"


class Places:
    """The ports of the members, which stay theirs while they do not run.

    The kernel hands a free port to whoever asks, also one whose owner is coming back. So each is
    kept by a second socket that is bound and does not listen: calls are refused as if nobody was
    there, and only who asks for this very port can have it. (Of the systems that we know only Linux
    lets a port be shared like that; elsewhere the risk remains.)
    """

    def __init__(self) -> None:
        self._kept: list[socket.socket] = []

    def take(self, ports: Iterable[int]) -> list[str]:
        """The URLs for these ports, a free one in place of 0. Raises OSError for one in use."""
        urls = []
        for port in ports:
            sock = socket.socket()
            self._kept.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind((_HOST, port))
            except OSError as error:
                why = f"cannot listen at {_HOST}:{port}: {error.strerror or error}"
                raise OSError(error.errno, why) from error
            urls.append(f"http://{_HOST}:{sock.getsockname()[1]}")
        if not _LINUX:
            self.close()
        return urls

    def close(self) -> None:
        """Give them back."""
        for sock in self._kept:
            sock.close()
        self._kept.clear()


class AsyncCluster:
    """`async with AsyncCluster(3) as cluster:`, or `start` and `close`; see the module.

    The operations raise `ControlError` for what makes no sense, such as pausing a member that does
    not run, and for names that nobody has.
    """

    def __init__(
        self,
        size: int = 3,
        *,
        data_dir: str | None = None,
        ports: Sequence[int] | None = None,
        tick_ms: int = TICK_MS,
    ) -> None:
        """`data_dir`: where the data are kept, None: in memory; `ports`: for clients, by member, 0
        for any that is free, which is what all get otherwise."""
        if size < 1:
            raise ControlError(f"a cluster of {size} members: it needs at least one")
        self._ports = [0] * size if ports is None else list(ports)
        self._data_dir = data_dir
        self._tick_ms = tick_ms
        self._clock = ShiftedClock()
        self._places = Places()
        self._links: Links | None = None
        self._nodes: dict[str, Node] = {}
        self._paused: set[str] = set()
        self._cut: set[tuple[str, str]] = set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Start all members, and wait for a leader. Raises OSError for a port that is taken."""
        try:
            await self._start()
            await self.wait_leader()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End all members at once; nothing of them is left, and another call does nothing."""
        await asyncio.gather(*(node.kill() for node in self._nodes.values()))
        self._places.close()

    # --- what it is ------------------------------------------------------------------------

    @property
    def members(self) -> tuple[str, ...]:
        """The names of all members, running or not."""
        return tuple(self._nodes)

    @property
    def urls(self) -> tuple[str, ...]:
        """Where they serve clients, in the same order; a member keeps its URL for ever."""
        return tuple(self.url(name) for name in self._nodes)

    def url(self, name: str) -> str:
        """Where one member serves clients."""
        url = self._node(name).client_url
        assert url is not None, "all members here have one"
        return url

    @property
    def leader(self) -> str | None:
        """Who leads a majority now: one that others follow, and that reaches them."""
        node = self._leading()
        return None if node is None else node.name

    def status(self, name: str) -> MemberStatus:
        """How one member is."""
        node = self._node(name)
        url = self.url(name)
        if not node.running:
            return MemberStatus(name, url, "stopped", 0, 0)
        core = node.life.replica.core
        state = "paused" if name in self._paused else _STATES.get(core.role, "candidate")
        return MemberStatus(name, url, state, core.term, node.raft_index)

    def client(self, **options: Any) -> Client:
        """A client of all members, for the caller to close; `options` as of `kvraft.Client`."""
        from kvraft.client.client import Client

        return Client(self.urls, **options)

    async def wait_leader(self, timeout_s: float = limits.TEST_LEADER_WAIT_S) -> str:
        """Wait until somebody leads a majority; returns the name. Raises NoLeader."""
        try:
            async with asyncio.timeout(timeout_s):
                # The members have no event for this; an election takes some ticks.
                while (node := self._leading()) is None:  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            states = ", ".join(f"{name} {self.status(name).state}" for name in self._nodes)
            raise NoLeader(f"nobody has come to lead within {timeout_s:g} s ({states})") from None
        return node.name

    # --- members -----------------------------------------------------------------------------

    async def kill(self, name: str | None = None) -> str:
        """End a member as `kill -9` does: no word to anybody; the leader if none is named.

        What it had acknowledged is still there after `restart`. Returns its name.
        """
        name = await self._named(name)
        self._require_running(name)
        self._paused.discard(name)
        await self._nodes[name].kill()
        return name

    async def kill_leader(self) -> str:
        """Kill the leader, waiting for one if need be; returns its name."""
        return await self.kill()

    async def stop(self, name: str) -> None:
        """Stop a member in order; as a leader it hands over first."""
        self._require_running(name)
        if name in self._paused:
            await self.resume(name)
        await self._nodes[name].stop()

    async def restart(self, name: str) -> None:
        """Start a member that was stopped or killed, at the same URL and with what it had.

        One that runs is stopped first.
        """
        node = self._node(name)
        if node.running:
            await self.stop(name)
        await node.start()

    async def pause(self, name: str | None = None) -> str:
        """Let a member, else the leader, stand still as a process does that got SIGSTOP.

        Its sockets stay open and the kernel accepts connections to them; it reads nothing, sends
        nothing and does not notice, while its clock goes on. Returns its name.
        """
        name = await self._named(name)
        self._require_running(name)
        if name not in self._paused:
            self._paused.add(name)
            self._nodes[name].pause()
        return name

    async def resume(self, name: str | None = None) -> tuple[str, ...]:
        """Let a paused member go on, first of all with what has arrived meanwhile; all if none is
        named. Returns who was paused."""
        if name is not None:
            self._require_running(name)
        resumed = tuple(sorted(self._paused if name is None else self._paused & {name}))
        for each in resumed:
            self._paused.discard(each)
            await self._nodes[each].resume()
        return resumed

    # --- the network between them --------------------------------------------------------------

    async def partition(self, *groups: str | Iterable[str]) -> tuple[tuple[str, ...], ...]:
        """Cut the members into groups that do not hear each other; returns the groups.

        A group is a name or several; those in no group form one of their own. Without a group the
        leader is cut off from the rest. A new partition replaces the one before.
        """
        wanted = [(g,) if isinstance(g, str) else tuple(g) for g in groups]
        if not wanted:
            wanted = [(await self.wait_leader(),)]
        named = [name for group in wanted for name in group]
        for name in named:
            self._node(name)
        if len(set(named)) < len(named):
            raise ControlError("a member can be in one group only")
        rest = tuple(name for name in self._nodes if name not in named)
        sides = tuple(group for group in (*wanted, rest) if group)
        side_of = {name: side for side in sides for name in side}
        assert self._links is not None, "started"
        self._links.partition(*sides)
        self._cut = {(a, b) for a in self._nodes for b in self._nodes if side_of[a] != side_of[b]}
        return sides

    async def heal(self) -> None:
        """Let all members hear each other again."""
        self._cut.clear()
        if self._links is not None:
            self._links.heal()

    # --- time ----------------------------------------------------------------------------------

    async def advance(self, seconds: float) -> None:
        """Let time pass for keys with a TTL, on all members, in milliseconds.

        What ends within it has expired on the leader and on all members that hear it when this
        returns, and watchers have been told. Nothing else gets older: no request runs into its
        deadline, nobody misses a heartbeat. Without a majority nothing can expire before there
        is one.
        """
        if not 0 <= seconds <= limits.TEST_ADVANCE_MAX_S:
            raise ControlError(f"time cannot be advanced by {seconds:g} seconds")
        self._clock.advance(round(seconds * _NANOS_PER_S))
        while self._has_majority():
            await self.wait_leader()
            if await self._expire():
                return

    async def _expire(self) -> bool:
        """Have the present leader expire what is due; whether it got that done."""
        leader = self._leading()
        if leader is None:
            return False
        life = leader.life
        while leader.running and life.replica.store.has_ttls():
            if not life.member.expire_now():
                return False
            last = life.replica.core.log.last
            # The leader's own ticks stamp, too: the others have to be as far as it is.
            while not all(
                node.raft_index >= max(last, leader.raft_index) for node in self._followers(leader)
            ):
                await asyncio.sleep(_POLL_S / 4)
                if self._leading() is not leader:
                    return False
            if not life.replica.store.expiry_due():
                break
        return leader.running

    # --- inside --------------------------------------------------------------------------------

    async def _start(self) -> None:
        urls = self._places.take(self._ports)
        cluster = EmbeddedCluster(
            len(urls),
            self._data_dir,
            client_urls=urls,
            tick_ms=self._tick_ms,
            clock=self._clock,
        )
        self._links = cluster.links
        self._nodes = {node.name: node for node in cluster.nodes}
        await cluster.start()

    def _node(self, name: str) -> Node:
        node = self._nodes.get(name)
        if node is None:
            known = ", ".join(self._nodes)
            raise ControlError(f"there is no member {name!r}; there are {known}")
        return node

    async def _named(self, name: str | None) -> str:
        return await self.wait_leader() if name is None else self._node(name).name

    def _require_running(self, name: str) -> None:
        if not self._node(name).running:
            raise ControlError(f"{name} does not run")

    def _awake(self) -> list[Node]:
        return [n for n in self._nodes.values() if n.running and n.name not in self._paused]

    def _hear(self, one: Node, other: Node) -> bool:
        pair = (one.name, other.name)
        return pair not in self._cut and pair[::-1] not in self._cut

    def _followers(self, leader: Node) -> list[Node]:
        """Who is awake and follows this leader, itself included."""
        core = leader.life.replica.core
        return [
            node
            for node in self._awake()
            if self._hear(leader, node)
            and (node.life.replica.core.term, node.life.replica.core.leader)
            == (core.term, core.member_id)
        ]

    def _leading(self) -> Node | None:
        for node in self._awake():
            if node.is_leader and 2 * len(self._followers(node)) > len(self._nodes):
                return node
        return None

    def _has_majority(self) -> bool:
        """Whether some members that are awake and hear each other could elect one of them."""
        awake = self._awake()
        return any(
            2 * sum(self._hear(one, other) for other in awake) > len(self._nodes) for one in awake
        )
