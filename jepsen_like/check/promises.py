"""The verdict over a finished run, by one name: every answer and every event must be explained.

All of these raise `Violation` and change nothing.
"""

from __future__ import annotations

from jepsen_like.check.answers import check_answers
from jepsen_like.check.order import check_local_reads, check_order
from jepsen_like.check.reads import check_reads
from jepsen_like.check.registers import check_registers
from jepsen_like.check.ttls import check_expired, check_expiries, check_overdue, check_ttls
from jepsen_like.check.watches import HISTORY_EVENTS, check_watch, check_watches, owed

__all__ = [
    "HISTORY_EVENTS",
    "check_answers",
    "check_expired",
    "check_expiries",
    "check_local_reads",
    "check_order",
    "check_overdue",
    "check_reads",
    "check_registers",
    "check_ttls",
    "check_watch",
    "check_watches",
    "owed",
]
