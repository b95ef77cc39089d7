"""Whether what a start made of a disk is right: the whole truth, an earlier part, or a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from jepsen_like.fuzz.history import DATA, IDENTITY, State, chunks, open_storage
from kvraft.errors import Corrupt, ForeignData, StorageError
from kvraft.storage import Files, Recovered, Storage


class Outcome(StrEnum):
    """How a start went."""

    WHOLE = "everything found"
    SHORTER = "an earlier end found, as of a write that never arrived"
    REFUSED = "refused"
    NONE = "no member yet"
    WRONG = "WRONG"


class Verdict(NamedTuple):
    """An outcome, and why it is wrong."""

    outcome: Outcome
    reason: str = ""


def judge(files: Files, segment_bytes: int, states: Sequence[State], earlier: int) -> Verdict:
    """Start from these files, twice, and compare with the last `states`.

    Of them the last one is expected; one of the `earlier` before it counts as SHORTER.
    """
    try:
        storage, found = open_storage(files, segment_bytes)
    except StorageError as error:
        if isinstance(error, Corrupt | ForeignData):
            return Verdict(Outcome.REFUSED, str(error))
        return Verdict(Outcome.WRONG, f"ended with {error!r}")
    except Exception as error:
        return Verdict(Outcome.WRONG, f"did not refuse, but failed: {error!r}")
    verdict = _compare(storage, found, states, earlier)
    storage.close()
    if verdict.outcome is Outcome.WRONG:
        return verdict
    try:
        again, same = open_storage(files, segment_bytes)
    except StorageError as error:
        return Verdict(Outcome.WRONG, f"the second start was refused: {error}")
    again.close()
    if same._replace(repaired=[]) != found._replace(repaired=[]):
        return Verdict(Outcome.WRONG, f"the second start found {same}, the first {found}")
    return verdict


def exists(files: Files) -> bool:
    """Whether a member is there; one that is only partly there raises Corrupt."""
    return Storage.exists(files, DATA)


def _compare(storage: Storage, found: Recovered, states: Sequence[State], earlier: int) -> Verdict:
    reasons = []
    for distance, state in enumerate(reversed(states[-1 - earlier :])):
        reason = difference(storage, found, state)
        if not reason:
            return Verdict(Outcome.SHORTER if distance else Outcome.WHOLE)
        reasons.append(reason)
    return Verdict(Outcome.WRONG, reasons[0])


def difference(storage: Storage, found: Recovered, state: State) -> str:
    """Where a start's findings differ from a state; empty if nowhere."""
    if found.identity != IDENTITY:
        return f"another identity: {found.identity}"
    if found.hard_state[:2] != state.hard[:2] or found.hard_state.commit != state.hard.commit:
        return f"{found.hard_state} in place of {state.hard}"
    base = 0
    if found.snapshot is not None:
        base = found.snapshot.index
        if found.snapshot not in state.snapshots:
            return f"an unknown snapshot: {found.snapshot}"
        if b"".join(storage.read_snapshot(found.snapshot)) != b"".join(chunks(found.snapshot)):
            return f"another content of {found.snapshot}"
    if base < state.floor:
        return f"begins at {base}, although a snapshot at {state.floor} replaced that"
    expected = [state.entries[index] for index in range(base + 1, state.last + 1)]
    if found.entries != expected:
        return f"entries {found.entries} in place of {expected}"
    return ""
