"""Which pairs each shape of a partition cuts."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest

from jepsen_like.faults import partition
from jepsen_like.faults.partition import Cuts, Shape

SIZES = (3, 5)


class FakeFleet:
    """Members of whom the first one leads."""

    def __init__(self, size: int) -> None:
        self.size = size

    def numbers(self) -> list[int]:
        return list(range(self.size))

    def pick(self, rng: random.Random) -> int:
        return rng.randrange(self.size)

    async def leader(self) -> int:
        return 0


def heard(cuts: Cuts, size: int) -> dict[int, set[int]]:
    """Whom each member hears."""
    return {
        to: {n for n in range(size) if n != to and (n, to) not in cuts.pairs} for to in range(size)
    }


async def drawn(shape: Shape, size: int, seed: int) -> Cuts:
    arena: Any = SimpleNamespace(fleet=FakeFleet(size), rng=random.Random(seed))
    return await shape(arena)


@pytest.mark.asyncio
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(5))
async def test_shapes(size: int, seed: int) -> None:
    everybody = set(range(size))
    cuts = await drawn(partition.halves, size, seed)
    groups = {frozenset(others | {to}) for to, others in heard(cuts, size).items()}
    assert len(groups) == 2
    assert frozenset.union(*groups) == everybody

    ears = heard(await drawn(partition.leader_alone, size, seed), size)
    assert ears[0] == set()
    assert all(ears[n] == everybody - {0, n} for n in range(1, size))

    ears = heard(await drawn(partition.everybody_alone, size, seed), size)
    assert not any(ears.values())

    ears = heard(await drawn(partition.bridge, size, seed), size)
    assert sum(others == everybody - {n} for n, others in ears.items()) == 1
    assert all(size // 2 <= len(others) for others in ears.values() if len(others) < size - 1)

    ears = heard(await drawn(partition.deaf, size, seed), size)
    assert sorted(map(len, ears.values())) == [0, *[size - 1] * (size - 1)]
    ears = heard(await drawn(partition.mute, size, seed), size)
    assert sorted(map(len, ears.values())) == [*[size - 2] * (size - 1), size - 1]

    cuts = await drawn(partition.no_clients, size, seed)
    assert not cuts.pairs
    assert cuts.clients


@pytest.mark.asyncio
async def test_a_leader_in_a_minority_has_company_where_there_is_room() -> None:
    ears = heard(await drawn(partition.leader_in_minority, 5, 1), 5)
    assert len(ears[0]) == 1
    assert sorted(map(len, ears.values())) == [1, 1, 2, 2, 2]
