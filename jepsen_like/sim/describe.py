"""Short words for what travels and what is asked: one line each, for people.

Everything is shortened to a bounded length, since values and lists of entries are not bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jepsen_like.check.history import Outcome
from kvraft.raft.entry import SnapshotMeta
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from jepsen_like.check.history import Operation

MAX_CHARS: Final = 120
ENVELOPE: Final = ("to", "sender")  # shown as the arrow already


def frame_kind(frame: object) -> str:
    """The kind of a frame: the name of its class."""
    return type(frame).__name__


def frame_fields(frame: object) -> str:
    """What a frame says, without its ends and its kind."""
    fields: tuple[str, ...] = getattr(frame, "_fields", ())
    if not fields:
        return shorten(repr(frame))
    named = ((name, getattr(frame, name)) for name in fields if name not in ENVELOPE)
    return shorten(" ".join(_field(name, value) for name, value in named))


def _field(name: str, value: Any) -> str:
    if name == "entries":
        return f"entries {value[0].index}..{value[-1].index}" if value else "no entries"
    if isinstance(value, SnapshotMeta):
        return f"snapshot {value.index} of term {value.term}"
    if isinstance(value, bool):
        return name if value else f"not {name}"
    if isinstance(value, tuple | list):
        return f"{len(value)} {name}"
    return f"{name} {text(value)}"


def operation(one: Operation) -> str:
    """What a client asked for."""
    if one.request is None:
        return shorten(f"{'quorum ' if one.quorum else ''}get {text(one.node_path)}")
    return request(one.request)


def answer(one: Operation) -> str:
    """What the client was told."""
    words = [one.outcome.value]
    if one.error:
        words.append(one.error)
    if one.outcome in (Outcome.OK, Outcome.REFUSED) and one.index:
        words.append(f"index {one.index}")
    if one.request is None and one.outcome is Outcome.OK and one.node_value is not None:
        words.append(f"value {text(one.node_value)}")
    return shorten(" ".join(words))


def request(asked: Request) -> str:
    """A change of the key space."""
    words = [Op(asked.op).name.lower().replace("_", "-"), text(asked.path)]
    if asked.value:
        words.append(text(asked.value))
    if asked.prev_value:
        words.append(f"if {text(asked.prev_value)}")
    if asked.prev_index:
        words.append(f"if index {asked.prev_index}")
    if asked.ttl_seconds is not None:
        words.append(f"ttl {asked.ttl_seconds}")
    words += [name for name in ("directory", "recursive", "refresh") if getattr(asked, name)]
    return shorten(" ".join(words))


def text(part: object) -> str:
    """One value as it is read best."""
    if isinstance(part, bytes):
        return part.decode("utf-8", "backslashreplace")
    if isinstance(part, Request):
        return request(part)
    if isinstance(part, dict):
        return " ".join(f"{name} {text(value)}" for name, value in part.items())
    return part if isinstance(part, str) else repr(part)


def shorten(words: str) -> str:
    """At most MAX_CHARS, printable, on one line."""
    clean = "".join(char if char.isprintable() else "?" for char in words)
    return clean if len(clean) <= MAX_CHARS else clean[: MAX_CHARS - 3] + "..."
