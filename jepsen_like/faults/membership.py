"""Row 20: members come and go, and meanwhile others are killed, paused or cut off.

Each strike is one scene: an operator changes the cluster, perhaps something happens to a member at
the worst moment, and then there is calm: all members are up and named, those removed have ended by
themselves, and writes go through. The number of members stays near to where it began.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.members import free_ports
from jepsen_like.base import Violation
from jepsen_like.faults.fault import Arena, Fault, Setting, Wires
from jepsen_like.faults.namespaces import Namespaces
from jepsen_like.faults.probes import missing
from jepsen_like.faults.processes import names, restore, the_leader
from jepsen_like.faults.scenes import LARGEST, SMALLEST, Scene

ROW: Final = 20
REFUSED_S: Final = 30.0  # until a member without its disk has to have given up
NOTICED_S: Final = 3.0  # after three election timeouts a leader knows who is not there
BOOTSTRAPPED: Final = "already been bootstrapped"

Act = Callable[[Scene], Awaitable[None]]


# --- scenes ---------------------------------------------------------------------------------


async def _add(scene: Scene) -> None:
    await scene.room_to_add()
    await scene.add()


async def _add_and_kill_it(scene: Scene) -> None:
    """Killed again and again while it joins, without ever losing its disk."""
    await scene.room_to_add()
    number = await scene.changes.added()
    for _ in range(scene.rng.randint(1, 4)):
        scene.fleet.start([number])
        await asyncio.sleep(scene.rng.uniform(0.1, 1.6))
        await scene.fleet.kill([number])
    scene.fleet.start([number])


async def _add_while_the_leader_falls(scene: Scene) -> None:
    await scene.room_to_add()
    number = scene.fleet.add()
    async with scene.meanwhile(scene.the_leader_falls):
        await scene.changes.add_to(number)
    scene.fleet.start([number])
    if scene.rng.random() < 0.5:
        await asyncio.sleep(scene.rng.uniform(0.2, 1.2))
        await scene.the_leader_falls()


async def _remove(scene: Scene) -> None:
    await scene.room_to_remove()
    await scene.remove(scene.somebody())


async def _remove_the_leader(scene: Scene) -> None:
    await scene.room_to_remove()
    await scene.remove(await the_leader(scene.arena))


async def _remove_while_the_leader_falls(scene: Scene) -> None:
    await scene.room_to_remove()
    number = scene.somebody()
    if scene.rng.random() < 0.5:
        async with scene.meanwhile(scene.the_leader_falls):
            await scene.remove(number)
    else:
        await scene.remove(number)
        await scene.the_leader_falls()


async def _remove_the_absent(scene: Scene) -> None:
    """It learns of its removal when it comes back."""
    await scene.room_to_remove()
    number = scene.somebody()
    await scene.fleet.kill([number])
    await scene.remove(number)
    await asyncio.sleep(scene.rng.uniform(0.0, 2.0))
    scene.fleet.start([number])


async def _remove_and_kill_it(scene: Scene) -> None:
    """Killed in its last moments, and started again later."""
    await scene.room_to_remove()
    number = scene.somebody()
    await scene.remove(number)
    await asyncio.sleep(scene.rng.uniform(0.0, 0.4))
    if number in scene.fleet.running():
        await scene.fleet.kill([number])
        await asyncio.sleep(scene.rng.uniform(0.0, 2.0))
        scene.fleet.start([number])


async def _remove_the_paused(scene: Scene) -> None:
    await scene.room_to_remove()
    number = scene.somebody()
    scene.fleet.pause(number)
    await scene.remove(number)
    await asyncio.sleep(scene.rng.uniform(0.0, 3.0))
    scene.fleet.resume(number)


async def _replace(scene: Scene) -> None:
    """One is lost for good; while its successor joins, the leader may fall, too."""
    number = scene.somebody()
    await scene.fleet.kill([number])
    await scene.remove(number)
    await scene.add()
    if scene.rng.random() < 0.5:
        await asyncio.sleep(scene.rng.uniform(0.0, 1.5))
        await scene.the_leader_falls()


async def _replace_the_leader(scene: Scene) -> None:
    await scene.remove(await the_leader(scene.arena))
    await scene.add()


async def _everybody_falls(scene: Scene) -> None:
    adds = scene.fleet.size < LARGEST
    number = scene.fleet.add() if adds else scene.somebody()
    async with scene.meanwhile(scene.everybody_falls):
        await (scene.changes.add_to(number) if adds else scene.remove(number))
    if adds:
        scene.fleet.start([number])


async def _move(scene: Scene) -> None:
    """A member gets another peer address, and is restarted with it."""
    fleet, number = scene.fleet, scene.somebody()
    member = fleet.member(number)
    target = await scene.changes.id_of(number)
    url = f"http://{member.host}:{free_ports(1)[0]}"

    def moved(members: list[dict[str, Any]]) -> bool:
        return any(one["peerURLs"] == [url] for one in members)

    async with scene.meanwhile(scene.rng.choice((scene.the_leader_falls, scene.nothing))):
        await scene.changes.change("PUT", "/" + target, {"peerURLs": [url]}, moved)
    member.peer_url = url
    scene.arena.note(f"moved {names([number])}")
    await fleet.kill([number])
    fleet.start([number])


async def _lose_a_disk(scene: Scene) -> None:
    """It must not take part again under its old name; then it is replaced."""
    fleet, number = scene.fleet, scene.somebody()
    member = fleet.member(number)
    await fleet.kill([number])
    shutil.rmtree(member.data_dir)
    member.initial_cluster = fleet.initial_cluster()
    fleet.start([number])
    fleet.may_end[number] = "its disk is lost"
    scene.arena.note(f"{names([number])} has lost its disk")
    code = await fleet.ended(number, REFUSED_S)
    if code is None:
        raise Violation(f"{member.name} came back with an empty disk")
    if code != 1 or BOOTSTRAPPED not in member.log_tail():
        raise Violation(f"{member.name}, its disk lost, ended: {code}\n{member.log_tail()}")
    await scene.remove(number)
    await scene.add()


async def _never_started(scene: Scene) -> None:
    """Members are added that never come, until one more could cost the quorum: that is refused."""
    fleet = scene.fleet
    urls: list[str] = []
    while True:
        total = fleet.size + len(urls)
        url = f"http://127.0.0.1:{free_ports(1)[0]}"
        if not await scene.accepted("POST", "", {"peerURLs": [url]}):
            break
        urls.append(url)
        if (total + 1) // 2 + 1 > fleet.size:
            raise Violation(f"{total + 1} members were allowed, of whom {fleet.size} have started")
    scene.arena.note(f"{len(urls)} members that never start, the next one is refused")
    if not urls:
        raise Violation("a first member that has not started yet was refused")
    for one in await scene.changes.members():
        if one["peerURLs"][0] in urls:
            await scene.changes.forgotten(one["id"])


async def _too_few_left(scene: Scene) -> None:
    """With the smallest majority up, removing one of those would end it: that is refused.

    An even number of members has one more up than an odd number needs after the removal.
    """
    fleet = scene.fleet
    if fleet.size % 2 == 0:
        await scene.remove(scene.somebody())
        await scene.calm()
    down = scene.rng.sample(fleet.numbers(), (fleet.size - 1) // 2)
    await fleet.kill(down)
    up = [number for number in fleet.numbers() if number not in down]
    target = await scene.changes.id_of(scene.rng.choice(up))
    await asyncio.sleep(NOTICED_S)
    scene.arena.note(f"{names(down)} down, one more is to be removed")
    if await scene.accepted("DELETE", f"/{target}", None):
        raise Violation(f"{target} was removed, and no quorum is left")
    fleet.start(down)


async def _during_a_partition(scene: Scene) -> None:
    """A minority, the leader in it or not, is cut off while members are changed."""
    wires, fleet = scene.fleet.wires, scene.fleet
    assert isinstance(wires, Namespaces)
    numbers = fleet.numbers()
    minority = scene.rng.sample(numbers, (len(numbers) - 1) // 2)
    rest = [number for number in numbers if number not in minority]
    pairs = [(a, b) for a in minority for b in rest]
    await asyncio.to_thread(wires.cut_all, [*pairs, *((b, a) for a, b in pairs)])
    scene.arena.note(f"cut off {names(minority)}")

    async def heal_later() -> None:
        await asyncio.sleep(scene.rng.uniform(1.0, 4.0))
        await asyncio.to_thread(wires.heal)

    async with scene.meanwhile(heal_later):
        if fleet.size >= LARGEST or (fleet.size > SMALLEST and scene.rng.random() < 0.5):
            await scene.remove(scene.somebody())
        else:
            await scene.add()


# --- faults ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class MembershipFault:
    """One of these scenes at every strike."""

    name: str
    scenes: tuple[Act, ...]
    row: int = ROW
    smallest: int = SMALLEST
    setting: Setting = Setting()

    def missing(self) -> str:
        """See `Fault.missing`."""
        return missing("iptables") if self.setting.wires is Wires.NAMESPACES else ""

    async def strike(self, arena: Arena) -> None:
        """See `Fault.strike`."""
        scene = Scene(arena)
        await arena.rng.choice(self.scenes)(scene)
        await scene.calm()

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        if isinstance(arena.fleet.wires, Namespaces):
            await asyncio.to_thread(arena.fleet.wires.heal)
        restore(arena.fleet)


FAULTS: Final[tuple[Fault, ...]] = (
    MembershipFault(
        "add members",
        (_add, _add_and_kill_it, _add_while_the_leader_falls),
    ),
    MembershipFault(
        "remove members",
        (_remove, _remove_the_absent, _remove_and_kill_it, _remove_the_paused),
    ),
    MembershipFault("remove the leader", (_remove_the_leader, _remove_while_the_leader_falls)),
    MembershipFault("replace members", (_replace, _replace_the_leader)),
    MembershipFault("move members", (_move,)),
    MembershipFault("kill all during a change", (_everybody_falls,)),
    MembershipFault("too few members left", (_never_started, _too_few_left)),
    MembershipFault(
        "change members during partitions",
        (_during_a_partition,),
        setting=Setting(wires=Wires.NAMESPACES),
    ),
    MembershipFault("lose a disk", (_lose_a_disk,), row=13),
)
