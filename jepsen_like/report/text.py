"""A campaign as plain text: a table, then what went wrong and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from jepsen_like.report import words
from jepsen_like.report.result import PASSED, SKIPPED, Campaign, Stage

HEAD: Final = (
    "fault", "members", "verdict", *words.OUTCOMES, "available", "longest gap", "recovered",
    "p99 ms",
)  # fmt: skip
MAX_REASON_CHARS: Final = 600  # all of it is in the result


def render(campaign: Campaign) -> str:
    """The whole text, ending in a line break."""
    parts = [*_table(words.ran(campaign)), *_bad(campaign), *_skipped(campaign), *_end(campaign)]
    return "\n".join(parts) + "\n"


def _table(stages: Sequence[Stage]) -> list[str]:
    if not stages:
        return ["no stage was run"]
    rows = [HEAD, *(_row(stage) for stage in stages)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(HEAD))]
    return ["  ".join(_cells(row, widths)).rstrip() for row in rows]


def _cells(row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Words to the left, numbers to the right."""
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if place in (0, 2) else cell.rjust(width)


def _row(stage: Stage) -> tuple[str, ...]:
    latencies = words.slowest_ms(stage)
    return (
        stage.fault, str(stage.members), stage.verdict,
        *(words.count(stage.counts.get(outcome, 0)) for outcome in words.OUTCOMES),
        words.percent(stage.availability), words.seconds(stage.longest_gap_s),
        words.seconds(stage.recovered_s),
        words.milliseconds(latencies[2]) if latencies else "-",
    )  # fmt: skip


def _bad(campaign: Campaign) -> Iterator[str]:
    for stage in words.ran(campaign):
        if stage.verdict == PASSED:
            continue
        reason = stage.reason or "no reason given"
        if len(reason) > MAX_REASON_CHARS:
            reason = reason[:MAX_REASON_CHARS] + " ..."
        yield ""
        yield f"{stage.verdict.upper()}: {stage.fault}, {stage.members} members: {reason}"
        if stage.again:
            yield f"    again: {stage.again}"
        if stage.kept:
            yield f"    kept:  {stage.kept}"


def _skipped(campaign: Campaign) -> Iterator[str]:
    """By reason, since a missing tool skips many."""
    reasons: dict[str, list[str]] = {}
    for stage in campaign.stages:
        if stage.verdict == SKIPPED:
            names = reasons.setdefault(stage.reason, [])
            if stage.fault not in names:
                names.append(stage.fault)
    if reasons:
        yield ""
    for reason, names in reasons.items():
        yield f"skipped, {reason}: {', '.join(names)}"


def _end(campaign: Campaign) -> Iterator[str]:
    ended = ", ".join(
        f"{number} {verdict}" for verdict, number in words.verdicts(campaign.stages).items()
    )
    told = ", ".join(
        f"{words.count(number)} {outcome}" for outcome, number in words.operations(campaign).items()
    )
    yield ""
    yield f"{len(campaign.stages)} stages in {words.duration(campaign.seconds)}: {ended}"
    yield f"operations: {told}; seed {campaign.seed}"
    yield f"verdict: {campaign.verdict()}"
