"""Users and roles in the log: indices, conflicts, caches and what is logged."""

from __future__ import annotations

import logging
import random

import pytest

from kvraft.api.service import Unavailable
from kvraft.auth import model
from kvraft.auth import store as module
from kvraft.auth.model import Access, AuthError, Role, User
from kvraft.auth.store import Busy
from kvraft.store.codec import Restorer
from kvraft.store.request import Op, Request
from tests.auth.members import Log, Member


@pytest.fixture
def member() -> Member:
    return Log(1).members[0]


def succeed(member: Member) -> None:
    """Put a restored copy in the place of the store, as a received snapshot does."""
    restorer = Restorer()
    for chunk in member.store.snapshot().chunks(100):
        restorer.feed(chunk)
    old, member.store = member.store, restorer.finish()
    member.store.succeed(old)


def enable(member: Member) -> object:
    problems: list[object] = []
    member.auth.enable(problems.append)
    (problem,) = problems
    return problem


def disable(member: Member) -> object:
    problems: list[object] = []
    member.auth.disable(problems.append)
    (problem,) = problems
    return problem


def delete_user(member: Member, name: str) -> object:
    problems: list[object] = []
    member.auth.delete_user(name, problems.append)
    (problem,) = problems
    return problem


def put_role(member: Member, role: Role) -> list[tuple[object, Role | None, bool]]:
    results: list[tuple[object, Role | None, bool]] = []
    member.auth.put_role(role, lambda *result: results.append(result))
    return results


def text_of(problem: object) -> str:
    assert isinstance(problem, AuthError), problem
    return problem.text


def test_the_first_change_creates_four_records(member: Member) -> None:
    assert member.put_user(User("u", "p")) == [(None, User("u", "hash of p"), True)]
    assert member.store.index == 5
    assert member.store.records() == {
        b"/2": b"",
        b"/2/users": b"",
        b"/2/roles": b"",
        b"/2/enabled": b"false",
        b"/2/users/u": b'{"user":"u","password":"hash of p","roles":null}',
    }
    member.put_user(User("v", "p"))
    assert member.store.index == 6


def test_a_delete_in_vain_may_be_the_first_change(member: Member) -> None:
    assert text_of(delete_user(member, "u")) == "auth: User u does not exist"
    assert member.store.index == 4
    assert text_of(delete_user(member, "u")) == "auth: User u does not exist"
    assert member.store.index == 4


def test_what_is_refused_by_what_is_known_changes_nothing(member: Member) -> None:
    assert member.put_user(User("u"))[0][0]
    assert member.put_user(User("u", grant=("r",)))[0][0]
    assert put_role(member, Role("root"))[0][0]
    assert put_role(member, Role("r", grant=Access(("/a",), None)))[0][0]
    assert text_of(enable(member)) == "auth: No root user available, please create one"
    assert text_of(disable(member)) == "auth: already disabled"
    assert (member.store.index, member.passwords.hashed) == (0, 0)


def test_a_half_made_beginning_is_completed(member: Member) -> None:
    member.store.apply(Request(Op.PUT_RECORD, b"/2", b"", directory=True))
    member.store.apply(Request(Op.PUT_RECORD, b"/2/roles", b"", directory=True))
    member.put_user(User("u", "p"))
    assert member.store.index == 5
    assert all(member.store.get_record(name) is not None for name, _ in model.FIRST_RECORDS)


def test_enabling_creates_the_guest_once(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kvraft.auth")
    assert member.auth.guarded, "nothing is known yet"
    assert not member.auth.enabled
    assert not member.auth.guarded
    member.put_user(User("root", "p"))
    assert enable(member) is None
    assert (member.auth.guarded, member.auth.enabled) == (True, True)
    assert member.auth.role("guest") == model.GUEST_ROLE
    assert member.store.index == 7
    assert text_of(enable(member)) == "auth: already enabled"
    assert text_of(delete_user(member, "root")) == (
        "auth: Cannot delete root user while auth is enabled."
    )
    assert disable(member) is None
    assert member.auth.guarded, "asked again only when somebody wants to know"
    assert not member.auth.enabled
    assert enable(member) is None
    assert disable(member) is None
    assert delete_user(member, "root") is None
    assert member.store.index == 11
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (25, "created user root"),
        (20, "no guest role access found, creating default"),
        (25, "created new role guest"),
        (25, "auth: enabled auth"),
        (25, "auth: disabled auth"),
        (25, "auth: enabled auth"),
        (25, "auth: disabled auth"),
        (25, "deleted user root"),
    ]
    assert {record.name for record in caplog.records} == {"kvraft.auth"}


