"""Members as records beside the keys."""

from __future__ import annotations

from kvraft.api.service import MemberInfo
from kvraft.server import membership
from kvraft.store.request import Op
from kvraft.store.store import Store

ONE = MemberInfo(0xABC, "one", ("http://a:1", "http://b:2"), ("http://c:3",))
TWO = MemberInfo(0x12, "two", ("http://d:4",), ())


def joined(*members: MemberInfo) -> Store:
    store = Store()
    for member in members:
        store.apply(membership.add_record(membership.encode_context(member), member.id))
    return store


def read(store: Store) -> dict[int, MemberInfo]:
    return membership.members_from_records(store.records())


def test_nobody_is_in_an_empty_store() -> None:
    assert read(Store()) == {}


def test_members_come_sorted_by_their_ids_without_client_urls() -> None:
    members = read(joined(ONE, TWO))
    assert list(members.items()) == [(TWO.id, TWO), (ONE.id, ONE._replace(client_urls=()))]


def test_a_started_member_makes_itself_known() -> None:
    store = joined(ONE, TWO)
    store.apply(membership.publish_record(ONE))
    assert read(store)[ONE.id] == ONE
    store.apply(membership.publish_record(ONE._replace(name="renamed", client_urls=())))
    assert read(store)[ONE.id] == ONE._replace(name="renamed", client_urls=())


def test_names_need_not_be_ascii() -> None:
    odd = ONE._replace(name='Zoë "the" member\n')
    store = joined(odd)
    store.apply(membership.publish_record(odd))
    assert read(store) == {odd.id: odd}


def test_other_records_are_no_members() -> None:
    store = joined(ONE)
    store.apply(membership.version_record("2.3.0"))
    assert store.get_record(membership.VERSION_RECORD) == b"2.3.0"
    assert list(read(store)) == [ONE.id]


def test_each_record_takes_an_index_and_shows_no_key() -> None:
    store = joined(ONE, TWO)
    store.apply(membership.publish_record(ONE))
    assert store.index == 3
    assert membership.add_record(b"{}", 1).op == Op.PUT_RECORD
    assert b'"nodes"' not in bytes(store.get_body(b"/", True, True, 0))  # type: ignore[arg-type]
