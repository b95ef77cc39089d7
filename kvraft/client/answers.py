"""What a server's answer means: a result, a refusal, or a failure of that endpoint.

Pure: status, headers and body in, values out. Must not know endpoints, connections or retries.

An answer may come from a member, or from something in between that knows nothing of etcd. So
`judge` believes little: of the answers that are no success, it lets a change count as not done
only if a member (or a proxy of this project) says so in words that it uses for nothing else.

    | Answer to a change | Means |
    |---|---|
    | 2xx | done |
    | 400, 403, 404, 409, 412 and other 4xx; any error code below 300, 400 and 401 | refused |
    | 300 `too many requests`, `no space left ...`, `too many passwords ...` | not done |
    | 503 `too many connections ...`, `proxy: zero endpoints ...`; 429 | not done |
    | 300 `server stopped` | unknown: some say it before, some after giving it to the leader |
    | 300 `request timed out...`, `request cancelled`; 301; any other text | unknown |
    | 408, 500, 502, 503, 504 without such a text | unknown |
    | 2xx that cannot be read | unknown |

A read that failed in any of these ways is repeated elsewhere. (keys-api, sections 11 and 12.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, NamedTuple

from kvraft.client.errors import (
    AuthError,
    ClientError,
    EtcdError,
    MembershipError,
    OutcomeUnknown,
    ReadFailed,
    Unauthorized,
    etcd_error,
)
from kvraft.client.model import KeyNode, MemberRecord, Result, WatchEvent
from kvraft.limits import CLIENT_SHOWN_BYTES

INDEX: Final = "X-Etcd-Index"
CLUSTER: Final = "X-Etcd-Cluster-Id"
_RAFT_INDEX: Final = "X-Raft-Index"
_RAFT_TERM: Final = "X-Raft-Term"

_REQUEST_TIMEOUT: Final = 408
_TOO_MANY: Final = 429
_RAFT_CODES: Final = range(300, 400)

# Said only before anything was given to the leader, or to any member at all.
_NOT_DONE: Final = frozenset(
    (
        "etcdserver: too many requests",
        "etcdserver: no space left on the device of the data directory",
        "too many passwords are being checked or changed; try again",
        "too many connections or unfinished requests",
        "proxy: zero endpoints currently available",
    )
)


class Answer(NamedTuple):
    """One complete answer. Names of headers are compared without regard to case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    endpoint: str = ""

    def etcd_index(self) -> int:
        """The store's index when the answer was made; 0 if it does not say."""
        return header_number(self.headers, INDEX)


class Verdict(Enum):
    """What an answer says about its request."""

    ANSWERED = "answered"
    """A success or a refusal: asking anybody else would give the same."""
    NOT_DONE = "not done"
    """This endpoint cannot serve it now, and has certainly done nothing."""
    UNCLEAR = "unclear"
    """This endpoint failed; it may have passed the request on."""


class Unreadable(ClientError):
    """An answer is not what the API promises."""


@contextmanager
def understood(answer: Answer, changes: bool = False) -> Iterator[None]:
    """While an answer is read: what cannot be made sense of becomes an error for the caller."""
    try:
        yield
    except Unreadable as error:
        kind = OutcomeUnknown if changes else ReadFailed
        raise kind(f"the answer of {answer.endpoint} makes no sense: {error}") from error


def header_number(headers: Mapping[str, str], name: str) -> int:
    """A header as a number; 0 if it is missing or none."""
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else 0


# --- failures ---------------------------------------------------------------------------


def judge(status: int, body: bytes, also: frozenset[int] = frozenset()) -> tuple[Verdict, str]:
    """What an answer means for its request, and the words for it if it is a failure."""
    if 200 <= status < 300 or status in also:
        return Verdict.ANSWERED, ""
    code, text = _reason(status, body)
    if text in _NOT_DONE or status == _TOO_MANY:
        return Verdict.NOT_DONE, text
    if code in _RAFT_CODES:
        return Verdict.UNCLEAR, text
    if code and code < 500:
        return Verdict.ANSWERED, text
    if 400 <= status < 500 and status != _REQUEST_TIMEOUT:
        return Verdict.ANSWERED, text
    return Verdict.UNCLEAR, text


def _reason(status: int, body: bytes) -> tuple[int, str]:
    """The error code, 0 if there is none, and the most telling text of an answer."""
    document = _object(body)
    code = _int(document.get("errorCode"))
    message = _text(document.get("message"))
    text = _text(document.get("cause")) if code in _RAFT_CODES else ""
    if not (text or message) and (line := _first_line(body)) in _NOT_DONE:
        text = line
    return code, text or message or f"status {status}{_shown(body)}"


def _shown(body: bytes) -> str:
    text = _first_line(body)
    return "" if not text or text.startswith("<") else f": {text}"  # no page for a browser


def _first_line(body: bytes) -> str:
    lines = body[:CLIENT_SHOWN_BYTES].decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else ""


