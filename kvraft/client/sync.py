"""The synchronous client: the same names and arguments, for programs without an event loop.

    with kvraft.SyncClient("http://10.0.0.1:2379") as client:
        client.set("/config/color", "blue")
        with client.watch("/config", recursive=True) as events:
            for event in events:
                ...

It runs the asyncio client in a background thread and waits for it, so a connection is kept
between calls and several threads may share one client. Ctrl-C cancels the call that is waited for;
a change that was under way then may have happened, as with OutcomeUnknown.
"""

from __future__ import annotations

import random
import ssl
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import aiohttp

from kvraft.client.auth import Auth, RoleRecord, UserRecord
from kvraft.client.client import DEFAULT_ENDPOINT, Client
from kvraft.client.model import MemberRecord, Result, Resync, WatchEvent
from kvraft.client.operations import KeyOperations
from kvraft.client.portal import Iteration, Portal
from kvraft.client.requests import Value
from kvraft.client.syncrecipes import SyncRecipes

SyncWatch = Iteration[WatchEvent | Resync]
"""The events of a watch; `close()` may be called from another thread and ends the iteration."""


class SyncKeyOperations(SyncRecipes):
    """The operations on keys, waiting for each: of a client, or of a member in this process."""

    def __init__(self, portal: Portal, operations: KeyOperations) -> None:
        self._portal = portal
        self._operations = operations

    def get(
        self,
        key: str,
        *,
        recursive: bool = False,
        sorted: bool = False,  # noqa: A002
        quorum: bool = False,
    ) -> Result:
        """Read a key or a directory; see `Client.get`."""
        get = self._operations.get
        return self._portal.call(get, key, recursive=recursive, sorted=sorted, quorum=quorum)

    def set(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Set a key, whether it exists or not; see `Client.set`."""
        return self._portal.call(self._operations.set, key, value, ttl=ttl)

    def create(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Create a key; see `Client.create`."""
        return self._portal.call(self._operations.create, key, value, ttl=ttl)

    def update(self, key: str, value: Value, *, ttl: int | None = None) -> Result:
        """Change a key that exists; see `Client.update`."""
        return self._portal.call(self._operations.update, key, value, ttl=ttl)

    def delete(
        self,
        key: str,
        *,
        recursive: bool = False,
        dir: bool = False,  # noqa: A002
    ) -> Result:
        """Delete a key or a directory; see `Client.delete`."""
        return self._portal.call(self._operations.delete, key, recursive=recursive, dir=dir)

    def compare_and_swap(
        self,
        key: str,
        value: Value,
        *,
        prev_value: Value | None = None,
        prev_index: int | None = None,
        ttl: int | None = None,
    ) -> Result:
        """Change a key if it is as given; see `Client.compare_and_swap`."""
        return self._portal.call(
            self._operations.compare_and_swap,
            key,
            value,
            prev_value=prev_value,
            prev_index=prev_index,
            ttl=ttl,
        )

    def compare_and_delete(
        self, key: str, *, prev_value: Value | None = None, prev_index: int | None = None
    ) -> Result:
        """Delete a key if it is as given; see `Client.compare_and_delete`."""
        return self._portal.call(
            self._operations.compare_and_delete, key, prev_value=prev_value, prev_index=prev_index
        )

    def create_in_order(self, directory: str, value: Value, *, ttl: int | None = None) -> Result:
        """Create a key that sorts behind those before it; see `Client.create_in_order`."""
        return self._portal.call(self._operations.create_in_order, directory, value, ttl=ttl)

    def make_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory; see `Client.make_dir`."""
        return self._portal.call(self._operations.make_dir, key, ttl=ttl)

    def set_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Create a directory, or replace a file by one; see `Client.set_dir`."""
        return self._portal.call(self._operations.set_dir, key, ttl=ttl)

    def update_dir(self, key: str, *, ttl: int | None = None) -> Result:
        """Change the TTL of a directory; see `Client.update_dir`."""
        return self._portal.call(self._operations.update_dir, key, ttl=ttl)

    def delete_dir(self, key: str, *, recursive: bool = False) -> Result:
        """Delete a directory; see `Client.delete_dir`."""
        return self._portal.call(self._operations.delete_dir, key, recursive=recursive)

    def refresh(self, key: str, ttl: int, *, prev_index: int | None = None) -> Result:
        """Give a key another TTL without telling watchers; see `Client.refresh`."""
        return self._portal.call(self._operations.refresh, key, ttl, prev_index=prev_index)

    def watch(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        initial: bool = False,
    ) -> SyncWatch:
        """Follow the changes of a key; see `Client.watch`.

        A plain iterator, and a context manager that closes it. `next(timeout_s)` waits for one
        event and raises TimeoutError; the next one goes on where it ended.
        """
        watch = self._operations.watch(
            key, recursive=recursive, after_index=after_index, initial=initial
        )
        return self._portal.iterate(watch, owner=self)


class SyncAuth:
    """The auth routes of a client's cluster; see `kvraft.client.auth.Auth`."""

    def __init__(self, portal: Portal, auth: Auth) -> None:
        self._portal = portal
        self._auth = auth

    def is_enabled(self) -> bool:
        """Whether requests need credentials."""
        return self._portal.call(self._auth.is_enabled)

    def enable(self) -> None:
        """Switch authentication on; there has to be a user root."""
        self._portal.call(self._auth.enable)

    def disable(self) -> None:
        """Switch authentication off."""
        self._portal.call(self._auth.disable)

    def users(self) -> list[UserRecord]:
        """All users in order of their names."""
        return self._portal.call(self._auth.users)

    def user(self, name: str) -> UserRecord:
        """One user."""
        return self._portal.call(self._auth.user, name)

    def add_user(self, name: str, password: str, roles: Sequence[str] = ()) -> None:
        """Create a user."""
        self._portal.call(self._auth.add_user, name, password, roles)

    def remove_user(self, name: str) -> None:
        """Delete a user."""
        self._portal.call(self._auth.remove_user, name)

    def set_password(self, name: str, password: str) -> None:
        """Change a password."""
        self._portal.call(self._auth.set_password, name, password)

    def grant_roles(self, name: str, roles: Sequence[str]) -> UserRecord:
        """Give a user further roles."""
        return self._portal.call(self._auth.grant_roles, name, roles)

    def revoke_roles(self, name: str, roles: Sequence[str]) -> UserRecord:
        """Take roles from a user."""
        return self._portal.call(self._auth.revoke_roles, name, roles)

    def roles(self) -> list[RoleRecord]:
        """All roles in order of their names."""
        return self._portal.call(self._auth.roles)

    def role(self, name: str) -> RoleRecord:
        """One role."""
        return self._portal.call(self._auth.role, name)

    def add_role(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Create a role."""
        return self._portal.call(self._auth.add_role, name, read=read, write=write)

    def remove_role(self, name: str) -> None:
        """Delete a role."""
        self._portal.call(self._auth.remove_role, name)

    def grant(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Add patterns to a role."""
        return self._portal.call(self._auth.grant, name, read=read, write=write)

    def revoke(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Take patterns from a role."""
        return self._portal.call(self._auth.revoke, name, read=read, write=write)


class SyncClient(SyncKeyOperations):
    """A connection to a cluster for programs without an event loop; arguments as for `Client`.

    Threads may share one. Close it, or use it in a `with`; what is forgotten is closed at the end
    of the process. After a fork, the child needs one of its own.
    """

    def __init__(
        self,
        endpoints: str | Sequence[str] = DEFAULT_ENDPOINT,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        timeout_s: float = 5.0,
        connect_timeout_s: float = 1.0,
        attempt_timeout_s: float | None = None,
        sync_endpoints: bool = False,
        connector: aiohttp.BaseConnector | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """Connects to nothing yet. Raises ValueError for settings that contradict each other."""
        client = Client(
            endpoints,
            username=username,
            password=password,
            tls=tls,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            timeout_s=timeout_s,
            connect_timeout_s=connect_timeout_s,
            attempt_timeout_s=attempt_timeout_s,
            sync_endpoints=sync_endpoints,
            connector=connector,
            rng=rng,
        )
        portal = Portal("kvraft-client")
        self._use(portal, client)
        self._finish: Callable[[], object] = weakref.finalize(self, portal.close)

    @classmethod
    def within(cls, portal: Portal, client: Client) -> Self:
        """One for a client that belongs to the loop of this portal, which outlives it."""
        self = cls.__new__(cls)
        self._use(portal, client)
        self._finish = lambda: None if portal.closed else portal.call(client.close)
        return self

    def _use(self, portal: Portal, client: Client) -> None:
        super().__init__(portal, client)
        self._client = client
        self.auth = SyncAuth(portal, client.auth)
        portal.at_end(client.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all watches and connections. May be called more than once, from any thread."""
        self._finish()

    @property
    def endpoints(self) -> list[str]:
        """The endpoints in the order in which the next call tries them."""
        return self._client.endpoints

    def sync(self) -> list[str]:
        """Ask the members for their client URLs and use them from now on; those URLs."""
        return self._portal.call(self._client.sync)

    def wait(
        self,
        key: str,
        *,
        recursive: bool = False,
        after_index: int | None = None,
        timeout_s: float | None = None,
    ) -> WatchEvent:
        """The first change of a key above `after_index`; see `Client.wait`."""
        return self._portal.call(
            self._client.wait,
            key,
            recursive=recursive,
            after_index=after_index,
            timeout_s=timeout_s,
        )

    def members(self) -> list[MemberRecord]:
        """All members of the cluster, as one of them knows it."""
        return self._portal.call(self._client.members)

    def leader(self) -> MemberRecord | None:
        """The member that leads; None while there is none."""
        return self._portal.call(self._client.leader)

    def add_member(self, peer_urls: str | Sequence[str]) -> MemberRecord:
        """Add a member that will be reached at these peer URLs."""
        return self._portal.call(self._client.add_member, peer_urls)

    def update_member(self, id: str, peer_urls: str | Sequence[str]) -> None:  # noqa: A002
        """Replace the peer URLs of a member."""
        self._portal.call(self._client.update_member, id, peer_urls)

    def remove_member(self, id: str) -> None:  # noqa: A002
        """Remove a member for good."""
        self._portal.call(self._client.remove_member, id)

    def version(self) -> dict[str, Any]:
        """Versions of the server and of the cluster."""
        return self._portal.call(self._client.version)

    def health(self, endpoint: str | None = None) -> bool:
        """Whether an endpoint can serve writes; without an argument, whether any can."""
        return self._portal.call(self._client.health, endpoint)

    def self_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """What a member says of its role, its leader and their traffic."""
        return self._portal.call(self._client.self_stats, endpoint)

    def store_stats(self, endpoint: str | None = None) -> dict[str, Any]:
        """How often a member has carried out which operation."""
        return self._portal.call(self._client.store_stats, endpoint)

    def leader_stats(self) -> dict[str, Any]:
        """Latencies and failures of the leader towards each follower."""
        return self._portal.call(self._client.leader_stats)
