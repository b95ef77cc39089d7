"""What servers answer on keys: the JSON of /v2/keys as values, checked field by field.

Pure. Whatever does not have the shape of an answer is a `BadAnswer`. (etcdctl reference,
section 2.)
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from kvraft_cli.errors import EMPTY_BODY, INVALID_JSON, BadAnswer, ServerRefused

_REPLACEMENT = "\ufffd"


class Node(NamedTuple):
    """A key or a directory."""

    key: str
    value: str
    dir: bool
    created_index: int
    modified_index: int
    ttl: int
    expiration: str | None
    nodes: list[Node] | None


class Answer(NamedTuple):
    """The result of a request; `etcd_index` is the X-Etcd-Index that came with it, or 0."""

    action: str
    node: Node
    prev_node: Node | None
    etcd_index: int


class EmptyBody(BadAnswer):
    """A success without a word; a watch asks again."""


def read_answer(status: int, etcd_index: str, body: bytes) -> Answer:
    """Take an answer apart. Raises ServerRefused, EmptyBody or another BadAnswer."""
    if status not in (200, 201):
        raise _refusal(body)
    if not body:
        raise EmptyBody(EMPTY_BODY)
    try:
        fields = _object(_load(body))
        node, prev = fields.get("node"), fields.get("prevNode")
        return Answer(
            _text(fields.get("action")),
            _node(_object(node)),
            None if prev is None else _node(_object(prev)),
            int(etcd_index) if etcd_index else 0,
        )
    except (ValueError, RecursionError):
        raise BadAnswer(INVALID_JSON) from None


def _refusal(body: bytes) -> ServerRefused | BadAnswer:
    try:
        found = _load(body)
        # Go matches the names of this one whatever their case
        fields = {} if found is None else {k.lower(): v for k, v in _object(found).items()}
        return ServerRefused(
            _number(fields.get("errorcode")),
            _text(fields.get("message")),
            _text(fields.get("cause")),
            _number(fields.get("index")),
        )
    except (ValueError, RecursionError):
        return BadAnswer(INVALID_JSON)


def _load(body: bytes) -> object:
    return json.loads(body.decode("utf-8", "replace"))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(value)
    return value


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(value)
    if value.isascii():
        return value
    # halves of surrogate pairs, which JSON can spell, are no text
    return "".join([_REPLACEMENT if "\ud800" <= c <= "\udfff" else c for c in value])


def _number(value: object) -> int:
    if value is None:
        return 0
    if type(value) is not int:
        raise ValueError(value)
    return value


def _flag(value: object) -> bool:
    if value is None:
        return False
    if type(value) is not bool:
        raise ValueError(value)
    return value


def _node(fields: dict[str, Any]) -> Node:
    nodes = fields.get("nodes")
    expiration = fields.get("expiration")
    if nodes is not None and not isinstance(nodes, list):
        raise ValueError(nodes)
    return Node(
        _text(fields.get("key")),
        _text(fields.get("value")),
        _flag(fields.get("dir")),
        _number(fields.get("createdIndex")),
        _number(fields.get("modifiedIndex")),
        _number(fields.get("ttl")),
        None if expiration is None else _text(expiration),
        None if nodes is None else [_node(_object(node)) for node in nodes],
    )
