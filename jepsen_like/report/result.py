"""What a campaign leaves behind: plain data, written as one JSON file, enough to draw the report.

Times are seconds since the stage began, unless said otherwise.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

PASSED: Final = "passed"
FAILED: Final = "failed"
UNKNOWN: Final = "unknown"
SKIPPED: Final = "skipped"
FORMAT: Final = 1


@dataclass
class Strike:
    """One strike of a fault, or a moment worth knowing (`until_s` equal to `at_s`)."""

    at_s: float
    until_s: float
    what: str


@dataclass
class Verdict:
    """What one checker or workload said."""

    checker: str
    verdict: str
    text: str


@dataclass
class Slice:
    """A tenth of a second of answers: how many of each outcome, and latencies in ms (ok ones)."""

    at_s: float
    ok: int
    refused: int
    failed: int
    unknown: int
    p50_ms: float
    p99_ms: float
    longest_ms: float


@dataclass
class Stage:
    """One fault on one cluster."""

    fault: str
    row: int
    members: int
    seed: int
    verdict: str
    reason: str = ""
    """Why it failed, is unknown, or was skipped."""
    seconds: float = 0.0
    strikes: list[Strike] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Operations by outcome: ok, refused, failed, unknown; and further figures by name."""
    availability: float = 0.0
    """Share of the tenths of a second, faults included, that saw an acknowledged write."""
    longest_gap_s: float = 0.0
    """Longest time without an acknowledged write."""
    recovered_s: float = 0.0
    """From the end of the last fault to the next acknowledged write."""
    slices: list[Slice] = field(default_factory=list)
    latencies_ms: dict[str, list[float]] = field(default_factory=dict)
    """Kind of operation -> p50, p90, p99, maximum of its ok answers."""
    verdicts: list[Verdict] = field(default_factory=list)
    kept: str = ""
    """Directory with data, logs and history, where they were kept."""
    again: str = ""
    """The command line that repeats it."""


@dataclass
class Campaign:
    """All stages of one run of the program."""

    command: str
    seed: int
    began: str
    """Wall time, ISO 8601, UTC."""
    seconds: float
    environment: dict[str, str]
    """Machine, kernel, Python, commit, versions, what the probes found."""
    stages: list[Stage]
    format: int = FORMAT

    def verdict(self) -> str:
        """The worst of all stages; skipped ones do not count."""
        found = {stage.verdict for stage in self.stages}
        return next((worst for worst in (FAILED, UNKNOWN) if worst in found), PASSED)


def save(campaign: Campaign, path: Path) -> None:
    """Write a campaign down."""
    path.write_text(json.dumps(asdict(campaign), indent=1) + "\n", "utf-8")


def load(path: Path) -> Campaign:
    """Read one back. Raises ValueError if it is none, or of another format."""
    try:
        document = json.loads(path.read_text("utf-8"))
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError(f"not of format {FORMAT}")
        stages = [_stage(record) for record in document.pop("stages")]
        return Campaign(stages=stages, **document)
    except KeyError as error:
        raise ValueError(f"{path} is no campaign: it says nothing of {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no campaign: {error}") from None


def _stage(record: dict[str, Any]) -> Stage:
    record["strikes"] = [Strike(**each) for each in record["strikes"]]
    record["slices"] = [Slice(**each) for each in record["slices"]]
    record["verdicts"] = [Verdict(**each) for each in record["verdicts"]]
    return Stage(**record)
