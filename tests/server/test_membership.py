"""Members as records beside the keys."""

from __future__ import annotations

import pytest

from kvraft.api.service import ChangeRefusal, MemberInfo
from kvraft.raft.entry import ConfChange, ConfChangeKind
from kvraft.server import membership
from kvraft.server.membership import Context, Standing
from kvraft.store.store import Store

ONE = MemberInfo(0xABC, "one", ("http://a:1", "http://b:2"), ("http://c:3",))
TWO = MemberInfo(0x12, "two", ("http://d:4",), ())


def joined(*members: MemberInfo) -> Store:
    store = Store()
    for member in members:
        apply(store, ConfChangeKind.ADD_VOTER, member)
    return store


def apply(store: Store, kind: ConfChangeKind, member: MemberInfo) -> None:
    context = Context(member.peer_urls, member.name)
    for write in membership.writes_of(ConfChange(kind, member.id, b""), context, store.get_record):
        store.apply(write)


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


def test_changes_count_as_the_reads_that_etcd_makes_for_them() -> None:
    store = Store()

    def counted() -> tuple[int, int]:
        membership.count_look_up(store.stats, store.records())
        return store.stats.gets_success, store.stats.gets_fail

    assert counted() == (0, 1)
    apply(store, ConfChangeKind.ADD_VOTER, ONE)
    assert counted() == (1, 2)
    apply(store, ConfChangeKind.ADD_VOTER, TWO)
    assert counted() == (2, 3)
    apply(store, ConfChangeKind.REMOVE, TWO)
    assert counted() == (4, 3)


def test_other_records_are_no_members() -> None:
    store = joined(ONE)
    store.apply(membership.version_record("2.3.0"))
    assert store.get_record(membership.VERSION_RECORD) == b"2.3.0"
    assert list(read(store)) == [ONE.id]


def test_each_record_takes_an_index_and_shows_no_key() -> None:
    store = joined(ONE, TWO)
    store.apply(membership.publish_record(ONE))
    assert store.index == 3
    assert b'"nodes"' not in bytes(store.get_body(b"/", True, True, 0))  # type: ignore[arg-type]


def test_a_removal_takes_all_records_and_leaves_a_mark() -> None:
    store = joined(ONE, TWO)
    store.apply(membership.publish_record(ONE))
    before = store.index
    apply(store, ConfChangeKind.REMOVE, ONE)
    assert store.index == before + 2
    assert list(read(store)) == [TWO.id]
    names = [name for name in store.records() if b"abc" in name]
    assert names == [b"/0/removed_members/abc"] == [membership.removal_record(ONE.id)]


def test_an_update_takes_one_step_and_keeps_the_name() -> None:
    store = joined(ONE)
    moved = ONE._replace(peer_urls=("http://z:1",), client_urls=())
    apply(store, ConfChangeKind.UPDATE, moved._replace(name=""))
    assert (store.index, read(store)) == (2, {ONE.id: moved})


def test_a_promotion_writes_nothing() -> None:
    store = joined(ONE)
    apply(store, ConfChangeKind.PROMOTE, ONE)
    assert store.index == 1


# --- contexts ----------------------------------------------------------------------------


def test_contexts_come_back() -> None:
    for context in (Context(), Context(("http://a:1",), "Zoë", 2**63), Context((), "", 7)):
        assert membership.decode_context(membership.encode_context(context)) == context
    assert membership.decode_context(b"") == Context()


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        b"[]",
        b'{"peerURLs":1}',
        b'{"peerURLs":[1]}',
        b'{"name":1}',
        b'{"request":"1"}',
        b'{"request":true}',
        b"[" * 100_000,
    ],
)
def test_other_contexts_are_nobodys(data: bytes) -> None:
    assert membership.decode_context(data) is None


# --- objections --------------------------------------------------------------------------

MEMBERS = {member.id: member for member in (ONE, TWO)}
GONE = 0xDEAD


def objection(kind: ConfChangeKind, member: int, *urls: str) -> ChangeRefusal | None:
    change = ConfChange(kind, member, b"")
    found = membership.objection(MEMBERS, lambda one: one == GONE, change, Context(urls))
    return None if found is None else found.reason


