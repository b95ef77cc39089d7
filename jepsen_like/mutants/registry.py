"""All mutants, by topic and by name."""

from __future__ import annotations

from typing import Final

from jepsen_like.mutants import consensus, elections, membership, replica, storage, store
from jepsen_like.mutants.mutant import Mutant

MUTANTS: Final[tuple[Mutant, ...]] = (
    *consensus.MUTANTS,
    *elections.MUTANTS,
    *membership.MUTANTS,
    *replica.MUTANTS,
    *store.MUTANTS,
    *storage.MUTANTS,
)


def by_name(name: str) -> Mutant:
    """Raises KeyError for a name that there is not."""
    for mutant in MUTANTS:
        if mutant.name == name:
            return mutant
    raise KeyError(name)
