"""What a run looks like before anything happens: drawn from its seed, printable, replaceable."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jepsen_like.base import MILLISECOND_NS
from kvraft.server.replica import ReplicaConfig

if TYPE_CHECKING:
    import random


class Shape(NamedTuple):
    """The cluster, its settings and how hard it is treated."""

    members: int = 3
    tick_ms: int = 100
    election_ticks: int = 10
    snapshot_count: int = 50
    snapshot_keep_entries: int = 10
    segment_bytes: int = 16 << 10
    pre_vote: bool = True
    check_quorum: bool = True
    settings: tuple[tuple[bool, bool], ...] = ()  # pre-vote and check-quorum of each member
    max_append_bytes: int = 1 << 20
    max_inflight_appends: int = 512
    drift: bool = True
    clients: int = 6
    think_ms: int = 60
    client_timeout_ms: int = 1000
    request_timeout_ms: int = 7000
    digest_every: int = 64  # entries
    faults: tuple[str, ...] = ()
    rates: tuple[int, ...] = ()  # how often each of them, compared to the others; empty: equally
    fault_every_ms: int = 700
    safety_ms: int = 20_000
    watch_share: float = 0.1
    slow_watch_share: float = 0.1
    abandoned_watch_share: float = 0.03
    resumed_watch_share: float = 0.3
    repeat_share: float = 0.2  # of the writes of unknown outcome: the same request again
    command_share: float = 0.05
    change_every_ms: int = 0  # between changes of the membership; 0: there are none
    strict_reconfig: bool = True
    check_core: bool = True  # off: only what clients and disks show is judged

    @property
    def tick_ns(self) -> int:
        """The heartbeat interval."""
        return self.tick_ms * MILLISECOND_NS

    @property
    def election_ns(self) -> int:
        """The minimum election timeout."""
        return self.tick_ns * self.election_ticks

    def settings_of(self, place: int) -> tuple[bool, bool]:
        """Pre-vote and check-quorum of the member at this place, counted from 1."""
        if self.settings:
            return self.settings[(place - 1) % len(self.settings)]
        return self.pre_vote, self.check_quorum

    def replica_config(self, name: str) -> ReplicaConfig:
        """The production settings of one member."""
        return ReplicaConfig(
            name=name,
            client_urls=(f"http://{name}:2379",),
            tick_ms=self.tick_ms,
            election_ticks=self.election_ticks,
            request_timeout_ms=self.request_timeout_ms,
            snapshot_count=self.snapshot_count,
            snapshot_keep_entries=self.snapshot_keep_entries,
            cluster_version="2.3.0",
            strict_reconfig=self.strict_reconfig,
        )


FAULTS = (
    "kill", "kill at a step", "power", "power at a disk call", "power everywhere", "pause",
    "partition", "isolate leader", "one way", "bridge", "loss", "duplicate", "reorder", "clog",
    "slow link", "slow disk", "full disk", "failed sync", "wall jump", "bit flip",
    "kill leader", "long absence", "kill majority", "kill everywhere", "kill at a disk call",
    "crash in recovery", "power majority", "delay", "cut off clients", "empty disk", "wall jumps",
    "drift", "two snapshots", "check", "stranger",
)  # fmt: skip


CHANGE_SHARE = 0.3  # of the runs: members are added, moved, removed and replaced
SNAPSHOT_SHARE = 0.1  # of the runs: members fall behind all the time and live on snapshots
SNAPSHOT_FAULTS = (
    "long absence", "slow disk", "kill", "pause", "partition", "one way", "slow link",
    "isolate leader", "power", "clog", "two snapshots",
)  # fmt: skip


TIMINGS = ((29, 271), (101, 521), (100, 2000))  # tick and election timeout in ms
SETTINGS = ((True, True), (True, False), (False, True), (False, False))
DAMAGE = ("bit flip", "empty disk")


def draw_shape(rng: random.Random) -> Shape:
    """A cluster and a mix of faults: each present or absent, and with a rate of its own."""
    tick_ms, election_ms = rng.choice(TIMINGS)
    density = rng.choice((0.15, 0.35, 0.6))
    mix = tuple(name for name in FAULTS if rng.random() < density)
    shape = Shape(
        members=rng.choice((1, 3, 3, 3, 3, 5)),
        tick_ms=tick_ms,
        election_ticks=election_ms // tick_ms,
        snapshot_count=rng.choice((50, 50, 100, 1000)),
        snapshot_keep_entries=rng.choice((1, 5, 10, 50)),
        segment_bytes=rng.choice((4 << 10, 16 << 10, 1 << 20)),
        settings=_draw_settings(rng),
        max_append_bytes=rng.choice((300, 4096, 1 << 20)),
        max_inflight_appends=rng.choice((2, 16, 512)),
        drift=rng.random() < 0.8,
        clients=rng.randint(3, 8),
        think_ms=rng.choice((20, 60, 150, 150)),
        client_timeout_ms=rng.choice((200, 1000, 5000)),
        request_timeout_ms=5000 + 2 * election_ms,
        faults=mix,
        rates=tuple(rng.choice((1, 2, 5)) for _ in mix),
        fault_every_ms=rng.choice((300, 700, 1500)),
        safety_ms=rng.choice((6_000, 8_000, 8_000, 8_000, 12_000, 12_000, 30_000)),
        watch_share=rng.choice((0.05, 0.1, 0.2)),
        slow_watch_share=rng.choice((0.0, 0.1, 0.3)),
        repeat_share=rng.choice((0.0, 0.2, 0.5)),
        command_share=rng.choice((0.0, 0.05, 0.2)),
    )
    if rng.random() < SNAPSHOT_SHARE:
        return shape._replace(
            members=rng.choice((3, 5)), snapshot_count=50, snapshot_keep_entries=1, think_ms=10,
            faults=SNAPSHOT_FAULTS, rates=(), safety_ms=15_000,
        )  # fmt: skip
    if rng.random() < CHANGE_SHARE:
        return _changing(rng, shape)
    return shape


def _draw_settings(rng: random.Random) -> tuple[tuple[bool, bool], ...]:
    """As in production, another combination for all, or mixed."""
    draw = rng.random()
    if draw < 0.5:
        return ()
    if draw < 0.8:
        return (rng.choice(SETTINGS),)
    return tuple(rng.choice(SETTINGS) for _ in range(5))


def _changing(rng: random.Random, shape: Shape) -> Shape:
    """Members come and go. No damaged disks: who is lost for good is part of the changes."""
    kept = [place for place, name in enumerate(shape.faults) if name not in DAMAGE]
    return shape._replace(
        change_every_ms=rng.choice((100, 400, 1500)),
        strict_reconfig=rng.random() < 0.8,
        faults=tuple(shape.faults[place] for place in kept),
        rates=tuple(shape.rates[place] for place in kept),
    )
