"""Links are cut, slow, clogged or lossy."""

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


def mend(cluster: Cluster) -> None:
    """No link is cut any more."""
    cluster.network.cut.clear()


def loss(cluster: Cluster, *, share: float) -> None:
    """Lose this share of all frames from now on."""
    cluster.network.loss = share


def duplicate(cluster: Cluster, *, share: float) -> None:
    """Deliver this share of all frames twice from now on."""
    cluster.network.duplicate = share


def reorder(cluster: Cluster, *, share: float) -> None:
    """Let this share of all frames be overtaken from now on."""
    cluster.network.reorder = share


def clog(cluster: Cluster, *, sender: int, to: int) -> None:
    """Hold back the frames of one link."""
    cluster.network.clog((sender, to))


def unclog(cluster: Cluster) -> None:
    """What was held back comes in one burst."""
    cluster.network.unclog()


def slow_link(cluster: Cluster, *, member: int, delay_ms: int) -> None:
    """All frames to and from this member take up to so much longer."""
    cluster.network.slow.add(member)
    cluster.network.slow_ns = delay_ms * MILLISECOND_NS


def fast_links(cluster: Cluster) -> None:
    """No link is slow any more."""
    cluster.network.slow.clear()


ACTS: dict[str, Callable[..., None]] = {
    "partition": cut,
    "isolate leader": cut,
    "one way": cut,
    "bridge": cut,
    "long absence": cut,
    "heal cuts": mend,
    "loss": loss,
    "duplicate": duplicate,
    "reorder": reorder,
    "clog": clog,
    "unclog": unclog,
    "slow link": slow_link,
    "fast links": fast_links,
}

# --- drawing -------------------------------------------------------------------------------


def _split(
    dice: Dice, name: str, side: list[int], *, into: bool = True, out: bool = True,
    ms: tuple[int, ...] = (300, 1000, 3000),
) -> None:  # fmt: skip
    others = [number for number in dice.numbers() if number not in side]
    if side and others:
        dice.act(name, side=sorted(side), others=others, into=into, out=out)
        dice.later(dice.rng.choice(ms), "heal cuts")


def _draw_partition(dice: Dice) -> None:
    numbers = dice.numbers()
    _split(dice, "partition", dice.rng.sample(numbers, dice.rng.randint(0, len(numbers))))


def _draw_isolate_leader(dice: Dice) -> None:
    leader = dice.cluster.leader()
    if leader is not None:
        _split(dice, "isolate leader", [leader.number])


def _draw_one_way(dice: Dice) -> None:
    member = dice.leader_or_any()
    if member is not None:
        into = dice.rng.random() < 0.5
        _split(dice, "one way", [member.number], into=into, out=not into)


def _draw_bridge(dice: Dice) -> None:
    numbers = dice.numbers()
    if len(numbers) < 3:
        return
    dice.rng.shuffle(numbers)
    middle = len(numbers) // 2
    side, others = sorted(numbers[:middle]), sorted(numbers[middle + 1 :])
    dice.act("bridge", side=side, others=others, into=True, out=True)
    dice.later(dice.rng.choice((1000, 3000)), "heal cuts")


def _draw_long_absence(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        _split(dice, "long absence", [member.number], ms=(4000, 8000))


def _draw_share(name: str, *shares: float) -> Callable[[Dice], None]:
    def draw(dice: Dice) -> None:
        dice.act(name, share=dice.rng.choice(shares))
        dice.later(dice.rng.choice((500, 2000)), name, share=0.0)

    return draw


def _draw_clog(dice: Dice) -> None:
    numbers = dice.numbers()
    if len(numbers) > 1:
        sender, to = dice.rng.sample(numbers, 2)
        dice.act("clog", sender=sender, to=to)
        dice.later(dice.rng.choice((200, 1000, 3000)), "unclog")


def _draw_slow_link(dice: Dice) -> None:
    member = dice.running()
    if member is not None:
        dice.act("slow link", member=member.number, delay_ms=dice.rng.choice((50, 100, 600)))
        dice.later(dice.rng.choice((1000, 3000)), "fast links")


DRAWS: dict[str, Callable[[Dice], None]] = {
    "partition": _draw_partition,
    "isolate leader": _draw_isolate_leader,
    "one way": _draw_one_way,
    "bridge": _draw_bridge,
    "long absence": _draw_long_absence,
    "loss": _draw_share("loss", 0.02, 0.1, 0.3),
    "duplicate": _draw_share("duplicate", 0.05, 0.5),
    "reorder": _draw_share("reorder", 0.05, 0.4),
    "clog": _draw_clog,
    "slow link": _draw_slow_link,
}
