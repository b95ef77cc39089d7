"""The table of frame kinds between members: consensus, and what is handed to the leader."""

from __future__ import annotations

from typing import Any

from kvraft import limits
from kvraft.raft.entry import ConfChangeKind
from kvraft.raft.message import MESSAGE_KINDS, MalformedMessage, from_wire
from kvraft.server.changes import VERDICTS, ChangeReply, ChangeRequest
from kvraft.server.checks import CheckReport, CheckVerdict
from kvraft.server.forwarding import Forward, ForwardReply, Verdict
from kvraft.transport.codec import Frame, MalformedFrame

_FORWARD = 64
_FORWARD_REPLY = 65
_CHANGE_REQUEST = 66
_CHANGE_REPLY = 67
_CHECK_REPORT = 68
_CHECK_VERDICT = 69
_REQUESTED_CHANGES = (ConfChangeKind.ADD_LEARNER, ConfChangeKind.UPDATE, ConfChangeKind.REMOVE)
_MAX_CONTEXT_BYTES = 8 * limits.MAX_CHANGE_BYTES  # what escaping can make of a body
_MAX_UINT64 = 2**64 - 1

FRAME_NUMBERS: dict[type[Frame], int] = {
    **{kind: number for number, kind in enumerate(MESSAGE_KINDS)},
    Forward: _FORWARD,
    ForwardReply: _FORWARD_REPLY,
    ChangeRequest: _CHANGE_REQUEST,
    ChangeReply: _CHANGE_REPLY,
    CheckReport: _CHECK_REPORT,
    CheckVerdict: _CHECK_VERDICT,
}


def frame_from_wire(number: int, fields: tuple[Any, ...]) -> Frame:
    """A frame from its kind and fields, all checked. Raises MalformedFrame."""
    if number == _FORWARD:
        return _forward(fields)
    if number == _FORWARD_REPLY:
        return _forward_reply(fields)
    if number == _CHANGE_REQUEST:
        return _change_request(fields)
    if number == _CHANGE_REPLY:
        return _change_reply(fields)
    if number == _CHECK_REPORT:
        return _check_report(fields)
    if number == _CHECK_VERDICT:
        return _check_verdict(fields)
    try:
        return from_wire(number, fields)
    except MalformedMessage as error:
        raise MalformedFrame(str(error)) from error


def _forward(fields: tuple[Any, ...]) -> Forward:
    if len(fields) != len(Forward._fields):
        raise MalformedFrame("forwarded batch: wrong number of fields")
    frame = Forward._make(fields)
    _check_numbers(fields[:5])
    timed, payloads = fields[5:]
    if type(timed) is not bool or type(payloads) is not tuple:
        raise MalformedFrame("forwarded batch: wrong kind of field")
    if not all(type(payload) is bytes and payload for payload in payloads):
        raise MalformedFrame("forwarded batch: a proposal is empty or no bytes")
    return frame


def _forward_reply(fields: tuple[Any, ...]) -> ForwardReply:
    if len(fields) != len(ForwardReply._fields):
        raise MalformedFrame("answer to a forwarded batch: wrong number of fields")
    _check_numbers(fields)
    frame = ForwardReply._make(fields)
    if frame.verdict not in tuple(Verdict):
        raise MalformedFrame(f"answer to a forwarded batch: unknown verdict {frame.verdict}")
    return frame


def _change_request(fields: tuple[Any, ...]) -> ChangeRequest:
    if len(fields) != len(ChangeRequest._fields):
        raise MalformedFrame("membership change: wrong number of fields")
    _check_numbers(fields[:6])
    frame = ChangeRequest._make(fields)
    if frame.kind not in _REQUESTED_CHANGES or frame.member == 0:
        raise MalformedFrame("membership change of an impossible kind or member")
    if type(frame.context) is not bytes or len(frame.context) > _MAX_CONTEXT_BYTES:
        raise MalformedFrame("membership change with a context that is too long or no bytes")
    return frame


def _change_reply(fields: tuple[Any, ...]) -> ChangeReply:
    if len(fields) != len(ChangeReply._fields):
        raise MalformedFrame("answer to a membership change: wrong number of fields")
    _check_numbers(fields[:5])
    frame = ChangeReply._make(fields)
    if frame.verdict not in VERDICTS or type(frame.text) is not bytes:
        raise MalformedFrame("answer to a membership change: unknown verdict, or text no bytes")
    return frame


def _check_report(fields: tuple[Any, ...]) -> CheckReport:
    if len(fields) != len(CheckReport._fields):
        raise MalformedFrame("digest of the data: wrong number of fields")
    _check_numbers(fields[:5])
    frame = CheckReport._make(fields)
    _check_digest(frame.digest)
    _check_digest(frame.version)
    return frame


def _check_verdict(fields: tuple[Any, ...]) -> CheckVerdict:
    if len(fields) != len(CheckVerdict._fields):
        raise MalformedFrame("outcome of a comparison: wrong number of fields")
    _check_numbers(fields[:5])
    frame = CheckVerdict._make(fields)
    if type(frame.agrees) is not bool:
        raise MalformedFrame("outcome of a comparison: wrong kind of field")
    _check_digest(frame.digest)
    return frame


def _check_digest(field: Any) -> None:
    if type(field) is not bytes or len(field) > limits.CHECK_DIGEST_BYTES:
        raise MalformedFrame("a digest or version that is too long or no bytes")


def _check_numbers(fields: tuple[Any, ...]) -> None:
    for field in fields:
        if type(field) is not int or not 0 <= field <= _MAX_UINT64:
            raise MalformedFrame("a number is out of range")
