"""python-etcd, the client that most Python programs of etcd v2 use, unmodified, on real members.

Every test runs on kvraft and on a real etcd: what the library makes of the one it must make of the
other. Where the library itself is behind etcd 2.3 (the roles of a user are documents there, and
names in 2.1, for which it was written) the test says so.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import etcd
import pytest
from etcd import auth

from benchmarks.members import ETCD, KVRAFT, Cluster, Member, wait_until
from tests.integration.conftest import StartCluster

pytestmark = pytest.mark.timeout(120)

SERVERS: Final = [
    pytest.param(KVRAFT, id="kvraft"),
    pytest.param(ETCD, id="etcd", marks=pytest.mark.realetcd),
]
PATIENCE_S: Final = 20
T = TypeVar("T")


def client_of(member: Member, **options: Any) -> Any:
    """A client of this member only, unless told otherwise."""
    return etcd.Client(*address(member), **({"read_timeout": PATIENCE_S} | options))


def address(member: Member) -> tuple[str, int]:
    target = urllib.parse.urlsplit(member.client_url)
    assert target.hostname is not None
    assert target.port is not None
    return target.hostname, target.port


@pytest.fixture(scope="module", params=SERVERS)
def member(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One member for all tests of the module; each works below a directory of its own."""
    with Cluster(request.param, 1, tmp_path_factory.mktemp("python-etcd")) as cluster:
        cluster.start()
        yield cluster.members[0]


@pytest.fixture
def client(member: Member) -> Any:
    return client_of(member)


@pytest.fixture
def top() -> str:
    return f"/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def background() -> Iterator[Callable[[Callable[[], T]], Any]]:
    """Runs something that blocks; its result has to come within the test's patience."""
    pool = ThreadPoolExecutor(8)
    yield pool.submit
    pool.shutdown(wait=False, cancel_futures=True)


# --- keys ---------------------------------------------------------------------------------------


def test_write_read_and_delete(client: Any, top: str) -> None:
    key = f"{top}/a"
    first = client.write(key, "one")
    assert (first.action, first.key, first.value, first.newKey) == ("set", key, "one", True)
    assert first.createdIndex == first.modifiedIndex == first.etcd_index
    second = client.set(key, "two")
    assert not second.newKey
    assert second._prev_node.value == "one"
    assert client.get(key).value == client.read(key, quorum=True).value == "two"
    assert key in client
    assert client.delete(key).action == "delete"
    assert key not in client
    with pytest.raises(etcd.EtcdKeyNotFound):
        client.read(key)


@pytest.mark.parametrize(
    "value", ["", "ü€ 漢字 🐟", "a&b=c+d%20;e", "line\nline\ttab", "x" * 100_000]
)
def test_any_text_comes_back(client: Any, top: str, value: str) -> None:
    client.write(f"{top}/käy with space", value)
    assert client.read(f"{top}/käy with space").value == value


def test_conditional_writes(client: Any, top: str) -> None:
    key = f"{top}/c"
    made = client.write(key, "1", prevExist=False)
    with pytest.raises(etcd.EtcdAlreadyExist):
        client.write(key, "2", prevExist=False)
    with pytest.raises(etcd.EtcdKeyNotFound):
        client.write(f"{top}/missing", "2", prevExist=True)
    assert client.test_and_set(key, "2", "1").action == "compareAndSwap"
    with pytest.raises(etcd.EtcdCompareFailed, match=r"\[1 != 2\]"):
        client.test_and_set(key, "3", "1")
    with pytest.raises(etcd.EtcdCompareFailed):
        client.write(key, "3", prevIndex=made.modifiedIndex)
    now = client.read(key)
    assert client.write(key, "3", prevIndex=now.modifiedIndex).createdIndex == made.createdIndex


def test_conditional_deletes(client: Any, top: str) -> None:
    key = f"{top}/d"
    made = client.write(key, "v")
    with pytest.raises(etcd.EtcdCompareFailed):
        client.delete(key, prevValue="w")
    with pytest.raises(etcd.EtcdCompareFailed):
        client.delete(key, prevIndex=made.modifiedIndex + 1)
    assert client.delete(key, prevValue="v").action == "compareAndDelete"
    made = client.write(key, "v")
    assert client.pop(key, prevIndex=made.modifiedIndex).value == "v"


