"""The documents of events."""

from __future__ import annotations

from kvraft.store.event import CREATE, DELETE, EXPIRE, SET, UPDATE, Event
from kvraft.store.node import File, Folder

NS = 1_000_000_000


def file(value: bytes = b"v", modified: int = 3, expiration_ns: int = 0) -> File:
    return File(b"k", value, modified, 2, expiration_ns)


def test_the_order_of_the_fields() -> None:
    event = Event(SET, b"/k", file(b'"', 5, 9 * NS), file(), 5, False, 7 * NS)
    assert event.body() == (
        b'{"action":"set","node":{"key":"/k","value":"\\"","expiration":"1970-01-01T00:00:09Z",'
        b'"ttl":2,"modifiedIndex":5,"createdIndex":2},'
        b'"prevNode":{"key":"/k","value":"v","modifiedIndex":3,"createdIndex":2}}\n'
    )
    assert event.body() is event.body()


def test_a_value_is_shown_even_if_empty() -> None:
    event = Event(CREATE, b"/k", file(b""), None, 3, False, 0)
    assert b'"value":""' in event.body()
    assert b"prevNode" not in event.body()
    assert event.created


def test_directories_have_no_value() -> None:
    event = Event(UPDATE, b"/d", Folder(5, 2, 0), Folder(2, 2, 9 * NS), 5, False, 10 * NS)
    assert event.body() == (
        b'{"action":"update","node":{"key":"/d","dir":true,"modifiedIndex":5,"createdIndex":2},'
        b'"prevNode":{"key":"/d","dir":true,"expiration":"1970-01-01T00:00:09Z","ttl":-1,'
        b'"modifiedIndex":2,"createdIndex":2}}\n'
    )
    assert not event.created
    assert not event.removed_directory


def test_removed_nodes_are_bare() -> None:
    deleted = Event(DELETE, b"/d", None, Folder(2, 2, 0), 6, False, 0)
    expired = Event(EXPIRE, b"/d", None, Folder(2, 2, 6 * NS), 6, False, 6 * NS)
    assert deleted.body().startswith(
        b'{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":6,"createdIndex":2}'
    )
    assert expired.body() == (
        b'{"action":"expire","node":{"key":"/d","modifiedIndex":6,"createdIndex":2},'
        b'"prevNode":{"key":"/d","dir":true,"expiration":"1970-01-01T00:00:06Z",'
        b'"modifiedIndex":2,"createdIndex":2}}\n'
    )
    assert deleted.removed_directory
    assert expired.removed_directory
    assert not Event(DELETE, b"/k", None, file(), 6, False, 0).removed_directory
    assert not deleted.created
