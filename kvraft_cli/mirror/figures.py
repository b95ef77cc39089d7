"""What a mirror tells about itself. Pure: numbers in, text out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Figures:
    """Counters of one run; `difference` is what a user waits for to become 0."""

    pending: int = 0  # steps that wait or run
    conflicts: dict[str, str] = field(default_factory=dict)  # key -> why it cannot be written
    extra: int = 0  # keys that only the target has, as of the last check
    keys: int = 0  # of the source
    source_index: int = 0  # the last state of the source that is known whole
    target_keys: int = 0  # as of the last check
    events: int = 0
    writes: int = 0
    removals: int = 0
    retimes: int = 0  # TTLs set anew without a change of the value
    resyncs: int = 0  # times that the source's history was gone, and its tree was read instead
    retries: int = 0  # steps that failed and were tried again
    unknown: int = 0  # of these, steps of which nobody said whether they had happened
    checks: int = 0  # comparisons of both trees
    mismatches: int = 0  # keys that the last check found to differ, without a reason
    mended: int = 0  # such keys in all checks
    replaced: int = 0  # keys of the source with bytes that are no UTF-8
    trouble: str = ""  # why nothing gets through at present
    source_trouble: str = ""  # why no events come from the source

    @property
    def difference(self) -> int:
        """How many keys are not known to be the same on both sides."""
        return self.pending + len(self.conflicts)

    def rows(self) -> list[tuple[str, str]]:
        """Names and values of what is shown beside the difference."""
        always = (
            ("keys", self.keys),
            ("events", self.events),
            ("writes", self.writes),
            ("removals", self.removals),
            ("ttl", self.retimes),
            ("resyncs", self.resyncs),
            ("checks", self.checks),
            ("mended", self.mended),
        )
        sometimes = (
            ("retries", self.retries),
            ("unknown", self.unknown),
            ("conflicts", len(self.conflicts)),
            ("only at the target", self.extra),
        )
        shown = [*always, *(row for row in sometimes if row[1])]
        return [(name, str(value)) for name, value in shown]

    def line(self) -> str:
        """All that matters in one line."""
        rows = [("difference", str(self.difference)), *self.rows()]
        text = ", ".join(f"{name} {value}" for name, value in rows)
        if self.source_trouble:
            text += f" (no events: {self.source_trouble})"
        return text + (f" ({self.trouble})" if self.trouble else "")
