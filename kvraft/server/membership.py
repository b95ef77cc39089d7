"""Who is in the cluster: names and addresses, kept as records beside the keys.

The consensus core knows members by id only; where they can be reached and what they are called is
replicated in the store's records, so that it is part of snapshots. Etcd 2.3 keeps the same facts in
a hidden part of its tree (`/0/members/<id>/...`), which is why changes move the etcd index.

Pure functions: what a membership entry says, what speaks against it, what it writes. Every member
must come to the same result, so applying is total: an entry that makes no sense changes nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft.api.service import ChangeRefusal, MemberChangeError, MemberInfo
from kvraft.raft.entry import ConfChange, ConfChangeKind
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kvraft.store.stats import Stats

SERVER_RECORDS: Final = b"/0/"
VERSION_RECORD: Final = b"/0/version"
_MEMBERS: Final = b"/0/members/"
_REMOVED: Final = b"/0/removed_members/"
_RAFT_ATTRIBUTES: Final = b"/raftAttributes"
_ATTRIBUTES: Final = b"/attributes"

ADDING: Final = (ConfChangeKind.ADD_VOTER, ConfChangeKind.ADD_LEARNER)


class Context(NamedTuple):
    """What a membership entry says besides kind and id. `request`: the proposer's, 0 for none."""

    peer_urls: tuple[str, ...] = ()
    name: str = ""
    request: int = 0


def encode_context(context: Context) -> bytes:
    """The context of a membership entry."""
    document: dict[str, object] = {"peerURLs": list(context.peer_urls), "name": context.name}
    if context.request:
        document["request"] = context.request
    return json.dumps(document).encode()


def decode_context(data: bytes) -> Context | None:
    """The context in a membership entry; None if nobody of this version has written it."""
    if not data:
        return Context()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    urls, name, request = (
        document.get("peerURLs", []),
        document.get("name", ""),
        document.get("request", 0),
    )
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
        return None
    if not isinstance(name, str) or type(request) is not int:
        return None
    return Context(tuple(urls), name, request)


# --- records -----------------------------------------------------------------------------


def publish_record(info: MemberInfo) -> Request:
    """The record by which a started member makes its name and client URLs known."""
    name = b"%b%x%b" % (_MEMBERS, info.id, _ATTRIBUTES)
    value = {"name": info.name, "clientURLs": list(info.client_urls)}
    return Request(Op.PUT_RECORD, name, json.dumps(value).encode())


def version_record(version: str) -> Request:
    """The record of the cluster version."""
    return Request(Op.PUT_RECORD, VERSION_RECORD, version.encode())


def removal_record(member_id: int) -> bytes:
    """The name of the record that says that a member has been removed for good."""
    return b"%b%x" % (_REMOVED, member_id)


def writes_of(
    change: ConfChange, context: Context, get_record: Callable[[bytes], bytes | None]
) -> list[Request]:
    """What a change writes, if nothing speaks against it: each takes one step of the index.

    A member that was added or moved at run time is marked: its id does not follow from the flags.
    """
    home = b"%b%x" % (_MEMBERS, change.member)
    if change.kind == ConfChangeKind.PROMOTE:
        return []
    if change.kind == ConfChangeKind.REMOVE:
        return [
            Request(Op.DELETE_RECORD, home, recursive=True),
            Request(Op.PUT_RECORD, removal_record(change.member), directory=True),
        ]
    if change.kind in ADDING:
        document: dict[str, object] = {"peerURLs": [], "name": context.name}
    else:
        document = json.loads(get_record(home + _RAFT_ATTRIBUTES) or b"{}")
    document["peerURLs"] = list(context.peer_urls)
    if change.kind != ConfChangeKind.ADD_VOTER:
        document["changed"] = True
    value = json.dumps(document).encode()
    return [Request(Op.PUT_RECORD, home + _RAFT_ATTRIBUTES, value, directory=change.kind in ADDING)]