def test_update_by_result(client: Any, top: str) -> None:
    node = client.write(f"{top}/u", "old")
    node.value = "new"
    assert client.update(node).value == "new"
    with pytest.raises(etcd.EtcdCompareFailed):
        client.update(node)  # it still carries the index from before


def test_directories(client: Any, top: str) -> None:
    client.write(f"{top}/dir", None, dir=True)
    for name in ("b", "a", "deep/er"):
        client.write(f"{top}/dir/{name}", name)
    client.write(f"{top}/dir/_hidden", "not listed")
    listing = client.read(f"{top}/dir", sorted=True)
    assert [child.key for child in listing.children] == [
        f"{top}/dir/{name}" for name in ("a", "b", "deep")
    ]
    tree = client.read(f"{top}/dir", recursive=True, sorted=True)
    assert [leaf.value for leaf in tree.leaves] == ["a", "b", "deep/er"]
    with pytest.raises(etcd.EtcdNotFile):
        client.write(f"{top}/dir", "a file")
    with pytest.raises(etcd.EtcdNotFile):
        client.delete(f"{top}/dir")
    with pytest.raises(etcd.EtcdDirNotEmpty):
        client.delete(f"{top}/dir", dir=True)
    with pytest.raises(etcd.EtcdNotDir):
        client.write(f"{top}/dir/a/below", "a file is above")
    with pytest.raises(etcd.EtcdRootReadOnly):
        client.delete("/", recursive=True, dir=True)
    assert client.delete(f"{top}/dir", recursive=True).dir


def test_in_order_keys(client: Any, top: str) -> None:
    made = [client.write(f"{top}/queue", str(n), append=True) for n in range(5)]
    assert [int(node.key.rpartition("/")[2]) for node in made] == [n.createdIndex for n in made]
    queue = client.read(f"{top}/queue", sorted=True)
    assert [node.value for node in queue.children] == list("01234")


def test_time_to_live(client: Any, top: str) -> None:
    made = client.write(f"{top}/t", "short", ttl=1)
    assert made.ttl == 1
    assert made.expiration is not None
    gone = client.watch(f"{top}/t", index=made.modifiedIndex + 1, timeout=PATIENCE_S)
    assert (gone.action, gone._prev_node.value) == ("expire", "short")
    with pytest.raises(etcd.EtcdKeyNotFound):
        client.read(f"{top}/t")


def test_refresh_tells_no_watcher(client: Any, top: str) -> None:
    made = client.write(f"{top}/r", "kept", ttl=60)
    refreshed = client.refresh(f"{top}/r", ttl=120)
    assert (refreshed.action, refreshed.value, refreshed.ttl) == ("update", "kept", 120)
    changed = client.write(f"{top}/r", "changed")
    seen = client.watch(f"{top}/r", index=made.modifiedIndex + 1, timeout=PATIENCE_S)
    assert seen.modifiedIndex == changed.modifiedIndex


# --- watches ------------------------------------------------------------------------------------


def test_watch_waits_for_the_next_change(
    member: Member, client: Any, top: str, background: Callable[[Callable[[], Any]], Any]
) -> None:
    watching = background(lambda: client_of(member).watch(f"{top}/w", timeout=PATIENCE_S))

    def told() -> bool:
        client.write(f"{top}/w", "news")
        return bool(watching.done())

    wait_until("the watch is answered", told)
    assert watching.result().value == "news"


def test_watch_times_out(client: Any, top: str) -> None:
    with pytest.raises(etcd.EtcdWatchTimedOut):
        client.watch(f"{top}/never", timeout=0.2)


