"""The whole client against a server: kvraft, and a real etcd."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from benchmarks.members import Cluster
from kvraft import Client, Resync, SyncClient, WatchEvent
from kvraft.client.auth import RoleRecord, UserRecord
from kvraft.client.errors import (
    AuthError,
    CompareFailed,
    DirectoryNotEmpty,
    EtcdError,
    KeyExists,
    KeyNotFound,
    MembershipError,
    NotADirectory,
    NotAFile,
    RootReadOnly,
    Unauthorized,
    ValueRequired,
)
from kvraft.limits import HISTORY_EVENTS

Test = Callable[[Client], Awaitable[None]]


def run(url: str, test: Test, *, debug: bool = True) -> None:
    async def main() -> None:
        async with Client(url) as client:
            await test(client)

    asyncio.run(main(), debug=debug)


def test_life_of_a_key(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        key = f"{root}/a"
        made = await client.set(key, "1")
        assert (made.action, made.created, made.key, made.value) == ("set", True, key, "1")
        assert made.etcd_index == made.node.created_index == made.node.modified_index > 0
        assert made.raft_term > 0
        again = await client.set(key, "2")
        assert (again.created, again.prev_node) == (False, made.node)
        updated = await client.update(key, "3", ttl=100)
        assert (updated.action, updated.node.ttl) == ("update", 100)
        assert updated.node.expiration is not None
        swapped = await client.compare_and_swap(key, "4", prev_value="3")
        assert (swapped.action, swapped.node.ttl) == ("compareAndSwap", None)
        index = swapped.node.modified_index
        await client.compare_and_swap(key, "5", prev_index=index, ttl=50)
        refreshed = await client.refresh(key, 77)
        assert (refreshed.value, refreshed.node.ttl) == ("5", 77)
        for quorum in (False, True):
            assert (await client.get(key, quorum=quorum)).value == "5"
        gone = await client.compare_and_delete(key, prev_value="5")
        assert (gone.action, gone.value) == ("compareAndDelete", None)
        assert gone.prev_node is not None
        assert gone.prev_node.value == "5"
        with pytest.raises(KeyNotFound) as caught:
            await client.get(key)
        assert (caught.value.code, caught.value.cause) == (100, key)
        assert caught.value.index == gone.etcd_index

    run(url, test)


def test_a_long_value(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        value = "x" * (3 << 19)  # aiohttp warns of such a body if it is given as bytes
        await client.set(f"{root}/long", value)
        assert (await client.get(f"{root}/long")).value == value

    run(url, test)


def test_directories(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        assert (await client.make_dir(root)).node.dir
        first = await client.create_in_order(root, "x")
        second = await client.create_in_order(root, "y", ttl=60)
        assert first.key < second.key
        await client.make_dir(f"{root}/sub", ttl=100)
        await client.set(f"{root}/sub/c", "z")
        await client.set(f"{root}/_hidden", "h")
        listing = await client.get(root, recursive=True, sorted=True)
        assert [node.key for node in listing.node.walk()] == [
            root,
            first.key,
            second.key,
            f"{root}/sub",
            f"{root}/sub/c",
        ]
        await client.set(f"{root}/file", "f")
        assert (await client.set_dir(f"{root}/file")).node.dir
        assert (await client.update_dir(f"{root}/sub")).node.ttl is None
        await client.delete_dir(f"{root}/file")
        await client.delete(root, recursive=True)
        with pytest.raises(KeyNotFound):
            await client.get(root)

    run(url, test)


def test_refusals(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        file, directory = f"{root}/file", f"{root}/dir"
        await client.set(file, "1")
        await client.set(f"{directory}/x", "1")
        refused: list[tuple[type[EtcdError], Awaitable[object]]] = [
            (KeyExists, client.create(file, "2")),
            (KeyExists, client.make_dir(directory)),
            (KeyNotFound, client.update(f"{root}/nope", "2")),
            (KeyNotFound, client.refresh(f"{root}/nope", 5)),
            (KeyNotFound, client.delete(f"{root}/nope")),
            (CompareFailed, client.compare_and_swap(file, "2", prev_value="0")),
            (CompareFailed, client.compare_and_swap(file, "2", prev_index=1)),
            (CompareFailed, client.compare_and_delete(file, prev_value="0")),
            (CompareFailed, client.refresh(file, 5, prev_index=1)),
            (ValueRequired, client.compare_and_swap(file, "2", prev_value="")),
            (NotAFile, client.set(directory, "2")),
            (NotAFile, client.delete(directory)),
            (DirectoryNotEmpty, client.delete_dir(directory)),
            (NotADirectory, client.get(f"{file}/x")),
            (RootReadOnly, client.set("/", "x")),
        ]
        for kind, call in refused:
            with pytest.raises(kind):
                await call
        assert (await client.get(file)).value == "1"

    run(url, test)


@pytest.mark.parametrize(
    "name", ["a b", "ü/ß", "100%", "q?x=1", "x#y", "a+b&c=d", "+", '"<>', "😀", "a;b", "~._-"]
)
def test_keys_and_values_of_all_kinds(url: str, root: str, name: str) -> None:
    async def test(client: Client) -> None:
        key = f"{root}/{name}"
        for value in ("", name, " \n\t\r\x00", "x" * 100_000, "\u2028😀"):
            assert (await client.set(key, value)).key == key
            assert (await client.get(key)).value == value
            if value:
                await client.compare_and_swap(key, "y", prev_value=value)
        assert [node.key for node in (await client.get(root, recursive=True)).node.walk()][
            -1
        ] == key
        # etcd 3.4 drops a request line above 4 KiB; a form may be long
        await client.compare_and_delete(key, prev_value="y")

    run(url, test)


def test_bytes(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        await client.set(f"{root}/b", b"\xff\xfe ok")
        assert (await client.get(f"{root}/b")).value == "\ufffd\ufffd ok"
        await client.compare_and_delete(f"{root}/b", prev_value=b"\xff\xfe ok")

    run(url, test)


def test_watching(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        async with client.watch(root, recursive=True) as events:
            expected = []
            for number in range(30):
                result = await client.set(f"{root}/{number % 7}", str(number))
                expected.append((result.etcd_index, str(number)))
            await client.refresh(f"{root}/0", 50)  # nobody is told
            await client.delete(root, recursive=True)
            got = [await anext(events) for _ in range(30)]
            assert [(event.index, getattr(event, "value", "")) for event in got] == expected
            last = await anext(events)
            assert isinstance(last, WatchEvent)
            assert (last.action, last.key) == ("delete", root)

    run(url, test)


def test_a_watch_on_a_key_in_a_removed_directory(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        await client.set(f"{root}/dir/key", "1")
        async with client.watch(f"{root}/dir/key") as events:
            await client.delete(f"{root}/dir", recursive=True)
            removed = await anext(events)
            assert isinstance(removed, WatchEvent)
            assert (removed.action, removed.key) == ("delete", f"{root}/dir")

    run(url, test)


def test_a_watch_finds_the_history_cleared(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        start = (await client.set(f"{root}/a", "old")).etcd_index
        for batch in range(0, HISTORY_EVENTS + 50, 50):
            await asyncio.gather(*(client.set(f"{root}/b", str(batch + n)) for n in range(50)))
        value = (await client.get(f"{root}/b")).value
        async with client.watch(root, recursive=True, after_index=start) as events:
            state = await anext(events)
            assert isinstance(state, Resync)
            assert "cleared" in state.reason
            assert state.node is not None
            assert {node.key: node.value for node in state.node.nodes} == {
                f"{root}/a": "old",
                f"{root}/b": value,
            }
            made = await client.set(f"{root}/c", "new")
            event = await anext(events)
            assert (event.index, state.index) == (made.etcd_index, made.etcd_index - 1)

    run(url, test, debug=False)  # a thousand writes


def test_waiting_for_one_change(url: str, root: str) -> None:
    async def test(client: Client) -> None:
        index = (await client.set(root, "1")).etcd_index
        await client.set(root, "2")
        assert (await client.wait(root, after_index=index)).value == "2"
        with pytest.raises(TimeoutError):
            await client.wait(root, timeout_s=0.1)

    run(url, test)


def test_the_servers_themselves(url: str, server: Cluster) -> None:
    async def test(client: Client) -> None:
        (member,) = await client.members()
        assert (member.name, member.client_urls) == ("m1", (url,))
        assert await client.leader() == member
        assert "etcdserver" in await client.version()
        assert await client.health()
        assert await client.health(url + "/")
        assert not await client.health("http://127.0.0.1:1")
        assert (await client.self_stats())["name"] == "m1"
        assert (await client.store_stats(url))["setsSuccess"] > 0
        assert (await client.leader_stats())["leader"] == member.id
        assert await client.sync() == [url]
        assert client.endpoints == [url]
        with pytest.raises(MembershipError):
            await client.remove_member("abc")
        with pytest.raises(MembershipError):
            await client.add_member(server.members[0].peer_url)
        with pytest.raises(MembershipError):
            await client.update_member("abc", "http://127.0.0.1:1")

    run(url, test)


def test_synchronously(url: str, root: str) -> None:
    with SyncClient(url, sync_endpoints=True) as client:
        index = client.set(root, "1").etcd_index
        with client.watch(root, after_index=index - 1) as events:
            assert next(events).index == index
            thread = threading.Thread(target=client.set, args=(root, "2"))
            thread.start()
            event = events.next(timeout_s=5)
            assert isinstance(event, WatchEvent)
            assert event.value == "2"
            thread.join()
            with pytest.raises(TimeoutError):
                events.next(timeout_s=0.05)
        assert list(events) == []
        with pytest.raises(KeyExists):
            client.create(root, "3")
        assert client.health()
        assert not client.auth.is_enabled()


def test_users_and_roles(url: str, root: str) -> None:
    """With authentication on, and off again in the end: other tests use this server, too."""

    async def test(client: Client) -> None:
        auth = client.auth
        await auth.add_user("root", "secret")
        with pytest.raises(AuthError, match="already exists"):
            await auth.add_user("root", "other")
        assert await auth.add_role("reader", read=["/pub/*"]) == RoleRecord("reader", ("/pub/*",))
        granted = await auth.grant("reader", read=[f"{root}/*"], write=["/x"])
        assert granted.write == ("/x",)
        assert (await auth.revoke("reader", write=["/x"])).write == ()
        await auth.add_user("bob", "pw")
        assert await auth.grant_roles("bob", ["reader"]) == UserRecord("bob", ("reader",))
        assert await auth.user("bob") == UserRecord("bob", ("reader",))
        assert "bob" in [user.name for user in await auth.users()]
        assert "reader" in [role.name for role in await auth.roles()]
        with pytest.raises(AuthError, match="does not exist"):
            await auth.set_password("nobody", "x")
        await auth.set_password("bob", "pw2")
        await client.set(f"{root}/a", "1")
        await auth.enable()
        async with Client(url, username="root", password="secret") as admin:
            try:
                await admin.auth.revoke("guest", read=["/*"], write=["/*"])
                for credentials in (None, ("bob", "pw"), ("bob", "pw2")):
                    await use(credentials)
            finally:
                await admin.auth.disable()
            await admin.auth.revoke_roles("bob", ["reader"])
            for name in ("bob", "root"):
                await admin.auth.remove_user(name)
            await admin.auth.remove_role("reader")
            assert not await admin.auth.is_enabled()

    async def use(credentials: tuple[str, str] | None) -> None:
        username, password = credentials or (None, None)
        async with Client(url, username=username, password=password) as client:
            if credentials != ("bob", "pw2"):
                with pytest.raises(Unauthorized):
                    await client.get(f"{root}/a")
                with pytest.raises(Unauthorized):
                    await anext(client.watch(f"{root}/a"))
                return
            assert (await client.get(f"{root}/a")).value == "1"
            with pytest.raises(Unauthorized):
                await client.set(f"{root}/a", "2")
            with pytest.raises(Unauthorized):
                await client.auth.users()

    run(url, test)
