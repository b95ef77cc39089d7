"""What a read returned is the state at the index it named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jepsen_like.check.model import Model


def check_reads(operations: Iterable[Operation], model: Model) -> None:
    """Each read returned the state at the index in its header."""
    for operation in operations:
        if operation.request is not None or operation.outcome is not Outcome.OK:
            if operation.request is None and operation.outcome is Outcome.REFUSED:
                if model.at(operation.node_path, operation.index) is not None:
                    raise Violation(f"the key exists at that index: {operation.describe()}")
            continue
        node = model.at(operation.node_path, operation.index)
        if node is None:
            raise Violation(f"no such key at that index: {operation.describe()}")
        if operation.listing is not None:
            expected = model.listing(operation.node_path, operation.index)
            if operation.listing != expected:
                raise Violation(f"listing {operation.listing}, model {expected}")
        elif (node.value, node.modified) != (operation.node_value, operation.node_modified):
            raise Violation(
                f"returned {operation.node_value!r}, modified {operation.node_modified}, "
                f"the model has {node}: {operation.describe()}"
            )