def test_eternal_watch_sees_every_change(
    member: Member, client: Any, top: str, background: Callable[[Callable[[], Any]], Any]
) -> None:
    start = client.write(f"{top}/begin", "").modifiedIndex + 1

    def watch() -> list[str]:
        seen: list[str] = []
        for event in client_of(member).eternal_watch(top, index=start, recursive=True):
            if event.action == "delete":
                return seen
            seen.append(event.value)
        raise AssertionError("an eternal watch ended")

    watching = background(watch)
    for number in range(200):
        client.write(f"{top}/{number % 7}", str(number))
    client.delete(f"{top}/0")
    assert watching.result(PATIENCE_S) == [str(number) for number in range(200)]


def test_watch_of_a_cleared_history(client: Any, top: str) -> None:
    made = client.write(f"{top}/old", "")
    for number in range(1001):
        client.write(f"{top}/new", str(number))
    with pytest.raises(etcd.EtcdEventIndexCleared):
        client.watch(f"{top}/old", index=made.modifiedIndex + 1)


# --- locks --------------------------------------------------------------------------------------


def test_lock_is_held_by_one_at_a_time(
    member: Member, background: Callable[[Callable[[], Any]], Any]
) -> None:
    name = f"lock-{uuid.uuid4().hex}"
    inside: list[int] = []
    order: list[int] = []
    guard = threading.Lock()

    def work(number: int) -> None:
        lock = etcd.Lock(client_of(member), name)
        assert lock.acquire(lock_ttl=60)
        with guard:
            inside.append(number)
            assert inside == [number]
        time.sleep(0.01)
        assert lock.is_acquired
        with guard:
            order.append(inside.pop())
        lock.release()

    workers = [background(partial(work, number)) for number in range(5)]
    for worker in workers:
        worker.result(PATIENCE_S)
    assert sorted(order) == list(range(5))


def test_lock_that_is_held_is_refused_or_waited_for(
    member: Member, background: Callable[[Callable[[], Any]], Any]
) -> None:
    name = f"lock-{uuid.uuid4().hex}"
    first, second = (etcd.Lock(client_of(member), name) for _ in range(2))
    assert first.acquire(lock_ttl=60)
    assert not second.acquire(blocking=False, lock_ttl=60)
    waiting = background(lambda: second.acquire(lock_ttl=60))
    first.release()
    assert waiting.result(PATIENCE_S)
    assert second.is_acquired
    assert not first.is_acquired
    second.release()


def test_lock_of_a_holder_that_vanished_expires(member: Member) -> None:
    name = f"lock-{uuid.uuid4().hex}"
    assert etcd.Lock(client_of(member), name).acquire(lock_ttl=1)
    second = etcd.Lock(client_of(member), name)
    assert second.acquire(lock_ttl=60, timeout=PATIENCE_S)
    with etcd.Lock(client_of(member), f"{name}-other") as third:
        assert third.is_acquired
    second.release()


# --- the cluster --------------------------------------------------------------------------------


def test_members_leader_and_figures(member: Member, client: Any, top: str) -> None:
    client.write(f"{top}/x", "")
    (record,) = client.members.values()
    assert record["name"] == member.name
    assert record["clientURLs"] == client.machines == [member.client_url]
    assert client.leader == record
    assert client.stats["state"] == "StateLeader"
    assert client.leader_stats["leader"] == record["id"]
    assert client.store_stats["setsSuccess"] > 0
    assert client.version.startswith(("2.3.", "3.4."))
    assert client.cluster_version.startswith(("2.3.", "3.4."))


@pytest.mark.parametrize("server", SERVERS)
def test_users_and_roles(server: tuple[str, ...], tmp_path: Path) -> None:
    with Cluster(server, 1, tmp_path) as cluster:
        (member,) = cluster.start().members
        client = client_of(member, username="root", password="secret")
        root = auth.EtcdUser(client, "root")
        root.password = "secret"
        root.write()
        role = auth.EtcdRole(client, "web")
        role.grant("/web/*", "RW")
        role.grant("/public", "R")
        role.write()
        user = auth.EtcdUser(client, "ann")
        user.password = "ann's"
        user.roles = ["web"]
        user.write()
        assert user.roles == {"web"}
        switch = auth.Auth(client)
        assert not switch.active
        switch.active = True
        assert switch.active
        guest = auth.EtcdRole(client, "guest")
        guest.read()
        guest.revoke("/*", "RW")
        guest.write()
        _check_permissions(member, client)
        _check_roles(client, role)
        user.delete()
        with pytest.raises(etcd.EtcdKeyNotFound):
            user.read()
        switch.active = False
        assert not switch.active
        client_of(member).write("/private", "anybody")


