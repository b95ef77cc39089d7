"""What the key commands print: the formats simple, extended and json.

Pure. The JSON is Go's, down to the escapes: `<`, `>`, `&` and control characters as \\u00XX, other
text as it is, a fixed order of the fields. (etcdctl reference, section 3.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kvraft_cli.answers import Answer, Node

FORMATS: Final = ("simple", "extended", "json")

_SPECIAL: Final = re.compile('[\\x00-\\x1f"\\\\<>&\u2028\u2029]')
_NAMED: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FRACTION: Final = re.compile(r"\.([0-9]*?)0*(?=Z|[+-])")


def go_string(text: str) -> str:
    """A JSON string as Go's encoder writes it."""
    return '"' + _SPECIAL.sub(_escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    return _NAMED.get(character) or f"\\u{ord(character):04x}"


def rendered(answer: Answer, format_: str) -> str | None:
    """The text for stdout; None if there is no such format."""
    if format_ == "simple":
        return _simple(answer)
    if format_ == "extended":
        return _extended(answer)
    if format_ == "json":
        return _json(answer) + "\n"
    return None


def unsupported(format_: str) -> str:
    """What stderr says about a format that does not exist."""
    return f"Unsupported output format: {format_}\n"


def _simple(answer: Answer) -> str:
    if answer.action != "delete":
        return answer.node.value + "\n"
    return f"PrevNode.Value: {answer.prev_node.value if answer.prev_node else ''}\n"


def _extended(answer: Answer) -> str:
    node, prev = answer.node, answer.prev_node
    lines = [
        f"Key: {node.key}",
        f"Created-Index: {node.created_index}",
        f"Modified-Index: {node.modified_index}",
        *([f"PrevNode.Value: {prev.value}"] if prev else []),
        f"TTL: {node.ttl}",
        f"Index: {answer.etcd_index}",
        *(["", node.value] if answer.action != "delete" else []),
    ]
    return "\n".join(lines) + "\n"


def _json(answer: Answer) -> str:
    prev = "null" if answer.prev_node is None else _json_node(answer.prev_node)
    node = _json_node(answer.node)
    return f'{{"action":{go_string(answer.action)},"node":{node},"prevNode":{prev}}}'


def _json_node(node: Node) -> str:
    parts = [f'"key":{go_string(node.key)}']
    if node.dir:
        parts.append('"dir":true')
    parts.append(f'"value":{go_string(node.value)}')
    nodes = "null" if node.nodes is None else f"[{','.join(map(_json_node, node.nodes))}]"
    parts.append(f'"nodes":{nodes}')
    parts.append(f'"createdIndex":{node.created_index}')
    parts.append(f'"modifiedIndex":{node.modified_index}')
    if node.expiration is not None:
        parts.append(f'"expiration":{go_string(go_time(node.expiration))}')
    if node.ttl:
        parts.append(f'"ttl":{node.ttl}')
    return "{" + ",".join(parts) + "}"


def go_time(text: str) -> str:
    """A time as Go writes it after reading it: without zeros at the end of the fraction."""
    text = text.removesuffix("+00:00") + "Z" if text.endswith("+00:00") else text
    return _FRACTION.sub(lambda found: f".{found[1]}" if found[1] else "", text)


def listed(top: Node, mark_directories: bool) -> Iterator[str]:
    """The keys of a listing, each directory before its content; a file lists itself."""
    if not top.dir:
        yield top.key
    waiting = list(reversed(top.nodes or []))
    while waiting:
        node = waiting.pop()
        yield node.key + "/" if node.dir and mark_directories else node.key
        waiting.extend(reversed(node.nodes or []))
