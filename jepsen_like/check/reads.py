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
        if operation.request is not None:
            continue
        if operation.outcome is Outcome.REFUSED:
            if model.at(operation.node_path, operation.index) is not None:
                raise Violation(f"the key exists at that index: {operation.describe()}")
        elif operation.outcome is Outcome.OK:
            _check_read(operation, model)


def _check_read(operation: Operation, model: Model) -> None:
    path, index = operation.node_path, operation.index
    node = model.at(path, index)
    if node is None:
        raise Violation(f"no such key at that index: {operation.describe()}")
    if operation.tree is not None:
        below = model.tree(path, index)
        expected = {key: (node.value, node.modified) for key, node in below.items()}
        for key in sorted(expected.keys() | operation.tree.keys()):
            if operation.tree.get(key) != expected.get(key):
                raise Violation(
                    f"returned {key!r} as {operation.tree.get(key)}, the model has "
                    f"{expected.get(key)}: {operation.describe()}"
                )
    elif operation.listing is not None:
        names = model.listing(path, index)
        if operation.listing != names:
            raise Violation(f"listing {operation.listing}, model {names}: {operation.describe()}")
    elif (node.value, node.modified) != (operation.node_value, operation.node_modified):
        raise Violation(
            f"returned {operation.node_value!r}, modified {operation.node_modified}, "
            f"the model has {node}: {operation.describe()}"
        )
