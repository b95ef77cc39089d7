"""Nothing expires early, and under a healthy leader nothing late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.check.history import Operation

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.check.agreed import AgreedLog, Applied

TTL_DRIFT: Final = 0.011  # two clocks, each off by up to MAX_DRIFT_PPM, and rounding
# wall clocks are that far apart when a whole cluster starts again
TTL_SLACK_NS: Final = 450_000_000


def check_ttls(
    operations: Iterable[Operation], agreed: AgreedLog, healthy_ns: int = -1, late_ns: int = 0
) -> None:
    """No key went before its ttl had passed since the client asked for it.

    Nor, from `healthy_ns` on and under one leader, more than `late_ns` after its time.
    """
    asked: dict[int, tuple[Operation, int, Applied]] = {}
    for operation in operations:
        for applied in agreed.by_tag.get(operation.tag, []) if operation.tag else []:
            request = operation.request
            if request is not None and request.ttl_seconds is not None:
                for change in applied.changes:
                    asked[change.index] = operation, request.ttl_seconds * SECOND_NS, applied
    for applied in agreed.entries:
        for change in applied.changes:
            if change.action != "expire" or change.previous is None:
                continue
            found = asked.get(change.previous.modified)
            if found is None:
                continue
            operation, ttl_ns, written = found
            lived_ns = applied.at_ns - operation.invoked_ns
            if lived_ns < ttl_ns * (1 - TTL_DRIFT) - TTL_SLACK_NS:
                raise Violation(
                    f"expired after {lived_ns / SECOND_NS:.3f} s: {operation.describe()}"
                )
            healthy = 0 <= healthy_ns <= operation.invoked_ns
            if healthy and written.entry.term == applied.entry.term:
                overdue_ns = applied.at_ns - written.at_ns - ttl_ns
                if overdue_ns > ttl_ns * TTL_DRIFT + late_ns:
                    raise Violation(
                        f"expired {overdue_ns / SECOND_NS:.3f} s late: {operation.describe()}"
                    )


def check_expired(agreed: AgreedLog, paths: Iterable[bytes]) -> None:
    """Keys whose time is up must be gone when the cluster has been healthy for long enough."""
    for path in paths:
        node = agreed.model.nodes.get(path)
        if node is not None and node.expiration_ns:
            raise Violation(f"{path!r} is still there although the cluster is healthy: {node}")
