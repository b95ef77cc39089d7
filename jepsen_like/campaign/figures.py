"""Availability, gaps, recoveries and latencies, out of what clients recorded."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from jepsen_like.check.history import Operation, Outcome
from jepsen_like.report.result import Slice
from kvraft.store.request import Op

SLICE_NS: Final = 100_000_000  # availability is counted in tenths of a second
NS_PER_S: Final = 1e9
NS_PER_MS: Final = 1e6


def counts(operations: Iterable[Operation]) -> dict[str, int]:
    """Operations by outcome. One that was broken off is of unknown outcome, too."""
    found = Counter(_outcome(operation) for operation in operations)
    return {name: found[name] for name in ("ok", "refused", "failed", "unknown")}


def acknowledged(operations: Iterable[Operation], began_ns: int, ended_ns: int) -> list[int]:
    """When writes were acknowledged between two moments, ascending."""
    return sorted(
        operation.ended_ns
        for operation in operations
        if operation.outcome is Outcome.OK
        and operation.request is not None
        and began_ns <= operation.ended_ns <= ended_ns
    )


def availability(ends_ns: Sequence[int], began_ns: int, ended_ns: int) -> float:
    """Share of all tenths of a second that saw an acknowledged write."""
    slices = max(1, (ended_ns - began_ns) // SLICE_NS)
    seen = {(end - began_ns) // SLICE_NS for end in ends_ns}
    return len({number for number in seen if number < slices}) / slices


def longest_gap_s(ends_ns: Sequence[int], began_ns: int, ended_ns: int) -> float:
    """Longest time without an acknowledged write."""
    marks = [began_ns, *ends_ns, ended_ns]
    return max(after - before for before, after in zip(marks, marks[1:], strict=False)) / NS_PER_S


def recoveries_s(ends_ns: Sequence[int], healed_ns: Iterable[int]) -> list[float]:
    """From each of these moments to the next acknowledged write, if there is one."""
    found = []
    for moment in healed_ns:
        place = bisect_right(ends_ns, moment)
        if place < len(ends_ns):
            found.append((ends_ns[place] - moment) / NS_PER_S)
    return found


def slices(operations: Iterable[Operation], began_ns: int, ended_ns: int) -> list[Slice]:
    """Each tenth of a second: what was answered in it, and how fast."""
    answers: dict[int, Counter[str]] = defaultdict(Counter)
    latencies: dict[int, list[float]] = defaultdict(list)
    for operation in operations:
        if not began_ns <= operation.ended_ns <= ended_ns:
            continue
        number = (operation.ended_ns - began_ns) // SLICE_NS
        answers[number][_outcome(operation)] += 1
        if operation.outcome is Outcome.OK:
            latencies[number].append(_latency_ms(operation))
    found = []
    for number in range((ended_ns - began_ns) // SLICE_NS + 1):
        told, taken = answers[number], sorted(latencies[number])
        found.append(
            Slice(
                at_s=round(number * SLICE_NS / NS_PER_S, 1),
                ok=told["ok"],
                refused=told["refused"],
                failed=told["failed"],
                unknown=told["unknown"],
                p50_ms=quantile(taken, 0.5),
                p99_ms=quantile(taken, 0.99),
                longest_ms=quantile(taken, 1.0),
            )
        )
    return found


def latencies_ms(operations: Iterable[Operation]) -> dict[str, list[float]]:
    """Kind of operation -> p50, p90, p99 and maximum of its ok answers."""
    taken: dict[str, list[float]] = defaultdict(list)
    for operation in operations:
        if operation.outcome is Outcome.OK:
            taken[_kind(operation)].append(_latency_ms(operation))
    return {
        kind: [quantile(sorted(found), share) for share in (0.5, 0.9, 0.99, 1.0)]
        for kind, found in sorted(taken.items())
    }


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed; 0 if there are none."""
    if not ascending:
        return 0.0
    return round(ascending[min(len(ascending) - 1, int(share * len(ascending)))], 3)


def _outcome(operation: Operation) -> str:
    pending = operation.outcome is Outcome.PENDING
    return Outcome.UNKNOWN.value if pending else operation.outcome.value


def _kind(operation: Operation) -> str:
    if operation.request is None:
        return "quorum read" if operation.quorum else "read"
    return Op(operation.request.op).name.lower().replace("_", " ")


def _latency_ms(operation: Operation) -> float:
    return (operation.ended_ns - operation.invoked_ns) / NS_PER_MS