@pytest.mark.parametrize(
    ("kind", "member", "urls", "reason"),
    [
        (ConfChangeKind.ADD_LEARNER, 5, ("http://new:1",), None),
        (ConfChangeKind.ADD_LEARNER, GONE, ("http://new:1",), ChangeRefusal.REMOVED_MEMBER),
        (ConfChangeKind.ADD_LEARNER, ONE.id, ("http://a:1",), ChangeRefusal.ID_EXISTS),
        (ConfChangeKind.ADD_LEARNER, 5, ("http://new:1", "http://b:2"), ChangeRefusal.URL_EXISTS),
        (ConfChangeKind.UPDATE, ONE.id, ("http://a:1",), None),
        (ConfChangeKind.UPDATE, ONE.id, ("http://d:4",), ChangeRefusal.URL_EXISTS),
        (ConfChangeKind.UPDATE, GONE, ("http://d:4",), ChangeRefusal.REMOVED_MEMBER),
        (ConfChangeKind.UPDATE, 5, ("http://d:4",), ChangeRefusal.UNKNOWN_MEMBER),
        (ConfChangeKind.REMOVE, ONE.id, (), None),
        (ConfChangeKind.REMOVE, GONE, (), ChangeRefusal.REMOVED_MEMBER),
        (ConfChangeKind.REMOVE, 5, (), ChangeRefusal.UNKNOWN_MEMBER),
    ],
)
def test_objections(
    kind: ConfChangeKind, member: int, urls: tuple[str, ...], reason: ChangeRefusal | None
) -> None:
    assert objection(kind, member, *urls) == reason


# --- safety ------------------------------------------------------------------------------


def danger(
    kind: ConfChangeKind, names: str, target: int = 0, *, silent: str = "", learners: str = ""
) -> str | None:
    """Members are letters, those in capitals have not started."""
    members = {
        ord(name): MemberInfo(ord(name), "" if name.isupper() else name, (), ()) for name in names
    }
    voters = tuple(ord(name) for name in names if name not in learners)
    standing = Standing(members, voters, lambda member: chr(member) not in silent)
    return membership.danger(standing, ConfChange(kind, target, b""))


@pytest.mark.parametrize(
    ("names", "silent", "fine"),
    [
        ("a", "", True),
        ("ab", "", True),
        ("aB", "", False),
        ("abc", "", True),
        ("abcD", "", True),
        ("abcDE", "", False),  # three started, adds 4 and 5 pass, 6 fails
        ("abc", "c", False),
        ("abcd", "d", True),
        ("abcd", "cd", False),
    ],
)
def test_who_may_be_added(names: str, silent: str, fine: bool) -> None:
    assert (danger(ConfChangeKind.ADD_LEARNER, names, silent=silent) is None) is fine


@pytest.mark.parametrize(
    ("names", "target", "silent", "learners", "fine"),
    [
        ("a", "a", "", "", False),
        ("ab", "b", "", "", True),
        ("aB", "B", "", "B", True),
        ("aB", "a", "", "B", False),
        ("abcDE", "a", "", "", False),
        ("abcDE", "D", "", "", True),
        ("abc", "c", "c", "", True),
        ("abc", "a", "c", "", False),
        ("abcde", "e", "de", "", True),
        ("abcd", "a", "b", "d", False),  # two of three are there, but only one of them votes
        ("abcd", "d", "b", "d", True),
    ],
)
def test_who_may_be_removed(
    names: str, target: str, silent: str, learners: str, fine: bool
) -> None:
    found = danger(ConfChangeKind.REMOVE, names, ord(target), silent=silent, learners=learners)
    assert (found is None) is fine


def test_the_reason_names_the_numbers() -> None:
    assert danger(ConfChangeKind.ADD_LEARNER, "abcDE") == (
        "Reject add member request: the number of started member (3) will be less than the quorum "
        "number of the cluster (4)"
    )


def test_addresses_may_always_be_changed() -> None:
    assert danger(ConfChangeKind.UPDATE, "aBCD", ord("a"), silent="a") is None
