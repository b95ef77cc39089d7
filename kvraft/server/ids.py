"""The ids of members and clusters, bit for bit those of etcd 2.3.

An id is 64 bits cut from a SHA-1 sum, so that every member computes the same ids from the same
flags without talking to the others. Once made they are stored and never computed again. 0 is
no id. In text they are hexadecimal without leading zeros; they sort as numbers, not as text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Final

_ID_BYTES: Final = 8
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")


class IdError(ValueError):
    """A text is not the hexadecimal form of a 64-bit number."""


def member_id(peer_urls: Iterable[str], token: str, unix_seconds: int | None = None) -> int:
    """The id of a member with these peer URLs.

    Initial members take the cluster's token and no time, so that all agree. A member added at
    run time takes an empty token and the time, so that it gets another id than a removed
    member had at the same address.
    """
    text = "".join(sorted(peer_urls)) + token
    if unix_seconds is not None:
        text += str(unix_seconds)
    return _first_bytes(text.encode("utf-8", "surrogateescape"))


def cluster_id(member_ids: Iterable[int]) -> int:
    """The id of a cluster that starts with these members, in whatever order they are given."""
    return _first_bytes(b"".join(i.to_bytes(_ID_BYTES, "big") for i in sorted(member_ids)))


def first_request_id(member: int, incarnation: int) -> int:
    """From where a life of a member numbers its requests in the log, upward and around.

    Each life of each member needs numbers of its own, as an answer goes to whoever waits for the
    number. Cut from a sum, all 64 bits differ between lives; with a few bits of the member's id in
    front, two members whose ids agree in these would count alike whenever they start together.
    """
    return _first_bytes(b"requests %x %x" % (member, incarnation))


def format_id(number: int) -> str:
    """The text that clients and logs see."""
    return f"{number:x}"


def parse_id(text: str) -> int:
    """The number behind a text; capitals and leading zeros are allowed. Raises `IdError`."""
    if not _HEX.fullmatch(text):
        raise IdError(f"not a hexadecimal number: {text}")
    number = int(text, 16)
    if number >> (8 * _ID_BYTES):
        raise IdError(f"more than 64 bits: {text}")
    return number


def _first_bytes(data: bytes) -> int:
    digest = hashlib.sha1(data, usedforsecurity=False).digest()
    return int.from_bytes(digest[:_ID_BYTES], "big")
