"""Where members can be reached before the log has told."""

from __future__ import annotations

import pytest

from kvraft import limits
from kvraft.api.service import MemberInfo
from kvraft.server.addressbook import AddressBook

A, B = ("http://a:1",), ("http://b:1",)


def info(member: int, urls: tuple[str, ...]) -> MemberInfo:
    return MemberInfo(member, "", urls, ())


def nobody(_: int) -> bool:
    return False


def test_callers_count_until_the_log_names_them() -> None:
    book = AddressBook()
    assert book.note(1, A)
    assert not book.note(1, A), "no news"
    assert book.addresses({}, nobody) == {1: A}
    assert book.addresses({1: info(1, A)}, nobody) == {1: A}
    assert book.addresses({1: info(1, B)}, nobody) == {1: B}, "the log has moved on"


def test_what_a_caller_says_comes_after_what_the_log_says() -> None:
    book = AddressBook()
    members = {1: info(1, A)}
    assert book.addresses(members, nobody) == {1: A}
    assert not book.note(1, A)
    assert book.note(1, B)
    assert book.addresses(members, nobody) == {1: A + B}
    assert book.addresses({1: info(1, B)}, nobody) == {1: B}
    assert book.addresses(members, nobody) == {1: A}


def test_removed_members_are_forgotten() -> None:
    book = AddressBook()
    book.note(1, A)
    assert book.addresses({}, lambda member: member == 1) == {}
    assert book.addresses({}, nobody) == {}


@pytest.mark.parametrize("urls", [(), ("nonsense",), ("ftp://a:1",), ("http://a",)])
def test_nonsense_is_no_address(urls: tuple[str, ...]) -> None:
    assert not AddressBook().note(1, urls)


def test_there_is_a_bound() -> None:
    book = AddressBook()
    for member in range(limits.MAX_ADDRESS_HINTS):
        assert book.note(member, A)
    assert not book.note(limits.MAX_ADDRESS_HINTS, A)
    assert book.note(0, B), "a known one may move"
