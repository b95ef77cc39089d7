"""The network loses, doubles, cuts and clogs as it is told, and keeps order otherwise."""

from __future__ import annotations

from functools import partial

from jepsen_like.base import SECOND_NS
from jepsen_like.sim.net import Network
from jepsen_like.sim.world import World


def _send_many(network: Network, world: World, count: int) -> list[int]:
    arrived: list[int] = []
    for number in range(count):
        network.send(1, 2, partial(arrived.append, number))
    world.run_until(world.now_ns + SECOND_NS)
    return arrived


def test_a_healthy_link_delivers_everything_in_order() -> None:
    world = World(1)
    assert _send_many(Network(world), world, 100) == list(range(100))


def test_a_one_way_cut_stops_one_direction() -> None:
    world = World(1)
    network = Network(world)
    network.partition({2}, {1}, into=True, out=False)
    assert not network.connected(1, 2)
    assert network.connected(2, 1)
    assert _send_many(network, world, 3) == []
    network.heal()
    assert _send_many(network, world, 3) == [0, 1, 2]


def test_loss_duplication_and_reordering_happen() -> None:
    world = World(1)
    network = Network(world)
    network.loss = network.duplicate = network.reorder = 0.3
    arrived = _send_many(network, world, 200)
    assert set(arrived) < set(range(200))
    assert len(arrived) > len(set(arrived))
    assert arrived != sorted(arrived)


def test_a_clogged_link_lets_go_in_a_burst() -> None:
    world = World(1)
    network = Network(world)
    network.clog((1, 2))
    arrived: list[int] = []
    network.send(1, 2, lambda: arrived.append(1))
    world.run_until(SECOND_NS)
    assert arrived == []
    network.unclog((1, 2))
    world.run_until(2 * SECOND_NS)
    assert arrived == [1]
