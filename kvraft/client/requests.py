"""What is asked of a server: one request as a value, its path and parameters quoted.

Pure: text in, bytes and text out. Must not know endpoints, connections or retries.

Where parameters stand: conditions and flags in the query, as they are short; value, TTL and the
value to compare with in the form of a PUT or POST, since old servers cut off a request line above
4 KiB. A DELETE has no form, so everything is in its query. (keys-api, section 2.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import quote, urlencode

KEYS: Final = "/v2/keys"
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
STREAM: Final = "X-Kvraft-Stream"
COMPLETE: Final = "complete"

Value = str | bytes
"""A key's value: text is sent as UTF-8, bytes as they are."""

_SAFE: Final = "/:@!$&'()*+,=-._~"  # a plain character of a path, beside letters and digits
_NO_STATUS: Final[frozenset[int]] = frozenset()


class Request(NamedTuple):
    """One request to any endpoint.

    `target` is path and query, quoted. `changes` says that the server may change something, so
    that the request must not be repeated in the dark. `also` are statuses beside the successes
    that are an answer on this route, rather than a failure of the endpoint.
    """

    method: str
    target: str
    body: bytes | None = None
    content_type: str = ""
    changes: bool = False
    also: frozenset[int] = _NO_STATUS
    headers: tuple[tuple[str, str], ...] = ()


def clean_key(key: str) -> str:
    """A key as the server knows it: with a leading slash, repeated slashes joined.

    A trailing slash stays, as permissions see it. Raises ValueError for a component `.` or `..`,
    which no key can have: a server would take `/a/../b` for `/b`, and a name that came
    from somebody else must not lead out of its directory.
    """
    if not isinstance(key, str):
        raise TypeError(f"a key is a str, not {type(key).__name__}")
    parts = [part for part in key.split("/") if part]
    if "." in parts or ".." in parts:
        raise ValueError(f"the key {key!r} has a component '.' or '..', which no key can have")
    trailing = "/" if parts and key.endswith("/") else ""
    return "/" + "/".join(parts) + trailing


def key_target(key: str, query: Mapping[str, str] | None = None) -> str:
    """The target of a request on this key; the characters of the key may be any."""
    path = KEYS + quote(clean_key(key), safe=_SAFE, errors="surrogateescape")
    return f"{path}?{urlencode(query)}" if query else path


def _bytes(value: Value) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise TypeError(f"a value is a str or bytes, not {type(value).__name__}")
    return value.encode("utf-8", "surrogateescape")


def _seconds(ttl: int) -> str:
    if isinstance(ttl, bool) or not isinstance(ttl, int):
        raise TypeError(f"a TTL is a whole number of seconds, not {ttl!r}")
    if ttl < 0:
        raise ValueError(f"a TTL cannot be negative: {ttl}")
    return str(ttl)


def _index(name: str, index: int) -> str:
    if isinstance(index, bool) or not isinstance(index, int):
        raise TypeError(f"{name} is a whole number, not {index!r}")
    if index <= 0:
        raise ValueError(f"{name} is at least 1, not {index}")
    return str(index)


def _form(
    value: Value | None = None, ttl: int | None = None, prev_value: Value | None = None
) -> bytes:
    fields: list[tuple[str, bytes | str]] = []
    if value is not None:
        fields.append(("value", _bytes(value)))
    if ttl is not None:
        fields.append(("ttl", _seconds(ttl)))
    if prev_value is not None:
        fields.append(("prevValue", _bytes(prev_value)))
    return urlencode(fields).encode("ascii")


def get(
    key: str, *, recursive: bool = False, sorted_: bool = False, quorum: bool = False
) -> Request:
    """Read a key or a directory."""
    query = {}
    if recursive:
        query["recursive"] = "true"
    if sorted_:
        query["sorted"] = "true"
    if quorum:
        query["quorum"] = "true"
    return Request("GET", key_target(key, query))


def head(key: str) -> Request:
    """Ask for the store's index; whether the key exists does not matter."""
    return Request("HEAD", key_target(key), also=frozenset((400, 401, 403, 404)))