def refusal(answer: Answer, route: str = "") -> EtcdError:
    """The error of an answer that was judged to be one; `route` is where it came from."""
    document = _object(answer.body)
    code = _int(document.get("errorCode"))
    message = _text(document.get("message"))
    if code:
        cause = _text(document.get("cause"))
        return etcd_error(code, message, cause, _int(document.get("index")))
    if answer.status == 401:
        return Unauthorized(110, message or "The request requires user authentication")
    if not message:
        message = f"status {answer.status}{_shown(answer.body)}"
        if answer.status == 404 and answer.body.startswith(b"404 page not found"):
            message += " (is the v2 API served there? etcd 3.4 needs --enable-v2)"
    if route == "auth":
        return AuthError(0, message)
    if route == "members":
        return MembershipError(0, message)
    return EtcdError(0, message)


# --- keys -------------------------------------------------------------------------------


def result_of(answer: Answer) -> Result:
    """The result of an operation on keys. Raises EtcdError if it was refused, or Unreadable."""
    if not 200 <= answer.status < 300:
        raise refusal(answer)
    document = _decode(answer.body)
    if not isinstance(document, dict) or not isinstance(document.get("node"), KeyNode):
        raise Unreadable(f"not an answer of the keys API: {_start(answer.body)}")
    headers = answer.headers
    return Result(
        _text(document.get("action")),
        document["node"],
        _previous(document),
        header_number(headers, INDEX),
        header_number(headers, _RAFT_INDEX),
        header_number(headers, _RAFT_TERM),
        answer.status == 201,
    )


def event_of(line: bytes) -> WatchEvent:
    """One event of a watch. Raises Unreadable."""
    document = _decode(line)
    if not isinstance(document, dict) or not isinstance(document.get("node"), KeyNode):
        raise Unreadable(f"not an event: {_start(line)}")
    node: KeyNode = document["node"]
    action = _text(document.get("action"))
    return WatchEvent(action, node, _previous(document), node.modified_index)


def _previous(document: dict[str, Any]) -> KeyNode | None:
    previous = document.get("prevNode")
    return previous if isinstance(previous, KeyNode) else None


def _decode(text: bytes) -> Any:
    """JSON whose innermost objects have become nodes.

    The decoder hands over each object when it is complete, children first, so that deep trees
    need no recursion of ours.
    """
    try:
        return json.loads(text.decode("utf-8", "replace"), object_hook=_node)
    except (ValueError, TypeError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__} in {_start(text)}") from error


def _node(fields: dict[str, Any]) -> object:
    """A node, or the object itself if it is the document around one."""
    if "action" in fields:
        return fields
    key, value, ttl = fields.get("key", "/"), fields.get("value"), fields.get("ttl")
    created, modified = fields.get("createdIndex", 0), fields.get("modifiedIndex", 0)
    children = fields.get("nodes") or ()
    if not (
        isinstance(key, str)
        and (value is None or isinstance(value, str))
        and (ttl is None or isinstance(ttl, int))
        and isinstance(created, int)
        and isinstance(modified, int)
        and all(isinstance(child, KeyNode) for child in children)
    ):
        raise ValueError("a node has a field of the wrong type")
    return KeyNode(
        key,
        value,
        fields.get("dir") is True,
        created,
        modified,
        ttl,
        _text(fields.get("expiration")) or None,
        tuple(children),
    )


def _start(text: bytes) -> str:
    return repr(text[:CLIENT_SHOWN_BYTES].decode("utf-8", "replace"))


# --- beside the keys --------------------------------------------------------------------


def document_of(answer: Answer, route: str = "") -> dict[str, Any]:
    """The JSON object of an answer. Raises EtcdError if it was refused, or Unreadable."""
    if not 200 <= answer.status < 300:
        raise refusal(answer, route)
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"no JSON: {_start(answer.body)}") from error
    if not isinstance(document, dict):
        raise Unreadable(f"not an object: {_start(answer.body)}")
    return document


def accepted(answer: Answer, route: str) -> None:
    """Check that a change was made whose answer holds nothing. Raises EtcdError."""
    if not 200 <= answer.status < 300:
        raise refusal(answer, route)


def member_of(document: object) -> MemberRecord:
    """One member. Raises Unreadable."""
    if not isinstance(document, dict):
        raise Unreadable(f"not a member: {document!r}")
    return MemberRecord(
        _text(document.get("id")),
        _text(document.get("name")),
        texts(document.get("peerURLs")),
        texts(document.get("clientURLs")),
    )


def members_of(document: Mapping[str, Any]) -> list[MemberRecord]:
    """The members of a list. Raises Unreadable."""
    members = document.get("members")
    if not isinstance(members, list):
        raise Unreadable("no list of members")
    return [member_of(member) for member in members]


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list; null is an empty one."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def is_healthy(answer: Answer) -> bool:
    """What `/health` says: old servers wrote a boolean, later ones a string."""
    if answer.status != 200:
        return False
    health = _object(answer.body).get("health")
    return health is True or health == "true"


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _int(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
