"""Who calls whom: members that connect to each other, and those who do not belong here any more."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS
from jepsen_like.sim.opening import CLUSTER_ID
from kvraft.raft.message import Vote
from kvraft.transport.handshake import Hello, refusal_of

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member


def dial(member: Member) -> None:
    """Keep connections to all others, as production does; some may not want this member."""
    network = member.cluster.network
    own = member.number
    for number in (*member.replica.members, *member.known):
        peer = member.cluster.members.get(number)
        if peer is None or not peer.up or peer.paused:
            continue
        if not (network.connected(own, number) and network.connected(number, own)):
            continue
        peer.callers.add(own)
        if peer.replica.may_be_told_of_removal(own):
            told = partial(_told_of_removal, member, number)
            member.world.after(MILLISECOND_NS, partial(member.soon, member.life, told))


def _told_of_removal(member: Member, by: int) -> None:
    member.replica.told_of_removal(by)


def stranger_calls(member: Member, sender: int, foreign: bool, terms: int) -> None:
    """Somebody who does not belong here opens a stream and asks for a vote."""
    hello = Hello(CLUSTER_ID + 1 if foreign else CLUSTER_ID, sender, member.number)
    refusal = refusal_of(hello, CLUSTER_ID, member.number, member.replica.may_be_told_of_removal)
    if refusal is not None:
        member.world.faults[f"stranger refused: {refusal[1].partition(' (')[0]}"] += 1
        return
    # Nobody here knows for certain yet that it was removed.
    term = member.replica.core.term + terms
    member.replica.receive(Vote(member.number, sender, term, 0, 0, False, 0, 0))
