"""Links are cut, slow, clogged or lossy; clients do not get through."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS

if TYPE_CHECKING:
    from jepsen_like.sim.cluster import Cluster
    from jepsen_like.sim.faults.dice import Dice

# --- carrying out --------------------------------------------------------------------------


def cut(cluster: Cluster, *, side: list[int], others: list[int], into: bool, out: bool) -> None:
    """Cut all links between two sides: those `into` the first one, those `out` of it, or both."""
    cluster.network.partition(set(side), set(others), into=into, out=out)


def mend(cluster: Cluster, *, side: list[int], others: list[int], into: bool, out: bool) -> None:
    """These links are no longer cut."""
    cluster.network.mend(set(side), set(others), into=into, out=out)


def loss(cluster: Cluster, *, share: float = 0.0) -> None:
    """Lose this share of all frames from now on."""
    cluster.network.loss = share


def duplicate(cluster: Cluster, *, share: float = 0.0) -> None:
    """Deliver this share of all frames twice from now on."""
    cluster.network.duplicate = share


def reorder(cluster: Cluster, *, share: float = 0.0) -> None:
    """Let this share of all frames be overtaken from now on."""
    cluster.network.reorder = share


def clog(cluster: Cluster, *, link: list[int]) -> None:
    """Hold back the frames of one link, from the first member to the second."""
    cluster.network.clog((link[0], link[1]))


def unclog(cluster: Cluster, *, link: list[int]) -> None:
    """What was held back comes in one burst."""
    cluster.network.unclog((link[0], link[1]))


def delay(cluster: Cluster, *, members: list[int], ms: int, jitter_ms: int) -> None:
    """All frames to and from these members take longer by `ms`, give or take `jitter_ms`."""
    for number in members:
        cluster.network.slow[number] = (ms * MILLISECOND_NS, jitter_ms * MILLISECOND_NS)


def no_delay(cluster: Cluster, *, members: list[int]) -> None:
    """They are as fast as ever."""
    for number in members:
        cluster.network.slow.pop(number, None)


def cut_off_clients(cluster: Cluster, *, members: list[int]) -> None:
    """Nothing passes between clients and these members; the members reach each other."""
    cluster.without_clients.update(members)


def let_clients_in(cluster: Cluster, *, members: list[int]) -> None:
    """Clients get through again."""
    cluster.without_clients.difference_update(members)


CUTS = ("partition", "isolate leader", "one way", "bridge", "long absence")

ACTS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(CUTS, cut),
    **{f"heal {name}": mend for name in CUTS},
    "loss": loss,
    "heal loss": loss,
    "duplicate": duplicate,
    "heal duplicate": duplicate,
    "reorder": reorder,
    "heal reorder": reorder,
    "clog": clog,
    "heal clog": unclog,
    "delay": delay,
    "heal delay": no_delay,
    "cut off clients": cut_off_clients,
    "heal cut off clients": let_clients_in,
}

# --- drawing -------------------------------------------------------------------------------


def _split(
    dice: Dice, name: str, side: list[int], others: list[int] | None = None, *,
    into: bool = True, out: bool = True, ms: tuple[int, ...] = (300, 1000, 3000),
) -> None:  # fmt: skip
    if others is None:
        others = [number for number in dice.numbers() if number not in side]
    if side and others:
        details = {"side": sorted(side), "others": sorted(others), "into": into, "out": out}
        dice.act(name, **details)
        dice.later(dice.rng.choice(ms), f"heal {name}", **details)


def _draw_partition(dice: Dice) -> None:
    numbers = dice.numbers()
    _split(dice, "partition", dice.rng.sample(numbers, dice.rng.randint(0, len(numbers))))


def _draw_isolate_leader(dice: Dice) -> None:
    leader = dice.cluster.leader()
    if leader is not None:
        _split(dice, "isolate leader", [leader.number])


def _draw_one_way(dice: Dice) -> None:
    """One side hears, but is not heard; or it is heard, but does not hear."""
    member = dice.leader_or_any()
    if member is not None:
        into = dice.rng.random() < 0.5
        _split(dice, "one way", [member.number], into=into, out=not into)


def _draw_bridge(dice: Dice) -> None:
    """Two halves that only one member in the middle can reach."""
    numbers = dice.numbers()
    if len(numbers) >= 3:
        dice.rng.shuffle(numbers)
        middle = len(numbers) // 2
        _split(dice, "bridge", numbers[:middle], numbers[middle + 1 :], ms=(1000, 3000))


def _draw_long_absence(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        _split(dice, "long absence", [member.number], ms=(4000, 8000))


def _draw_share(name: str, least: float, most: float) -> Callable[[Dice], None]:
    def draw(dice: Dice) -> None:
        dice.act(name, share=round(dice.rng.uniform(least, most), 3))
        dice.later(dice.rng.choice((500, 2000)), f"heal {name}")

    return draw


def _draw_clog(dice: Dice) -> None:
    numbers = dice.numbers()
    if len(numbers) > 1:
        link = dice.rng.sample(numbers, 2)
        dice.act("clog", link=link)
        dice.later(dice.rng.choice((200, 1000, 3000)), "heal clog", link=link)


def _delay(dice: Dice, members: list[int], ms: int, jitter_ms: int) -> None:
    if members:
        dice.act("delay", members=members, ms=ms, jitter_ms=jitter_ms)
        dice.later(dice.rng.choice((1000, 3000, 8000)), "heal delay", members=members)


def _draw_slow_link(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        ms, jitter_ms = dice.rng.choice(((37, 12), (75, 25), (450, 150)))
        _delay(dice, [member.number], ms, jitter_ms)


def _draw_delay(dice: Dice) -> None:
    """A far away site, or a network that is all but gone."""
    ms, jitter_ms = dice.rng.choice(((75, 50), (75, 50), (5000, 500)))
    leader = dice.cluster.leader()
    choices = [
        [dice.rng.choice(dice.numbers())],
        [leader.number] if leader is not None else [],
        dice.majority(),
        dice.numbers(),
    ]
    _delay(dice, dice.rng.choice(choices), ms, jitter_ms)


def _draw_cut_off_clients(dice: Dice) -> None:
    numbers = dice.numbers()
    members = sorted(dice.rng.sample(numbers, dice.rng.randint(1, len(numbers))))
    dice.act("cut off clients", members=members)
    dice.later(dice.rng.choice((300, 1000, 3000)), "heal cut off clients", members=members)


DRAWS: dict[str, Callable[[Dice], None]] = {
    "partition": _draw_partition,
    "isolate leader": _draw_isolate_leader,
    "one way": _draw_one_way,
    "bridge": _draw_bridge,
    "long absence": _draw_long_absence,
    "loss": _draw_share("loss", 0.005, 0.3),
    "duplicate": _draw_share("duplicate", 0.01, 0.5),
    "reorder": _draw_share("reorder", 0.01, 0.4),
    "clog": _draw_clog,
    "slow link": _draw_slow_link,
    "delay": _draw_delay,
    "cut off clients": _draw_cut_off_clients,
}
