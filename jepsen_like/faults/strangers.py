"""Row 21: whoever does not belong to the cluster keeps calling.

A removed member whose old disk is started again, one that never heard of its removal, a member of
another cluster. Nobody may take a word of theirs: they would win votes, or drive the term up until
no leader lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from jepsen_like.base import Violation
from jepsen_like.faults.fault import Anywhere, Arena, Fault, Setting
from jepsen_like.faults.processes import names, restore
from jepsen_like.faults.scenes import Scene
from jepsen_like.faults.steps import STORM_TERMS, until
from jepsen_like.procs.web import BrokenError, NotSentError, once
from kvraft.raft.message import Append, Vote
from kvraft.server.frames import FRAME_NUMBERS
from kvraft.transport.codec import FrameEncoder
from kvraft.transport.handshake import REMOVED, STREAM_PATH, Hello, request_head

ROW: Final = 21
SMALLEST: Final = 3
FAR_TERM: Final = 1 << 40
"""No election gets there by itself."""
ANSWER_S: Final = 3.0
LEAVES_S: Final = 60.0
KNOWN_S: Final = 30.0  # until all members have heard of a removal and say so
ROUNDS: Final = 10
PAUSE_S: Final = 0.1
FOREIGN_S: Final = (2.0, 5.0)
MISMATCH: Final = 412
NO_ANSWER: Final = 0
"""Of a call: the member did not take it, or hung up."""


class Identities(NamedTuple):
    """What members call themselves towards each other."""

    cluster: int
    members: dict[int, int]
    """By number in the fleet."""


async def call_in(url: str, hello: Hello) -> int:
    """Call a peer port and, whatever it answers, ask for votes in a term far away.

    The status of the answer, or NO_ANSWER.
    """
    target = urlsplit(url)
    frames = [
        Vote(hello.to, hello.sender, FAR_TERM, FAR_TERM, FAR_TERM, True, 0, 0),
        Append(hello.to, hello.sender, FAR_TERM, 0, 0, 0, [], 0),
    ]
    writer = None
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(target.hostname, target.port)
            writer.write(request_head(STREAM_PATH, target.netloc, hello))
            writer.write(FrameEncoder(FRAME_NUMBERS).encode(frames))
            words = (await reader.readline()).split()
            return int(words[1]) if len(words) > 1 else NO_ANSWER
    except (OSError, TimeoutError, ValueError):
        return NO_ANSWER
    finally:
        if writer is not None:
            writer.close()


async def identities(arena: Arena) -> Identities:
    """Ask a member for all of them."""
    fleet = arena.fleet
    listed = await Scene(arena).changes.members()
    by_url = {one["peerURLs"][0]: int(one["id"], 16) for one in listed}
    members = {
        n: by_url[url] for n in fleet.numbers() if (url := fleet.member(n).peer_url) in by_url
    }
    for number in fleet.numbers():
        with contextlib.suppress(BrokenError, NotSentError, KeyError):
            answer = await once(fleet.address(number), "/v2/keys/", ANSWER_S)
            return Identities(int(answer.headers["x-etcd-cluster-id"], 16), members)
    raise Violation("no member tells the id of the cluster")


async def highest_term(arena: Arena) -> int:
    """The highest term that a member of the cluster knows."""
    terms = [0]
    for number in arena.fleet.numbers():
        with contextlib.suppress(BrokenError, NotSentError, KeyError, ValueError):
            answer = await once(arena.fleet.address(number), "/v2/keys/", ANSWER_S)
            terms.append(int(answer.headers["x-raft-term"]))
    return max(terms)


async def pester(arena: Arena, ids: Identities, cluster: int, sender: int, status: int) -> None:
    """Call every member again and again. Raises Violation if one takes the call.

    They must all answer with this status, soon at the latest.
    """
    fleet = arena.fleet
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + KNOWN_S
    heard = dict.fromkeys(ids.members, 0)
    while min(heard.values()) < ROUNDS:
        for number, member_id in ids.members.items():
            answer = await call_in(fleet.member(number).peer_url, Hello(cluster, sender, member_id))
            if answer not in (status, NO_ANSWER):
                raise Violation(f"{names([number])} answers {answer} to a stranger, not {status}")
            heard[number] += answer == status
        if loop.time() > deadline_s:
            raise Violation(f"calls refused with {status} by number of member: {heard}")
        await asyncio.sleep(PAUSE_S)


async def quiet_terms(arena: Arena, before: int) -> None:
    """Raises Violation if a stranger has driven up the term of the cluster."""
    after = await highest_term(arena)
    if after - before > STORM_TERMS:
        raise Violation(f"strangers have driven the term from {before} to {after}")


async def _removed(arena: Arena) -> None:
    """The old disk of a removed member is started again, and its name is used on and on."""
    scene, fleet = Scene(arena), arena.fleet
    await scene.room_to_remove()
    number = scene.somebody()
    old = await identities(arena)
    if arena.rng.random() < 0.5:
        await fleet.kill([number])  # it misses its own removal
    await scene.remove(number)
    await scene.calm()
    before = await highest_term(arena)
    ids = Identities(old.cluster, {n: i for n, i in old.members.items() if n != number})
    if number in fleet.running():
        await fleet.kill([number])
    fleet.start([number])
    arena.note(f"{names([number])}, removed, is started on its old disk")
    await until(
        f"{names([number])} learns that it was removed, and ends",
        lambda: number not in fleet.running(),
        LEAVES_S,
    )
    await pester(arena, ids, ids.cluster, old.members[number], REMOVED)
    await quiet_terms(arena, before)


async def _foreign_calls(arena: Arena) -> None:
    """Somebody with the name of a member, but of another cluster; or who wants somebody else."""
    before = await highest_term(arena)
    ids = await identities(arena)
    impostor = arena.rng.choice(sorted(ids.members.values()))
    arena.note("calls from another cluster")
    await pester(arena, ids, ids.cluster ^ 1, impostor, MISMATCH)
    wrong = Identities(ids.cluster, dict.fromkeys(ids.members, ids.cluster ^ 2))
    await pester(arena, wrong, ids.cluster, impostor, MISMATCH)
    await quiet_terms(arena, before)


async def _foreign_member(arena: Arena) -> None:
    """A member of another cluster that was given the addresses of this one."""
    fleet = arena.fleet
    before = await highest_term(arena)
    number = fleet.add()
    member = fleet.member(number)
    member.initial_cluster = fleet.initial_cluster(number)
    member.initial_cluster_state = "new"
    member.extra_flags = (*member.extra_flags, "--initial-cluster-token=another")
    fleet.start([number])
    fleet.may_end[number] = "it finds that these members are not of its cluster"
    arena.note(f"{names([number])} of another cluster calls")
    try:
        await asyncio.sleep(arena.rng.uniform(*FOREIGN_S))
    finally:
        await fleet.kill([number])
    await quiet_terms(arena, before)


@dataclass(frozen=True)
class Stranger(Anywhere):
    """Who calls."""

    name: str
    row: int = ROW
    smallest: int = SMALLEST
    setting: Setting = Setting()

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        await SCENES[self.name](arena)

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        restore(arena.fleet)


SCENES: Final = {
    "a removed member keeps calling": _removed,
    "calls from another cluster": _foreign_calls,
    "a member of another cluster": _foreign_member,
}
FAULTS: Final[tuple[Fault, ...]] = tuple(Stranger(name) for name in SCENES)
