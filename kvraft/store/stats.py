"""The counters of the key space (keys API, section 13).

Reads are counted by the member that served them; everything else where it is applied, so that
those counters are equal on all members and belong to the snapshot.

Must not know: when what counts; the oddities of that are at the operations themselves.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LOGGED_COUNTERS", "Stats"]

_NAMES: Final = {
    "gets_success": b"getsSuccess",
    "gets_fail": b"getsFail",
    "sets_success": b"setsSuccess",
    "sets_fail": b"setsFail",
    "delete_success": b"deleteSuccess",
    "delete_fail": b"deleteFail",
    "update_success": b"updateSuccess",
    "update_fail": b"updateFail",
    "create_success": b"createSuccess",
    "create_fail": b"createFail",
    "compare_and_swap_success": b"compareAndSwapSuccess",
    "compare_and_swap_fail": b"compareAndSwapFail",
    "compare_and_delete_success": b"compareAndDeleteSuccess",
    "compare_and_delete_fail": b"compareAndDeleteFail",
    "expire_count": b"expireCount",
}

LOGGED_COUNTERS: Final = tuple(name for name in _NAMES if not name.startswith("gets_"))
"""The counters that follow from the log alone, in the order in which a snapshot keeps them."""


class Stats:
    """Fifteen counters."""

    __slots__ = (
        "compare_and_delete_fail",
        "compare_and_delete_success",
        "compare_and_swap_fail",
        "compare_and_swap_success",
        "create_fail",
        "create_success",
        "delete_fail",
        "delete_success",
        "expire_count",
        "gets_fail",
        "gets_success",
        "sets_fail",
        "sets_success",
        "update_fail",
        "update_success",
    )

    def __init__(self) -> None:
        self.gets_success = 0
        self.gets_fail = 0
        self.sets_success = 0
        self.sets_fail = 0
        self.delete_success = 0
        self.delete_fail = 0
        self.update_success = 0
        self.update_fail = 0
        self.create_success = 0
        self.create_fail = 0
        self.compare_and_swap_success = 0
        self.compare_and_swap_fail = 0
        self.compare_and_delete_success = 0
        self.compare_and_delete_fail = 0
        self.expire_count = 0

    def body(self, watchers: int) -> bytes:
        """The JSON document of the counters, without a newline."""
        counters = b",".join(
            b'"%b":%d' % (shown, getattr(self, name)) for name, shown in _NAMES.items()
        )
        return b'{%b,"watchers":%d}' % (counters, watchers)

    def logged(self) -> list[int]:
        """The counters of a snapshot."""
        return [getattr(self, name) for name in LOGGED_COUNTERS]

    def restore_logged(self, counters: list[int]) -> None:
        """Take over the counters of a snapshot; the caller has checked that all are there."""
        for name, counter in zip(LOGGED_COUNTERS, counters, strict=True):
            setattr(self, name, counter)
