"""Who is in the cluster: names and addresses, kept as records beside the keys.

The consensus core knows members by id only; where they can be reached and what they are called is
replicated in the store's records, so that it is part of snapshots. Etcd 2.3 keeps the same facts in
a hidden part of its tree (`/0/members/<id>/...`), which is why changes move the etcd index.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kvraft.api.service import MemberInfo
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION_RECORD = b"/0/version"
_MEMBERS = b"/0/members/"
_RAFT_ATTRIBUTES = b"/raftAttributes"
_ATTRIBUTES = b"/attributes"


def add_record(context: bytes, member_id: int) -> Request:
    """The record of a new member; `context` is what `encode_context` made."""
    name = b"%b%x%b" % (_MEMBERS, member_id, _RAFT_ATTRIBUTES)
    return Request(Op.PUT_RECORD, name, context, directory=True)


def publish_record(info: MemberInfo) -> Request:
    """The record by which a started member makes its name and client URLs known."""
    name = b"%b%x%b" % (_MEMBERS, info.id, _ATTRIBUTES)
    value = {"name": info.name, "clientURLs": list(info.client_urls)}
    return Request(Op.PUT_RECORD, name, json.dumps(value).encode())


def version_record(version: str) -> Request:
    """The record of the cluster version."""
    return Request(Op.PUT_RECORD, VERSION_RECORD, version.encode())


def encode_context(info: MemberInfo) -> bytes:
    """What a membership entry says about the member, besides its id."""
    return json.dumps({"peerURLs": list(info.peer_urls), "name": info.name}).encode()


def members_from_records(records: Mapping[bytes, bytes]) -> dict[int, MemberInfo]:
    """The members described by the store's records, by id."""
    members: dict[int, MemberInfo] = {}
    for name, value in records.items():
        if not (name.startswith(_MEMBERS) and name.endswith(_RAFT_ATTRIBUTES)):
            continue
        hex_id = name[len(_MEMBERS) : -len(_RAFT_ATTRIBUTES)]
        base = json.loads(value)
        published = json.loads(records.get(_MEMBERS + hex_id + _ATTRIBUTES, b"{}"))
        member_id = int(hex_id, 16)
        members[member_id] = MemberInfo(
            id=member_id,
            name=published.get("name") or base.get("name", ""),
            peer_urls=tuple(base["peerURLs"]),
            client_urls=tuple(published.get("clientURLs", ())),
        )
    return dict(sorted(members.items()))
