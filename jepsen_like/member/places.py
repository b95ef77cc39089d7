"""Where the failpoints are: parts of the production code, wrapped from outside.

The production code knows nothing of it. A part that no longer exists under its name is an error
at once: a failpoint that is never reached would prove nothing.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from jepsen_like.member.points import Points, storage_error
from kvraft.server import lifecycle, opening
from kvraft.server.driver import Driver
from kvraft.server.proposals import ProposalTable
from kvraft.server.replica import Replica
from kvraft.storage import datadir
from kvraft.storage import recover as recovery
from kvraft.storage.datadir import SnapshotWriter, Storage
from kvraft.storage.snapshots import SnapshotFile
from kvraft.storage.wal import Wal

When = Callable[..., bool]


class Place(NamedTuple):
    """A function with a failpoint before it and one after it."""

    name: str
    owner: Any
    attribute: str
    fails: bool = False
    """Whether it can raise a StorageError."""
    when: When | None = None
    """Which of its calls count; all without it."""


def _is_own(table: ProposalTable, request_id: int, *_: object) -> bool:
    """Whether a client of this member waits for this answer."""
    return request_id in table._pending


PLACES: Final = (
    # what one round of work does, in its order
    Place("save", Storage, "save", fails=True),
    Place("hard state", Wal, "_put_state", fails=True),
    Place("persisted", Driver, "_persisted"),
    Place("send", Driver, "_send"),
    Place("apply", Replica, "apply"),
    Place("reply", ProposalTable, "answer", when=_is_own),
    # the log and the snapshots
    Place("segment cut", Wal, "cut", fails=True),
    Place("snapshot begin", Storage, "snapshot_writer", fails=True),
    Place("snapshot finish", SnapshotFile, "finish", fails=True),
    Place("snapshot record", Wal, "record_snapshot", fails=True),
    Place("snapshot transfer", Driver, "_start_transfer"),
    Place("snapshot seal", SnapshotWriter, "seal", fails=True),
    Place("snapshot adopt", Storage, "adopt_received", fails=True),
    Place("purge", Storage, "purge", fails=True),
    # a start
    Place("recovery", recovery, "recover", fails=True),
    Place("recovery repair", datadir, "_repair", fails=True),
    Place("recovery restore", opening, "restore", fails=True),
    Place("recovery start number", opening, "next_start", fails=True),
    Place("serving", lifecycle.MemberServer, "start"),
)


def install(points: Points) -> None:
    """Wrap all places. Raises AttributeError for one that is gone."""
    for place in PLACES:
        original = _present(place)
        names = (f"before {place.name}", f"after {place.name}")
        points.declare(names, storage_error if place.fails else None)
        setattr(place.owner, place.attribute, _wrapped(original, names, place.when, points))


def _present(place: Place) -> Callable[..., Any]:
    found: Callable[..., Any] | None = vars(place.owner).get(place.attribute)
    if not callable(found):
        where = getattr(place.owner, "__name__", repr(place.owner))
        raise AttributeError(f"failpoint {place.name!r}: no {place.attribute} in {where}")
    return found


def _wrapped(
    original: Callable[..., Any], names: tuple[str, str], when: When | None, points: Points
) -> Callable[..., Any]:
    before, after = names

    @functools.wraps(original)
    async def passing_awaited(*args: Any, **kwargs: Any) -> Any:
        points.hit(before)
        result = await original(*args, **kwargs)
        points.hit(after)
        return result

    @functools.wraps(original)
    def passing(*args: Any, **kwargs: Any) -> Any:
        if when is not None and not when(*args, **kwargs):
            return original(*args, **kwargs)
        points.hit(before)
        result = original(*args, **kwargs)
        points.hit(after)
        return result

    return passing_awaited if inspect.iscoroutinefunction(original) else passing