def test_changes_are_logged(member: Member, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kvraft.auth")
    member.put_user(User("bob", "p"))
    member.put_user(User("bob", grant=("r",)))
    put_role(member, Role("r"))
    put_role(member, Role("r", grant=Access(("/a",), None)))
    problems: list[object] = []
    member.auth.delete_role("r", problems.append)
    member.auth.delete_role("r", problems.append)
    member.auth.delete_role("root", problems.append)
    assert problems[0] is None
    assert [text_of(problem) for problem in problems[1:]] == [
        "auth: Role r doesn't exist.",
        "auth: Cannot modify role root: is root role.",
    ]
    assert [record.getMessage() for record in caplog.records] == [
        "created user bob",
        "updated user bob",
        "created new role r",
        "updated role r",
        "deleted role r",
    ]


def test_what_was_parsed_lives_until_its_record_changes(member: Member) -> None:
    member.put_user(User("u", "p"))
    member.put_user(User("v", "p"))
    put_role(member, Role("r", Access(("/a",), None)))
    auth = member.auth
    before = auth.user("u"), auth.user("v"), auth.role("r"), auth.rules("r")
    assert auth.user("u") is before[0]
    assert auth.rules("r") is before[3]
    member.put_user(User("u", "q"))
    assert auth.user("u") == User("u", "hash of q", ())
    assert auth.user("v") is before[1]
    put_role(member, Role("r", grant=Access(("/b",), None)))
    rules = auth.rules("r")
    assert rules is not None
    assert rules.allow(b"/b", write=False, recursive=False)
    auth.delete_role("r", lambda _: None)
    assert (auth.role("r"), auth.rules("r")) == (None, None)
    assert auth.role("root") is model.ROOT_ROLE
    for name in ("nobody", "\udcff"):
        assert auth.user(name) is None
    assert set(auth._users) == {"u", "v"}, "names that clients make up are not kept"


def test_a_received_snapshot_voids_what_was_known(member: Member) -> None:
    member.put_user(User("root", "p"))
    user = member.auth.user("root")
    assert not member.auth.enabled
    succeed(member)
    assert member.auth.guarded, "it may have been switched on meanwhile"
    assert not member.auth.enabled
    assert member.auth.user("root") == user
    assert member.auth.user("root") is not user
    enable(member)
    assert member.auth.enabled, "the successor reports its changes, too"


def test_the_cluster_may_be_unavailable(member: Member) -> None:
    member.unavailable = Unavailable("etcdserver: request timed out")
    assert member.put_user(User("root", "p")) == [(member.unavailable, None, False)]
    member.unavailable = None
    member.put_user(User("root", "p"))
    member.unavailable = Unavailable("etcdserver: request timed out")
    assert member.put_user(User("root", "q")) == [(member.unavailable, None, False)]
    assert enable(member) is member.unavailable
    assert not member.auth.enabled


def test_hashing_may_be_refused(member: Member) -> None:
    member.passwords.busy = True
    ((problem, _, _),) = member.put_user(User("u", "p"))
    assert isinstance(problem, Busy)
    assert member.store.index == 0


def test_there_is_room_for_so_many(member: Member, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_AUTH_RECORDS", 5)
    member.put_user(User("u", "p"))
    assert text_of(member.put_user(User("v", "p"))[0][0]).startswith("auth: There are too many")
    assert text_of(put_role(member, Role("r"))[0][0]).startswith("auth: There are too many")
    assert member.put_user(User("u", "q"))[0][0] is None


# --- several members ---------------------------------------------------------------------------


def test_two_grants_at_the_same_time_both_stay() -> None:
    log = Log(2)
    first, second = log.members
    first.put_user(User("u", "p"))
    put_role(first, Role("r"))
    log.moves = False
    users = [m.put_user(User("u", grant=(f"r{n}",))) for n, m in enumerate(log.members)]
    roles = [
        put_role(m, Role("r", grant=Access((f"/{n}",), None))) for n, m in enumerate(log.members)
    ]
    log.move()
    user = User("u", "hash of p", ("r0", "r1"))
    assert [result[0] for result in users] == [
        (None, User("u", "hash of p", ("r0",)), False),
        (None, user, False),
    ]
    assert first.auth.user("u") == second.auth.user("u") == user
    assert roles[1][0][1] == second.auth.role("r") == Role("r", Access(("/0", "/1"), ()))
    assert first.store.digest() == second.store.digest()


def test_of_two_equal_changes_one_is_refused() -> None:
    log = Log(2)
    first, second = log.members
    log.moves = False
    created = [member.put_user(User("u", "p", ("r",))) for member in log.members]
    log.move()
    assert created[0][0][0] is None
    assert text_of(created[1][0][0]) == "auth: User u already exists."
    granted = [member.put_user(User("u", grant=("x",))) for member in log.members]
    log.move()
    assert granted[0][0][0] is None
    assert text_of(granted[1][0][0]) == "auth: Granting duplicate role x for user u"
    deleted: list[object] = []
    for member in log.members:
        member.auth.delete_user("u", deleted.append)
    log.move()
    assert deleted[0] is None
    assert text_of(deleted[1]) == "auth: User u does not exist"
    assert first.store.index == second.store.index == 7


def test_enabling_at_the_same_time() -> None:
    log = Log(2)
    log.members[0].put_user(User("root", "p"))
    log.moves = False
    problems: list[object] = []
    for member in log.members:
        member.auth.enable(problems.append)
    log.move()
    assert problems[0] is None
    assert text_of(problems[1]) == "auth: already enabled"
    assert all(member.auth.enabled for member in log.members)


def test_a_change_that_is_always_late_gives_up(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_RECORD_ATTEMPTS", 3)
    member.put_user(User("u", "p"))
    member.log.moves = False
    results = member.put_user(User("u", grant=("r",)))
    for number in range(3):
        assert not results
        document = b'{"user":"u","password":"%d"}' % number
        member.store.apply(Request(Op.PUT_RECORD, b"/2/users/u", document))
        member.apply(len(member.log.requests))
    assert isinstance(results[0][0], Busy)


@pytest.mark.parametrize("seed", range(20))
def test_no_concurrent_grant_is_lost(seed: int) -> None:
    """Any number of grants, on any members, applied in any batches."""
    draw = random.Random(seed)
    log = Log(3)
    log.members[0].put_user(User("u", "p"))
    log.moves = False
    results = []
    expected = set()
    for number in range(30):
        name = f"r{number}"
        expected.add(name)
        results.append(draw.choice(log.members).put_user(User("u", grant=(name,))))
        if draw.random() < 0.3:
            member = draw.choice(log.members)
            member.apply(draw.randint(member.applied, len(log.requests)))
    log.move()
    assert [result[0][0] for result in results] == [None] * 30, f"seed {seed}"
    for member in log.members:
        user = member.auth.user("u")
        assert user is not None
        assert set(user.roles or ()) == expected, f"seed {seed}"
