"""How a simulated process finds or makes its data directory, as a production process does it.

A member whose directory is empty asks the others whether it has taken part before. If so it
refuses to start, with the advice to add it as a new member. Nobody can save those who empty a
directory while no member can be reached that has seen it at work; here they wait for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.check.commands import Tally
from kvraft.raft.config import RaftConfig
from kvraft.raft.entry import NO_STATE
from kvraft.server.bootstrap import build_replica, initial_entries, restore_store
from kvraft.storage.datadir import Storage
from kvraft.storage.wal import Identity
from kvraft.store.store import Store

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member

CLUSTER_ID = 0xC1
DATA_DIR = "/data"


def may_begin(member: Member) -> bool:
    """Whether an emptied directory keeps this member from starting: for ever, or for now."""
    if not member.emptied or Storage.exists(member.files, DATA_DIR):
        return True
    world = member.world
    peers = [one for one in member.cluster.running() if _reachable(member, one)]
    if not any(_knows(one, member.number) for one in peers):
        world.faults["empty directory, and nobody to ask"] += 1
        member.cluster.restart_later(member)
        return False
    member.lost = True
    world.fault("empty directory refused", member.number)
    return False


def _knows(peer: Member, number: int) -> bool:
    """Whether the peer has seen it call, publish its client URLs, or be removed."""
    own = peer.replica.members.get(number)
    return own is None or bool(own.client_urls) or number in peer.callers


def _reachable(member: Member, peer: Member) -> bool:
    network = member.cluster.network
    there, back = (member.number, peer.number), (peer.number, member.number)
    return not peer.paused and network.connected(*there) and network.connected(*back)


def recover(member: Member) -> None:
    """Give the member its storage and its replica. Raises what production raises."""
    shape, files, cluster = member.cluster.shape, member.files, member.cluster
    if not Storage.exists(files, DATA_DIR):
        entries, state = initial_entries(cluster.founders)
        if member.joins:
            entries, state = [], NO_STATE
        member.disk.make_data_dir(DATA_DIR)
        identity = Identity(member.number, CLUSTER_ID)
        Storage.create(
            files, DATA_DIR, identity, entries, state, segment_bytes=shape.segment_bytes
        ).close()
    member.storage, recovered = Storage.open(files, DATA_DIR, segment_bytes=shape.segment_bytes)
    store = Store()
    if recovered.snapshot is not None:
        store = restore_store(member.storage.read_snapshot(recovered.snapshot))
    cluster.ledger.recovered(member, recovered)
    member.recovered_commit = recovered.hard_state.commit
    pre_vote, check_quorum = shape.settings_of(member.place)
    config = RaftConfig(
        member.number, shape.election_ticks, pre_vote=pre_vote, check_quorum=check_quorum,
        max_append_bytes=shape.max_append_bytes, max_inflight_appends=shape.max_inflight_appends,
    )  # fmt: skip
    member.tally = Tally()
    member.replica = build_replica(
        shape.replica_config(member.name), config, member.rng, member.clock, member.life,
        recovered, store, member.tally,
    )  # fmt: skip
    member.replica.checks = member.comparing
