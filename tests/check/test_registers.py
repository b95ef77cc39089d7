"""Which keys are registers, and what the search is told of indexes."""

from __future__ import annotations

from typing import Any

import pytest

from jepsen_like.base import Violation
from jepsen_like.check.history import Operation, Outcome
from jepsen_like.check.linear import KEEP, Needs, Verdict
from jepsen_like.check.registers import check_registers, judge_registers, registers_of
from kvraft.store.request import Op, Request


class Told:
    """Operations one after the other."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def write(self, op: Op, path: bytes, value: bytes = b"", **more: Any) -> Operation:
        operation = self.begin(path)
        operation.request = Request(op, path, value, **more)
        operation.node_value = value
        return operation

    def read(self, path: bytes, value: bytes | None, *, quorum: bool = True) -> Operation:
        operation = self.begin(path)
        operation.node_value, operation.quorum = value, quorum
        if value is None:
            operation.outcome, operation.error = Outcome.REFUSED, "KEY_NOT_FOUND"
        return operation

    def begin(self, path: bytes) -> Operation:
        number = len(self.operations)
        operation = Operation(number, 0, 0, 10 * number)
        operation.node_path, operation.ended_ns = path, 10 * number + 5
        operation.outcome = Outcome.OK
        self.operations.append(operation)
        return operation


def test_what_is_no_register() -> None:
    told = Told()
    told.write(Op.SET, b"/plain", b"1")
    told.write(Op.SET, b"/fleeting", b"1", ttl_seconds=5)
    told.write(Op.CREATE, b"/directory", directory=True)
    told.write(Op.SET, b"/tree/leaf", b"1")
    told.write(Op.DELETE, b"/tree", directory=True, recursive=True)
    told.write(Op.CREATE_IN_ORDER, b"/queue", b"1").node_path = b"/queue/%020d" % 7
    told.write(Op.DELETE, b"/queue/%020d" % 7)
    assert set(registers_of(told.operations)) == {b"/plain"}


def test_a_condition_on_an_index_needs_a_key() -> None:
    told = Told()
    swap = told.write(Op.COMPARE_AND_SWAP, b"/a", b"2", prev_index=7)
    swap.outcome = Outcome.UNKNOWN
    refused = told.write(Op.COMPARE_AND_SWAP, b"/a", b"3", prev_index=7)
    refused.outcome, refused.error = Outcome.REFUSED, "COMPARE_FAILED"
    calls = registers_of(told.operations)[b"/a"]
    assert [(call.needs, call.value, call.leaves) for call in calls] == [
        (Needs.OTHER, None, b"2"),
        (Needs.OTHER, None, KEEP),
    ]
    assert [call.ended_ns for call in calls] == [None, 15]


def test_the_previous_value_of_an_answer_is_believed() -> None:
    told = Told()
    told.write(Op.SET, b"/a", b"1")
    told.write(Op.SET, b"/a", b"2").previous = (b"something else", 1)
    assert judge_registers(told.operations)[b"/a"].verdict is Verdict.VIOLATION


def test_plain_reads_count_only_on_demand() -> None:
    told = Told()
    told.write(Op.SET, b"/a", b"1")
    told.write(Op.SET, b"/a", b"2").previous = (b"1", 1)
    told.read(b"/a", b"1", quorum=False)
    assert judge_registers(told.operations)[b"/a"].verdict is Verdict.LINEARIZABLE
    assert judge_registers(told.operations, local=True)[b"/a"].verdict is Verdict.VIOLATION


def test_a_deleted_key_is_absent() -> None:
    told = Told()
    told.write(Op.SET, b"/a", b"1")
    told.write(Op.DELETE, b"/a").previous = (b"1", 1)
    told.read(b"/a", None)
    assert judge_registers(told.operations)[b"/a"].verdict is Verdict.LINEARIZABLE
    check_registers(told.operations)
    told.read(b"/a", b"1")
    assert judge_registers(told.operations)[b"/a"].verdict is Verdict.VIOLATION
    with pytest.raises(Violation, match="/a is no register: the longest explanation"):
        check_registers(told.operations)
