"""The file that `export` writes and `import-json` reads: one JSON document per line.

    {"kvraft_export": 1, "key": "/", "hidden": [], "etcd_index": 42, "time": 1795286400.123,
     "server": "2.3.8", "program": "kvraftctl ..."}
    {"key": "/a", "value": "x", "modified_index": 7, "created_index": 7}
    {"key": "/d", "dir": true, "ttl": 30, "expiration": "2026-11-21T18:00:30Z", ...}
    {"end": true, "count": 2, "sha256": "..."}

The first line is the head, the last one the end, and there is one line for each key between them,
a directory before its content. `time` is when the answer arrived, in seconds since 1970 (UTC);
`ttl` are the seconds that were left then, `expiration` the same as the server writes it; both are
missing where a key stays. The digest is that of all bytes before the end line. Unknown fields are
ignored, unknown numbers of the format are refused.

A file that breaks off has no end line, and is refused as a whole, as is one that was changed.
Pure: lines in, values out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from kvraft.client.model import KeyNode
from kvraft.errors import CallerError
from kvraft_cli.mirror.tree import clean_key

FORMAT: Final = 1
# What some programs take for the end of a line, and what has no place in UTF-8.
_ESCAPED: Final = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


class BadDump(CallerError):
    """The file is not a whole export; the text names the line and what to do."""

    def __init__(self, line: int, reason: str, fix: str) -> None:
        super().__init__(f"line {line}: {reason}; {fix}")
        self.line = line


class Head(NamedTuple):
    """What an export was made of; `key` and `hidden` are the keys that were asked for."""

    key: str
    hidden: tuple[str, ...]
    etcd_index: int
    time_s: float
    server: str
    program: str


class Record(NamedTuple):
    """One key of an export; `value` is None for a directory, `ttl_s` None for what stays."""

    key: str
    value: str | None
    ttl_s: int | None = None
    expiration: str | None = None
    modified_index: int = 0
    created_index: int = 0


class Dump(NamedTuple):
    """A whole export that has been checked."""

    head: Head
    records: list[Record]


def records_of(node: KeyNode) -> Iterator[Record]:
    """The lines of a recursive answer, sorted by key so that two exports compare well."""
    found = [each for each in node.walk() if each.key not in ("", "/")]
    found.sort(key=lambda each: each.key.split("/"))
    for each in found:
        # a key whose time is over, but whom nobody has removed yet, has an expiration and no ttl
        ttl_s = each.ttl if each.ttl is not None or each.expiration is None else 0
        yield Record(
            each.key,
            None if each.dir else each.value or "",
            ttl_s,
            each.expiration,
            each.modified_index,
            each.created_index,
        )


def encode(head: Head, records: Iterable[Record]) -> Iterator[bytes]:
    """The file, line by line."""
    digest = hashlib.sha256()
    count = -1
    for document in _documents(head, records):
        line = _line(document)
        digest.update(line)
        count += 1
        yield line
    yield _line({"end": True, "count": count, "sha256": digest.hexdigest()})


def _documents(head: Head, records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    yield {
        "kvraft_export": FORMAT,
        "key": head.key,
        "hidden": list(head.hidden),
        "etcd_index": head.etcd_index,
        "time": round(head.time_s, 3),
        "server": head.server,
        "program": head.program,
    }
    for record in records:
        content: dict[str, Any] = {"dir": True} if record.value is None else {"value": record.value}
        document = {"key": record.key, **content}
        if record.ttl_s is not None:
            document |= {"ttl": record.ttl_s, "expiration": record.expiration}
        document |= {
            "modified_index": record.modified_index,
            "created_index": record.created_index,
        }
        yield document


def _line(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def decode(lines: Sequence[bytes]) -> Dump:
    """Read a whole file, its lines with their ends. Raises BadDump and reads no further."""
    if not lines:
        raise BadDump(1, "the file is empty", "export again")
    head = _head(_document(lines, 1), 1)
    digest = hashlib.sha256(lines[0])
    records: list[Record] = []
    seen: set[str] = set()
    for number in range(2, len(lines) + 1):
        document = _document(lines, number)
        if "end" in document:
            _check_end(document, number, len(lines), len(records), digest.hexdigest())
            return Dump(head, records)
        record = _record(document, number)
        if record.key in seen:
            raise BadDump(number, f"the key {record.key} occurs twice", "export again")
        seen.add(record.key)
        records.append(record)
        digest.update(lines[number - 1])
    raise BadDump(
        len(lines) + 1,
        f"the file is truncated: the end line is missing after {len(records)} keys",
        "export again, or copy the file again",
    )


def _document(lines: Sequence[bytes], number: int) -> dict[str, Any]:
    line = lines[number - 1]
    try:
        if not line.endswith(b"\n"):
            raise BadDump(
                number, "the file is truncated within this line", "export or copy it again"
            )
        document = json.loads(line)
    except (ValueError, RecursionError) as error:  # the latter: nested without an end
        raise BadDump(number, f"no JSON ({error})", "it has to be a file of `export`") from None
    if not isinstance(document, dict):
        raise BadDump(number, "no JSON object", "it has to be a file of `export`")
    return document


def _head(document: dict[str, Any], number: int) -> Head:
    version = document.get("kvraft_export")
    if version is None:
        raise BadDump(number, "no head of an export", "it has to be a file of `export`")
    if version != FORMAT:
        raise BadDump(
            number, f"format {version!r} is unknown", "use the version that exported the file"
        )
    hidden = document.get("hidden", [])
    time_s = document.get("time")
    if not isinstance(hidden, list) or not isinstance(time_s, int | float):
        raise BadDump(number, "the head has no list `hidden` or no `time`", "export again")
    return Head(
        str(document.get("key", "/")),
        tuple(str(key) for key in hidden),
        _whole(document, "etcd_index", number) or 0,
        float(time_s),
        str(document.get("server", "")),
        str(document.get("program", "")),
    )


def _record(document: dict[str, Any], number: int) -> Record:
    key = document.get("key")
    if not isinstance(key, str) or key == "/" or clean_key(key) != key:
        raise BadDump(
            number, f"{key!r} is no key", "keys begin with a slash and have no empty part"
        )
    value = document.get("value")
    if document.get("dir") is True:
        value = None
    elif not isinstance(value, str):
        raise BadDump(number, f"{key} has neither a text as `value` nor `dir`", "export again")
    return Record(
        key,
        value,
        _whole(document, "ttl", number),
        document.get("expiration"),
        _whole(document, "modified_index", number) or 0,
        _whole(document, "created_index", number) or 0,
    )


def _whole(document: dict[str, Any], name: str, number: int) -> int | None:
    value = document.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise BadDump(number, f"`{name}` is {value!r} and no whole number", "export again")
    return value


def _check_end(document: dict[str, Any], number: int, last: int, count: int, digest: str) -> None:
    if number != last:
        raise BadDump(number + 1, "something follows the end line", "it has to be one export")
    if document.get("count") != count:
        raise BadDump(
            number,
            f"{count} keys were read, but the end line says {document.get('count')}",
            "lines were lost or added; export again",
        )
    if document.get("sha256") != digest:
        raise BadDump(
            number, "the digest does not match: the file was changed", "export or copy it again"
        )