def base_record(member_id: int) -> bytes:
    """The name of the record that says where a member can be reached."""
    return b"%b%x%b" % (_MEMBERS, member_id, _RAFT_ATTRIBUTES)


def is_member_record(name: bytes) -> bool:
    """Whether a record is about one member, present or removed."""
    return name.startswith((_MEMBERS, _REMOVED))


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


def count_look_up(stats: Stats, records: Mapping[bytes, bytes]) -> None:
    """Count what etcd 2.3 reads from its store before it applies a change of the members.

    That makes one failed get of a fresh member. It looks for who was removed only once it has
    found members.
    """
    for prefix in (_MEMBERS, _REMOVED):
        if not any(name.startswith(prefix) for name in records):
            stats.gets_fail += 1
            return
        stats.gets_success += 1


def was_changed(records: Mapping[bytes, bytes], member_id: int) -> bool:
    """Whether a member was added or moved while the cluster ran, as far as the records tell."""
    record = records.get(b"%b%x%b" % (_MEMBERS, member_id, _RAFT_ATTRIBUTES), b"{}")
    return bool(json.loads(record).get("changed"))


# --- what speaks against a change --------------------------------------------------------


def objection(
    members: Mapping[int, MemberInfo],
    is_removed: Callable[[int], bool],
    change: ConfChange,
    context: Context,
) -> MemberChangeError | None:
    """Why a change of the records is impossible, in the order in which etcd 2.3 looks."""
    member = change.member
    if is_removed(member):
        return MemberChangeError(ChangeRefusal.REMOVED_MEMBER)
    if change.kind in ADDING:
        if member in members:
            return MemberChangeError(ChangeRefusal.ID_EXISTS)
    elif member not in members:
        return MemberChangeError(ChangeRefusal.UNKNOWN_MEMBER)
    taken = {url for info in members.values() if info.id != member for url in info.peer_urls}
    if not taken.isdisjoint(context.peer_urls):
        return MemberChangeError(ChangeRefusal.URL_EXISTS)
    return None


class Standing(NamedTuple):
    """What a leader knows about the members when it judges whether a change is safe."""

    members: Mapping[int, MemberInfo]
    voters: tuple[int, ...]
    is_active: Callable[[int], bool]


def danger(standing: Standing, change: ConfChange) -> str | None:
    """Why the cluster could lose its quorum by a change; None if it could not.

    A member counts once it has started, which its name shows, and while it is connected. That a
    member without any others takes a second one is fine: the new one votes only once it is there.
    """
    if change.kind in ADDING:
        return _danger_of_adding(standing)
    if change.kind == ConfChangeKind.REMOVE:
        return _danger_of_removing(standing, change.member)
    return None


def _danger_of_adding(standing: Standing) -> str | None:
    members, _, is_active = standing
    started = [member for member, info in members.items() if info.name]
    if len(members) == len(started) == 1:
        return None
    needed = (len(members) + 1) // 2 + 1
    if len(started) < needed:
        return _too_few("add", "started", len(started), needed)
    connected = sum(map(is_active, started))
    return _too_few("add", "connected", connected, needed) if connected < needed else None


def _danger_of_removing(standing: Standing, target: int) -> str | None:
    members, voters, is_active = standing
    started = [member for member, info in members.items() if info.name and member != target]
    needed = (len(members) - 1) // 2 + 1
    if len(started) < needed:
        return _too_few("remove", "started", len(started), needed)
    connected = sum(map(is_active, started))
    if connected < needed:
        return _too_few("remove", "connected", connected, needed)
    if target in voters:
        rest = [voter for voter in voters if voter != target]
        voting, needed = sum(map(is_active, rest)), len(rest) // 2 + 1
        if voting < needed:
            return _too_few("remove", "connected and voting", voting, needed)
    return None


def _too_few(what: str, which: str, number: int, needed: int) -> str:
    return (
        f"Reject {what} member request: the number of {which} member ({number}) will be less than "
        f"the quorum number of the cluster ({needed})"
    )
