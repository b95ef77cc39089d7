"""Campaigns made up for the tests of the report."""

from __future__ import annotations

from jepsen_like.report.result import (
    FAILED,
    PASSED,
    SKIPPED,
    UNKNOWN,
    Campaign,
    Slice,
    Stage,
    Strike,
    Verdict,
)

NASTY = "</title><script>alert(1)</script> \"quoted\" & 'single' <b>"


def campaign(*stages: Stage) -> Campaign:
    return Campaign(
        "python -m jepsen_like run --seed 7", 7, "2026-11-21T20:00:00+00:00", 321.5,
        {"python": "CPython 3.11"}, list(stages),
    )  # fmt: skip


def stage(fault: str = "kill one", verdict: str = PASSED, row: int = 1, members: int = 3) -> Stage:
    slices = [
        Slice(number / 10, 0 if 20 < number < 30 else 50, 3, 1, number % 2, 2.5, 9.0, 40.0)
        for number in range(100)
    ]
    return Stage(
        fault, row, members, 99, verdict, "" if verdict == PASSED else "somebody is wrong", 12.5,
        [Strike(2.0, 3.1, "kills m2"), Strike(4.0, 4.0, "healed")],
        {"ok": 4550, "refused": 300, "failed": 100, "unknown": 50, "strikes": 1},
        0.9123, 1.25, 0.31,
        slices, {"set": [1.5, 3.0, 9.9, 1234.5], "read": [0.2, 0.3, 0.4, 0.5]},
        [Verdict("one order", verdict, "1234 changes explained")], "build/kept",
        f"python -m jepsen_like run --fault {fault!r}",
    )  # fmt: skip


def skipped(reason: str = "iptables is not there") -> Stage:
    return Stage("cut the leader off", 14, 3, 1, SKIPPED, reason)


ALL = campaign(
    stage(), stage(members=5), stage("pause one", FAILED, 4), stage("slow sync", UNKNOWN, 11),
    skipped(), Stage("block", 5, 3, 1, PASSED),
)  # fmt: skip