def _check_permissions(member: Member, root: Any) -> None:
    """What the roles allow, and what they do not."""
    ann = client_of(member, username="ann", password="ann's")
    root.write("/public", "for all")
    root.write("/private", "for root")
    assert ann.write("/web/page", "hers").value == "hers"
    assert ann.read("/public").value == "for all"
    strangers = [
        client_of(member),
        client_of(member, username="ann", password="wrong"),
        client_of(member, username="nobody", password="ann's"),
    ]
    refusals: list[Callable[[], Any]] = [
        partial(ann.write, "/public", "no"),
        partial(ann.read, "/private"),
        auth.EtcdRole(ann, "web").read,
        *(partial(who.read, "/web/page") for who in strangers),
        *(partial(who.write, "/web/page", "no") for who in strangers),
    ]
    for refused in refusals:
        with pytest.raises(etcd.EtcdInsufficientPermissions):
            refused()
    # A user with roles cannot be read with this library: it puts them in a set, and they are
    # documents since etcd 2.2.
    with pytest.raises(TypeError):
        auth.EtcdUser(root, "ann").read()


def _check_roles(client: Any, role: Any) -> None:
    """A role is read, changed and deleted."""
    again = auth.EtcdRole(client, "web")
    again.read()
    assert again.acls == role.acls == {"/web/*": "RW", "/public": "R"}
    again.revoke("/web/*", "W")
    again.grant("/more", "W")
    again.write()
    role.read()
    assert role.acls == {"/web/*": "R", "/public": "R", "/more": "W"}
    extra = auth.EtcdRole(client, "extra")
    extra.acls = {"/e": "R"}
    extra.write()
    extra.delete()
    with pytest.raises(etcd.EtcdKeyNotFound):
        extra.read()


# --- members that fail --------------------------------------------------------------------------


def test_goes_to_another_member(start_cluster: StartCluster) -> None:
    cluster = start_cluster(3)
    leader = cluster.leader()
    client = client_of(leader, allow_reconnect=True, read_timeout=5)
    known = {f"http://{client.host}:{client.port}", *client._machines_cache}
    assert known == {member.client_url for member in cluster.members}
    assert set(client.machines) == known
    assert client.leader["name"] == leader.name
    before = client.write("/k", "before")
    leader.kill()

    def write() -> bool:
        try:
            return bool(client.write("/k", "after").value == "after")
        except etcd.EtcdException:
            # its list of machines runs out while the dead one is still on it: start afresh
            fresh = next(member for member in cluster.members if member.running)
            client._base_uri = fresh.client_url
            client._machines_cache = []
            return False

    wait_until("a write through another member", write)
    seen = client.watch("/k", index=before.modifiedIndex + 1, timeout=PATIENCE_S)
    assert seen.value == "after"
    assert len(client.members) == 3
    assert client.leader["name"] != leader.name


def test_watch_goes_on_at_another_member(
    start_cluster: StartCluster, background: Callable[[Callable[[], Any]], Any]
) -> None:
    cluster = start_cluster(3)
    follower = cluster.followers()[0]
    watcher = client_of(follower, allow_reconnect=True)
    writer = client_of(cluster.leader())
    start = writer.write("/w/begin", "").modifiedIndex + 1

    def watch() -> list[str]:
        seen: list[str] = []
        for event in watcher.eternal_watch("/w", index=start, recursive=True):
            seen.append(event.value)
            if event.value == "end":
                return seen
        raise AssertionError("an eternal watch ended")

    watching = background(watch)
    for number in range(50):
        writer.write("/w/k", str(number))
    follower.kill()
    for number in range(50, 100):
        writer.write("/w/k", str(number))
    writer.write("/w/k", "end")
    assert watching.result(PATIENCE_S) == [*(str(number) for number in range(100)), "end"]
