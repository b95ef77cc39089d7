"""A history as a file of one JSON object per line, so that it can be judged again.

The first line is `{"kind": "history", "format": 1, "server": ..., "command": ...,
"writes_expected": ..., "skew_ns": ...}`. Each other line is one of

    operation   one request of one client, with what it asked for and what it was told
    session     what one connection of a watcher of everything was shown, events as documents
    watch       one watch of a workload
    look        what one member showed in the end
    moment      a fault while it lasted

in any order. Times are nanoseconds of one monotonic clock. Keys and values are bytes, written as
text; what is no UTF-8 is kept by surrogate escapes. A field that has its usual value is left out.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jepsen_like.check.coverage import Seen, Session
from jepsen_like.check.evidence import Evidence, LastLook, Moment
from jepsen_like.check.history import Delivered, Operation, Outcome, Watch
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT: Final = 1
LINE_BYTES_MAX: Final = 64 << 20  # a last look at a large tree is the longest


class RecordError(Exception):
    """A file that is no history: which line, and what is wrong with it."""


def save(evidence: Evidence, path: Path) -> None:
    """Write a history down."""
    with path.open("w", encoding="utf-8") as file:
        for record in _records(evidence):
            file.write(json.dumps(record, separators=(",", ":")) + "\n")


def load(path: Path) -> Evidence:
    """Read one back. Raises RecordError, or OSError."""
    evidence = Evidence()
    number = 0
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LINE_BYTES_MAX), b""), 1):
            try:
                _take(evidence, number, json.loads(line))
            except KeyError as error:
                raise RecordError(f"{path}, line {number}: {error} is missing") from error
            except (ValueError, TypeError, AttributeError) as error:
                raise RecordError(f"{path}, line {number}: {error}") from error
    if not number:
        raise RecordError(f"{path}: the file is empty")
    return evidence


def _records(evidence: Evidence) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "history",
        "format": FORMAT,
        "server": evidence.server,
        "command": evidence.command,
        "writes_expected": evidence.writes_expected,
        "skew_ns": evidence.skew_ns,
    }
    yield from ({"kind": "moment"} | moment._asdict() for moment in evidence.moments)
    yield from ({"kind": "operation"} | _operation(one) for one in evidence.operations)
    yield from ({"kind": "session"} | _session(one) for one in evidence.sessions)
    yield from ({"kind": "watch"} | _watch(one) for one in evidence.watches)
    for look in evidence.finals:
        yield {"kind": "look"} | look._asdict() | {"root": _text(look.root)}


def _take(evidence: Evidence, number: int, record: dict[str, Any]) -> None:
    if not isinstance(record, dict):
        raise ValueError("a line has to be a JSON object")
    kind = record.pop("kind", None)
    if (kind == "history") != (number == 1):
        raise ValueError("the first line, and no other, describes the history")
    if kind == "history":
        if record.pop("format") != FORMAT:
            raise ValueError(f"this is no history of format {FORMAT}")
        for name in ("server", "command", "writes_expected", "skew_ns"):
            setattr(evidence, name, type(getattr(evidence, name))(record[name]))
        return
    takers: dict[str, Callable[[], None]] = {
        "operation": lambda: evidence.operations.append(_operation_of(record)),
        "session": lambda: evidence.sessions.append(_session_of(record)),
        "watch": lambda: evidence.watches.append(_watch_of(record)),
        "look": lambda: evidence.finals.append(_look_of(record)),
        "moment": lambda: evidence.moments.append(Moment(**record)),
    }
    if kind not in takers:
        raise ValueError(f"{kind!r} is no kind of line; there are {', '.join(takers)}")
    takers[kind]()


# --- bytes -----------------------------------------------------------------------------


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _data(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text_or_none(data: bytes | None) -> str | None:
    return None if data is None else _text(data)


def _data_or_none(text: str | None) -> bytes | None:
    return None if text is None else _data(text)


# --- operations -------------------------------------------------------------------------

_PLAIN: Final = (
    *("number", "client", "member", "invoked_ns", "ended_ns", "quorum", "index", "error"),
    *("action", "node_modified"),
)
_NEEDED: Final = ("number", "client", "member", "invoked_ns")
_BLANK: Final = Operation(-1, -1, -1, -1)


def _operation(operation: Operation) -> dict[str, Any]:
    record = {
        name: value
        for name in _PLAIN
        if (value := getattr(operation, name)) != getattr(_BLANK, name) or name in _NEEDED
    }
    record["outcome"] = operation.outcome.value
    record["path"] = _text(operation.node_path)
    if operation.node_value is not None:
        record["value"] = _text(operation.node_value)
    if operation.tag:
        record["tag"] = _text(operation.tag)
    if operation.previous is not None:
        record["previous"] = [_text_or_none(operation.previous[0]), operation.previous[1]]
    if operation.request is not None:
        record["request"] = _request(operation.request)
    if operation.listing is not None:
        record["listing"] = [_text(path) for path in operation.listing]
    if operation.tree is not None:
        record["tree"] = {
            _text(path): [_text_or_none(value), modified]
            for path, (value, modified) in operation.tree.items()
        }
    return record


def _operation_of(record: dict[str, Any]) -> Operation:
    operation = Operation(*(record[name] for name in _NEEDED))
    operation.outcome = Outcome(record["outcome"])
    for name in _PLAIN:
        value = record.get(name, getattr(operation, name))
        if type(value) is not type(getattr(_BLANK, name)):
            raise ValueError(f"{name} is {value!r}")
        setattr(operation, name, value)
    operation.node_path = _data(record["path"])
    operation.node_value = _data_or_none(record.get("value"))
    operation.tag = _data(record.get("tag", ""))
    if "previous" in record:
        operation.previous = _version(record["previous"])
    if "request" in record:
        operation.request = _request_of(record["request"])
    if "listing" in record:
        operation.listing = [_data(path) for path in record["listing"]]
    if "tree" in record:
        operation.tree = {_data(path): _version(pair) for path, pair in record["tree"].items()}
    return operation


def _version(pair: list[Any]) -> tuple[bytes | None, int]:
    value, modified = pair
    return _data_or_none(value), int(modified)


def _request(request: Request) -> dict[str, Any]:
    usual = Request(request.op, request.path)
    return {
        name: Op(value).name if name == "op" else _text(value) if name in _BYTES else value
        for name, value in request._asdict().items()
        if name in ("op", "path") or value != getattr(usual, name)
    }


_BYTES: Final = ("path", "value", "prev_value")


def _request_of(record: dict[str, Any]) -> Request:
    if record["op"] not in Op.__members__:
        raise ValueError(f"{record['op']!r} is no operation")
    fields: dict[str, Any] = {name: _data(v) if name in _BYTES else v for name, v in record.items()}
    fields["op"] = Op[record["op"]]
    return Request(**fields)


# --- watches and looks -------------------------------------------------------------------


def _session(session: Session) -> dict[str, Any]:
    return {
        "member": session.member,
        "first_index": session.first_index,
        "root": _text(session.root),
        "events": [[seen.at_ns, seen.document] for seen in session.events],
    }


def _session_of(record: dict[str, Any]) -> Session:
    session = Session(record["member"], record["first_index"], _data(record["root"]))
    for at_ns, document in record["events"]:
        text = json.dumps(document).encode()
        place = document["node"]["modifiedIndex"]
        session.events.append(Seen(place, text, document, at_ns))
    return session


_WATCH: Final = (
    *("recursive", "stream", "first_index", "registered_index", "recalled_index", "ended"),
    "reached_index",
)


def _watch(watch: Watch) -> dict[str, Any]:
    record = {name: getattr(watch, name) for name in _WATCH}
    record |= {"number": watch.number, "member": watch.member, "path": _text(watch.path)}
    record["refused_cause"] = _text_or_none(watch.refused_cause)
    record["events"] = [
        [seen.index, seen.action, _text(seen.path), _text_or_none(seen.previous)]
        for seen in watch.events
    ]
    return record


def _watch_of(record: dict[str, Any]) -> Watch:
    watch = Watch(record["number"], record["member"], _data(record["path"]))
    for name in _WATCH:
        setattr(watch, name, record[name])
    watch.refused_cause = _data_or_none(record["refused_cause"])
    watch.events = [
        Delivered(index, action, _data(path), _data_or_none(previous))
        for index, action, path, previous in record["events"]
    ]
    return watch


def _look_of(record: dict[str, Any]) -> LastLook:
    return LastLook(**record | {"root": _data(record["root"])})
