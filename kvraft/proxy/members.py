"""Reading a member list off a peer port: whom to ask for the next one, and where clients go.

Pure. The list comes from another machine, so everything in it is checked.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from kvraft.server.urls import UrlError, parse_url


class BadMemberList(ValueError):
    """What a peer sent is not a list of members."""


class Found(NamedTuple):
    """What a proxy takes from a member list; both sorted and without repetitions."""

    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


def read_members(text: bytes) -> Found:
    """The URLs in `GET /members` of a peer port (admin-api.md, section 6). Raises BadMemberList."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise BadMemberList("the answer is not JSON") from None
    if not isinstance(document, list):
        raise BadMemberList("the answer is not a list")
    peer_urls: set[str] = set()
    client_urls: set[str] = set()
    for member in document:
        if not isinstance(member, dict):
            raise BadMemberList("a member is not an object")
        peer_urls |= _urls(member.get("peerURLs"))
        client_urls |= _urls(member.get("clientURLs"))
    if not peer_urls:
        raise BadMemberList("no member has a peer URL")
    return Found(tuple(sorted(peer_urls)), tuple(sorted(client_urls)))


def _urls(texts: object) -> set[str]:
    """The URLs of one member; it has none of a kind before it has started."""
    if texts is None:
        return set()
    if not isinstance(texts, list):
        raise BadMemberList("the URLs of a member are not a list")
    try:
        return {parse_url(text) for text in texts}
    except (UrlError, AttributeError) as error:
        raise BadMemberList(str(error)) from None
