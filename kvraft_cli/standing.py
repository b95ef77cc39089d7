"""How the members of a cluster stand: what `top` shows, made of what the members say.

Pure: documents and metrics in, rows out. A real etcd says less than kvraft: what is not known is
None, and shown as a dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

# Counters of the store that a write moves, whoever asked for it.
WRITES: Final = (
    "setsSuccess",
    "createSuccess",
    "updateSuccess",
    "deleteSuccess",
    "compareAndSwapSuccess",
    "compareAndDeleteSuccess",
    "expireCount",
)
COMMIT: Final = ("kvraft_commit_index", "etcd_server_proposals_committed_total")
APPLIED: Final = ("kvraft_applied_index", "etcd_server_proposals_applied_total")
KEYS: Final = ("kvraft_db_keys",)
MEMORY: Final = ("process_resident_memory_bytes",)
HEAD: Final = (
    *("member", "state", "term", "commit", "applied", "lag"),
    *("writes/s", "watchers", "keys", "memory", "version", "endpoint"),
)


@dataclass(slots=True)
class Answers:
    """What one member answered; None where it did not."""

    name: str
    url: str
    taken_s: float
    version: Mapping[str, Any] | None = None
    self_stats: Mapping[str, Any] | None = None
    store_stats: Mapping[str, Any] | None = None
    headers: Mapping[str, str] | None = None  # of a read of the root, in lower case
    metrics: str | None = None
    healthy: bool | None = None


@dataclass(slots=True)
class Row:
    """One member."""

    name: str
    url: str
    state: str
    term: int | None = None
    commit: int | None = None
    applied: int | None = None
    lag: int | None = None  # entries behind the member that is furthest
    writes_per_s: float | None = None  # applied here: about the same on all members
    watchers: int | None = None
    keys: int | None = None
    memory_bytes: int | None = None
    version: str = ""
    leader: str = ""  # the id of whom it follows

    def cells(self) -> tuple[str, ...]:
        """The row as it is shown."""
        rate = None if self.writes_per_s is None else f"{self.writes_per_s:.0f}"
        memory = None if self.memory_bytes is None else f"{self.memory_bytes / 1e6:.0f} MB"
        middle = (self.term, self.commit, self.applied, self.lag, rate, self.watchers, self.keys)
        shown = ["-" if cell is None else str(cell) for cell in (*middle, memory)]
        return (self.name, self.state, *shown, self.version or "-", self.url)


def rows_of(now: Sequence[Answers], before: Mapping[str, Answers]) -> list[Row]:
    """One row for each member; `before` are earlier answers by URL, for what is a rate."""
    rows = [_row(answers, before.get(answers.url)) for answers in now]
    furthest = max((row.commit or row.applied or 0 for row in rows), default=0)
    for row in rows:
        if row.applied is not None:
            row.lag = max(0, furthest - row.applied)
    return rows


def _row(answers: Answers, before: Answers | None) -> Row:
    row = Row(answers.name, answers.url, _state(answers))
    numbers = metric_values(answers.metrics) if answers.metrics else {}
    headers = answers.headers or {}
    row.term = _first(numbers, ("kvraft_term",), headers.get("x-raft-term"))
    row.applied = _first(numbers, APPLIED, headers.get("x-raft-index"))
    row.commit = _first(numbers, COMMIT, None)
    row.keys = _first(numbers, KEYS, None)
    row.memory_bytes = _first(numbers, MEMORY, None)
    if answers.store_stats is not None:
        row.watchers = int(answers.store_stats.get("watchers", 0))
        row.writes_per_s = _rate(answers, before)
    if answers.version is not None:
        row.version = str(answers.version.get("etcdserver", ""))
    info = (answers.self_stats or {}).get("leaderInfo") or {}
    row.leader = str(info.get("leader", ""))
    return row


def _state(answers: Answers) -> str:
    if answers.self_stats is None:
        return "unreachable"
    state = str(answers.self_stats.get("state", "")).removeprefix("State").lower() or "unknown"
    return f"{state}, unhealthy" if answers.healthy is False else state


def _first(numbers: Mapping[str, float], names: Iterable[str], otherwise: str | None) -> int | None:
    for name in names:
        if name in numbers:
            return int(numbers[name])
    return int(otherwise) if otherwise and otherwise.isdecimal() else None


def _rate(answers: Answers, before: Answers | None) -> float | None:
    if before is None or before.store_stats is None or answers.store_stats is None:
        return None
    passed_s = answers.taken_s - before.taken_s
    done = writes_in(answers.store_stats) - writes_in(before.store_stats)
    return max(0.0, done / passed_s) if passed_s > 0 else None


def writes_in(store_stats: Mapping[str, Any]) -> int:
    """How many writes the store has seen."""
    return sum(int(store_stats.get(name, 0)) for name in WRITES)


def metric_values(text: str) -> dict[str, float]:
    """Metrics without labels, by their names; nothing if the text is none of Prometheus."""
    try:
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.labels
        }
    except ValueError:
        return {}


def summary(rows: Sequence[Row]) -> str:
    """The cluster in one line."""
    leaders = [row.name for row in rows if row.state.startswith("leader")]
    there = sum(row.state != "unreachable" for row in rows)
    terms = sorted({row.term for row in rows if row.term is not None})
    text = f"{len(rows)} members, {there} reachable"
    text += f", leader {leaders[0]}" if len(leaders) == 1 else ""
    text += ", NO LEADER" if not leaders else ""
    text += f", {len(leaders)} LEADERS: {', '.join(leaders)}" if len(leaders) > 1 else ""
    text += f", term {terms[-1]}" if terms else ""
    return text


def table(rows: Sequence[Row]) -> list[str]:
    """A plain table, its columns aligned."""
    lines = [HEAD, *(row.cells() for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """The same as JSON."""
    return {"members": [asdict(row) for row in rows], "summary": summary(rows)}
