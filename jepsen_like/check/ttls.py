"""Nothing expires early, and under a healthy leader nothing late."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jepsen_like.base import SECOND_NS, Violation
from jepsen_like.check.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jepsen_like.check.agreed import AgreedLog, Applied
    from jepsen_like.check.evidence import Moment
    from jepsen_like.check.explain import Explanation
    from jepsen_like.check.model import Model

TTL_DRIFT: Final = 0.011  # two clocks, each off by up to MAX_DRIFT_PPM, and rounding
# wall clocks are that far apart when a whole cluster starts again
TTL_SLACK_NS: Final = 450_000_000
# a write that took long, one sync period, and a machine that does much else
LATE_NS: Final = 4 * SECOND_NS
RECOVERY_NS: Final = 10 * SECOND_NS  # after a fault, until a leader is sure to do its work again


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


def check_expiries(
    explanation: Explanation, model: Model, moments: Sequence[Moment], skew_ns: int
) -> int:
    """The same from the outside: what watchers saw go, and when; the latest one in nanoseconds.

    `model` is that of `replay`: an expiration is the moment of the request and the ttl. Late is
    a finding only where the request was answered, and no fault lasted or had just ended.
    """
    latest_ns = 0
    setters = _setters(explanation)
    for change in model.changes:
        seen = explanation.expiries.get(change.index)
        if seen is None or seen.at_ns < 0 or change.previous is None:
            continue
        due_ns = change.previous.expiration_ns
        setter = setters.get((change.path, due_ns))
        if setter is None:
            continue
        early_ns = due_ns - seen.at_ns
        if early_ns > TTL_DRIFT * (due_ns - setter.invoked_ns) + TTL_SLACK_NS + skew_ns:
            raise Violation(f"expired {early_ns / SECOND_NS:.3f} s early: {setter.describe()}")
        if setter.outcome is Outcome.OK and not _disturbed(moments, setter, seen.at_ns):
            late_ns = -early_ns - (setter.ended_ns - setter.invoked_ns)
            latest_ns = max(latest_ns, late_ns)
            if late_ns > LATE_NS + skew_ns:
                raise Violation(
                    f"expired {late_ns / SECOND_NS:.3f} s late, with no fault in force: "
                    f"{setter.describe()}"
                )
    return latest_ns


def _setters(explanation: Explanation) -> dict[tuple[bytes, int], Operation]:
    """Key and expiration -> who asked for it.

    Refreshes of unknown outcome are left out: several of them cannot be told apart.
    """
    found = {}
    for operation in explanation.by_index.values():
        request = operation.request
        if request is None or request.ttl_seconds is None:
            continue
        if operation.outcome is Outcome.OK or not request.refresh:
            due_ns = operation.invoked_ns + request.ttl_seconds * SECOND_NS
            found[operation.node_path, due_ns] = operation
    return found


def _disturbed(moments: Sequence[Moment], setter: Operation, until_ns: int) -> bool:
    from_ns = setter.invoked_ns - RECOVERY_NS
    return any(one.from_ns <= until_ns and from_ns <= one.until_ns for one in moments)


def check_overdue(explanation: Explanation, model: Model, final_ns: int, skew_ns: int) -> None:
    """At the end, when all has been well for a while, nothing is left whose time is up."""
    setters = _setters(explanation)
    for path, node in model.nodes.items():
        setter = setters.get((path, node.expiration_ns))
        if setter is None or setter.outcome is not Outcome.OK:
            continue
        overdue_ns = final_ns - node.expiration_ns - (setter.ended_ns - setter.invoked_ns)
        if overdue_ns > LATE_NS + skew_ns:
            raise Violation(
                f"should have gone {overdue_ns / SECOND_NS:.3f} s ago, and is there: "
                f"{setter.describe()}"
            )
