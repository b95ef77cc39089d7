"""Numbers and verdicts as people read them; used by the page and by the text alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from jepsen_like.report.result import FAILED, PASSED, SKIPPED, UNKNOWN, Campaign, Stage

VERDICTS: Final = (FAILED, UNKNOWN, PASSED, SKIPPED)  # the worst first
OUTCOMES: Final = ("ok", "refused", "failed", "unknown")
QUANTILES: Final = ("p50", "p90", "p99", "longest")


def percent(share: float) -> str:
    """One decimal; never 100 for less than all, since that is what the reader looks for."""
    if share < 1:
        share = min(share, 0.999)
    return f"{share:.1%}"


def seconds(value: float) -> str:
    """Two decimals below ten seconds, one above."""
    return f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def duration(value: float) -> str:
    """Minutes from two minutes on."""
    return f"{value / 60:.1f} min" if value >= 120 else seconds(value)


def milliseconds(value: float) -> str:
    """Two digits that mean something."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def count(value: float) -> str:
    """Thousands apart."""
    return f"{value:,}"


def verdicts(stages: Iterable[Stage]) -> dict[str, int]:
    """How many stages ended in each way."""
    found = [stage.verdict for stage in stages]
    return {verdict: found.count(verdict) for verdict in VERDICTS}


def operations(campaign: Campaign) -> dict[str, int]:
    """Operations of all stages, by outcome."""
    return {
        outcome: sum(stage.counts.get(outcome, 0) for stage in campaign.stages)
        for outcome in OUTCOMES
    }


def worst(stages: Iterable[Stage]) -> str:
    """The worst verdict of some stages; skipped if all were, and nothing for none."""
    found = {stage.verdict for stage in stages}
    return next((verdict for verdict in VERDICTS if verdict in found), "")


def slowest_ms(stage: Stage) -> list[float]:
    """The four quantiles over all kinds of operations: of each the worst."""
    columns = zip(*stage.latencies_ms.values(), strict=True)
    return [max(column) for column in columns]


def slowest_recovery_s(stage: Stage) -> float:
    """After any of its faults, if that was measured, else after the last one."""
    return max(stage.recovered_s, stage.counts.get("slowest recovery ms", 0) / 1000)


def ran(campaign: Campaign) -> list[Stage]:
    """The stages that were not skipped."""
    return [stage for stage in campaign.stages if stage.verdict != SKIPPED]