def wait(key: str, *, recursive: bool, from_index: int, stream: bool = False) -> Request:
    """Wait for the first event at `from_index` or later; as a stream, for all of them.

    A server whose streams leave nothing out says so in its answer, in the same words.
    """
    query = {"wait": "true", "waitIndex": _index("from_index", from_index)}
    if recursive:
        query["recursive"] = "true"
    if stream:
        query["stream"] = "true"
    headers = ((STREAM, COMPLETE),) if stream else ()
    return Request("GET", key_target(key, query), headers=headers)


def put(
    key: str,
    *,
    value: Value | None = None,
    ttl: int | None = None,
    exist: bool | None = None,
    directory: bool = False,
) -> Request:
    """Set (`exist` None), create (False) or update (True)."""
    query = {}
    if exist is not None:
        query["prevExist"] = "true" if exist else "false"
    if directory:
        query["dir"] = "true"
    return Request("PUT", key_target(key, query), _form(value, ttl), FORM, changes=True)


def compare_and_swap(
    key: str,
    value: Value,
    *,
    prev_value: Value | None = None,
    prev_index: int | None = None,
    ttl: int | None = None,
) -> Request:
    """Replace the value if the key is as expected."""
    query = _expected(prev_value, prev_index)
    target = key_target(key, query)
    return Request("PUT", target, _form(value, ttl, prev_value), FORM, changes=True)


def _expected(prev_value: Value | None, prev_index: int | None) -> dict[str, str]:
    # Without a condition the server would take it for an ordinary write.
    if prev_value is None and prev_index is None:
        raise ValueError("nothing to compare with: give prev_value, prev_index or both")
    return {} if prev_index is None else {"prevIndex": _index("prev_index", prev_index)}


def refresh(key: str, ttl: int, prev_index: int | None = None) -> Request:
    """Give a key that exists another TTL, and tell no watcher."""
    query = {"prevExist": "true", "refresh": "true"}
    if prev_index is not None:
        query["prevIndex"] = _index("prev_index", prev_index)
    return Request("PUT", key_target(key, query), _form(ttl=ttl), FORM, changes=True)


def post(directory: str, *, value: Value, ttl: int | None = None) -> Request:
    """Create a key below a directory; its name is the number of the change."""
    return Request("POST", key_target(directory), _form(value, ttl), FORM, changes=True)


def delete(key: str, *, recursive: bool = False, directory: bool = False) -> Request:
    """Delete a key or a directory."""
    query = {}
    if recursive:
        query["recursive"] = "true"
    if directory:
        query["dir"] = "true"
    return Request("DELETE", key_target(key, query), changes=True)


def compare_and_delete(
    key: str, *, prev_value: Value | None = None, prev_index: int | None = None
) -> Request:
    """Delete a key if it is as expected."""
    query: dict[str, str | bytes] = {**_expected(prev_value, prev_index)}
    if prev_value is not None:
        query["prevValue"] = _bytes(prev_value)
    return Request("DELETE", f"{key_target(key)}?{urlencode(query)}", changes=True)


# --- beside the keys --------------------------------------------------------------------


def read(target: str, *also: int) -> Request:
    """Read a route beside the keys."""
    return Request("GET", target, also=frozenset(also))


def change(method: str, target: str, document: object = None) -> Request:
    """Change something beside the keys; the document is sent as JSON."""
    if document is None:
        return Request(method, target, changes=True)
    return Request(method, target, json.dumps(document).encode("ascii"), JSON, changes=True)


def name_target(route: str, name: str) -> str:
    """The target of a user, role or member, whose name may hold any character but a slash."""
    if not name or "/" in name or name in (".", ".."):
        raise ValueError(f"not a name: {name!r}")
    return f"{route}/{quote(name, safe='', errors='surrogateescape')}"


def url_list(urls: str | Sequence[str]) -> list[str]:
    """URLs given as one text, with commas if they are several, or as a sequence."""
    given = urls.split(",") if isinstance(urls, str) else list(urls)
    return [url.strip() for url in given if url.strip()]
