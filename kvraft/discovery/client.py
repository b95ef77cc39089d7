"""A member's side of discovery: take a place under a token, wait until all places are taken.

The order of events and the log lines are those of etcd 2.3 (discovery reference, sections 3 and 4);
mixed clusters form, as all agree on who the members are: the first N registrations in the order in
which the store took them. Where 2.3 takes every event under the token for a new member, this
counts registrations: a repeated one changes nothing, a deleted one gives its place free.

Must not know how a member starts. Time passes through `Timing`, so that a test need not wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from kvraft import limits
from kvraft.discovery import errors
from kvraft.discovery.registry import (
    HISTORY_CLEARED,
    KEY_EXISTS,
    Event,
    Failure,
    Listing,
    Refused,
    Registration,
    Registry,
    Unreachable,
)
from kvraft.server import ids, logs
from kvraft.server.config import format_cluster, parse_cluster
from kvraft.server.urls import UrlError

_log = logs.logger("discovery")
_GONE: Final = frozenset(("delete", "expire", "compareAndDelete"))
_TAKEN: Final = frozenset(("set", "create", "update", "compareAndSwap"))


class _Full(Failure):
    """All places belong to others."""

    def __init__(self) -> None:
        super().__init__(errors.FULL)


class Timing(NamedTuple):
    """How time passes: `sleep` takes seconds; a request other than a wait has a limit."""

    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    request_timeout_s: float = limits.DISCOVERY_REQUEST_S


async def join_cluster(
    url: str,
    proxy: str,
    name: str,
    member_id: int,
    peer_urls: Sequence[str],
    *,
    data_dir: str = "",
    timing: Timing | None = None,
) -> str:
    """Register under the token `url` and wait for the others; the initial cluster's `name=url,...`.

    `proxy` is an HTTP forward proxy, or empty; `data_dir` is for the advice in an error. Raises
    ClusterFull, DuplicateId or DiscoveryFailed, whose `lines` tell the operator.
    """
    own = ids.format_id(member_id)
    value = ",".join(f"{name}={peer_url}" for peer_url in sorted(peer_urls))
    timing = timing or Timing()
    try:
        async with Registry(url, proxy_url(proxy), timing.request_timeout_s) as registry:
            search = _Search(registry, own, timing)
            found = await search.join(value)
        cluster = _cluster(found.members, found.size)
    except _Full:
        raise errors.ClusterFull(url) from None
    except Refused as refused:
        if refused.code == KEY_EXISTS:
            raise errors.DuplicateId(url, name, data_dir) from None
        raise errors.failed_to_join(url, refused.text) from None
    except Failure as failure:
        raise errors.failed_to_join(url, failure.text) from None
    if cluster is None:
        raise errors.duplicate_name(url)
    _check(cluster, found.members, url)
    return format_cluster(cluster)


async def get_cluster(url: str, proxy: str, *, timing: Timing | None = None) -> str:
    """The cluster of a token for a proxy, which never registers; waits until it is complete.

    Raises DiscoveryFailed.
    """
    timing = timing or Timing()
    try:
        async with Registry(url, proxy_url(proxy), timing.request_timeout_s) as registry:
            found = await _Search(registry, "", timing).look()
        cluster = _cluster(found.members, found.size)
    except Failure as failure:
        raise errors.fatal(failure.text) from None
    if cluster is None:
        raise errors.fatal("discovery: found duplicate name")
    return format_cluster(cluster)


def proxy_url(proxy: str) -> str:
    """A forward proxy as a URL; `http://` is understood where no scheme is given."""
    if not proxy:
        return ""
    url = proxy if proxy.startswith(("http://", "https://")) else f"http://{proxy}"
    try:
        usable = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        usable = False
    if not usable:
        raise Failure(f'invalid proxy address "{proxy}"')
    _log.info('using proxy "%s"', url)
    return url


class _Found(NamedTuple):
    """The registrations that make the cluster, as many as there are places."""

    members: tuple[Registration, ...]
    size: int


class _Picture(NamedTuple):
    """What a check has seen: the places, and who holds them."""

    size: int
    listing: Listing


class _Search:
    """One attempt to find out the members; `own` is this member's id, empty for a proxy."""

    def __init__(self, registry: Registry, own: str, timing: Timing) -> None:
        self._registry = registry
        self._own = own
        self._sleep = timing.sleep
        self._retries = 0

    async def join(self, value: str) -> _Found:
        """Check, register, confirm, check again, wait."""
        self._require_place(await self._check())
        index = await self._registry.register(self._own, value)
        try:
            await self._registry.wait_for_own(self._own, index)
        except Failure as failure:
            # The place is taken: giving up now would leave it to nobody. The check that follows
            # finds out whether the service is of use, and tries again if it is not.
            _log.warning("could not confirm the registration: %s", failure.text)
        return await self._complete()

    async def look(self) -> _Found:
        """The same without taking a place."""
        return await self._complete()

    async def _complete(self) -> _Found:
        """Check and wait until all places are taken, however often the service is cut off."""
        while True:
            picture = await self._check()
            self._require_place(picture)
            members = await self._wait(picture)
            if members is not None:
                _log.log(logs.NOTICE, "found %d needed peer(s)", picture.size)
                return _Found(members, picture.size)

    def _require_place(self, picture: _Picture) -> None:
        """Raise _Full if all places are taken, and none by this member."""
        members = picture.listing.registrations[: picture.size]
        if self._own and len(members) == picture.size and not self._is_among(members):
            raise _Full

    def _is_among(self, members: Sequence[Registration]) -> bool:
        return any(member.id_hex == self._own for member in members)

    # --- check -------------------------------------------------------------------------

    async def _check(self) -> _Picture:
        while True:
            try:
                return _Picture(await self._registry.size(), await self._registry.listing())
            except Unreachable as trouble:
                await self._back_off("cluster status check", trouble)

    async def _back_off(self, doing: str, trouble: Unreachable) -> None:
        self._retries += 1
        delay_s = min(2**self._retries, limits.DISCOVERY_MAX_BACKOFF_S)
        _log.error("error #0: %s", trouble.text)
        _log.info(
            "%s: error connecting to %s, retrying in %s",
            doing,
            self._registry.base,
            _go_seconds(delay_s),
        )
        await self._sleep(delay_s)

    # --- wait --------------------------------------------------------------------------

    async def _wait(self, picture: _Picture) -> tuple[Registration, ...] | None:
        """All members; None if it takes a new look at the directory to go on."""
        size, listing = picture
        known = {item.id_hex: item for item in listing.registrations[:size]}
        for item in known.values():
            self._announce(item.id_hex)
        index = listing.store_index + 1
        while len(known) < size:
            missing = size - len(known)
            _log.log(logs.NOTICE, "found %d peer(s), waiting for %d more", len(known), missing)
            event = await self._next_event(index)
            if event is None or (event.key == listing.directory and event.action in _GONE):
                return None
            index = event.modified_index + 1
            self._count(event, listing.directory, known)
        members = tuple(sorted(known.values(), key=lambda item: item.created_index))
        if self._own and not self._is_among(members):
            raise _Full
        return members

    async def _next_event(self, index: int) -> Event | None:
        """The first event at or after `index`; None if the directory has to be read again."""
        while True:
            try:
                event = await self._registry.wait(index)
            except Unreachable as trouble:
                await self._back_off("waiting for other nodes", trouble)
                return None
            except Refused as refused:
                if refused.code == HISTORY_CLEARED:
                    return None
                raise
            if event is not None:
                return event
            await self._sleep(limits.DISCOVERY_EMPTY_WAIT_PAUSE_S)

    def _count(self, event: Event, directory: str, known: dict[str, Registration]) -> None:
        """Add or drop the member that an event is about; other events mean nothing."""
        parent, _, id_hex = event.key.rpartition("/")
        if parent != directory or event.is_directory:
            return
        if event.action in _GONE:
            if known.pop(id_hex, None) is not None:
                _log.warning("peer %s has been removed from the token", id_hex)
        elif event.action in _TAKEN:
            if id_hex not in known:
                self._announce(id_hex)
            known[id_hex] = Registration(id_hex, event.value, event.created_index)

    def _announce(self, id_hex: str) -> None:
        who = "self" if id_hex == self._own else "peer"
        _log.log(logs.NOTICE, "found %s %s in the cluster", who, id_hex)


# --- the result ------------------------------------------------------------------------


def _cluster(members: Sequence[Registration], size: int) -> dict[str, tuple[str, ...]] | None:
    """The members by name; None if a name comes twice. Raises Failure for a value of no use."""
    try:
        cluster = parse_cluster(",".join(member.value for member in members))
    except UrlError:
        raise Failure("discovery: invalid URL") from None
    return cluster if len(cluster) == size else None


def _check(
    cluster: dict[str, tuple[str, ...]], members: Sequence[Registration], token: str
) -> None:
    """Refuse a URL that comes twice; point out ids that were made with another token."""
    urls = [url for urls in cluster.values() for url in urls]
    if len(set(urls)) < len(urls):
        raise errors.fatal(f"discovery cluster {format_cluster(cluster)} has duplicate url")
    by_id = {ids.format_id(ids.member_id(urls, token)) for urls in cluster.values()}
    for member in members:
        if member.id_hex not in by_id:
            _log.warning(
                "the id %s of %s does not follow from its URLs and %s: it was given another "
                "spelling of the discovery URL, and will not find the other members",
                member.id_hex,
                member.value,
                token,
            )


def _go_seconds(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
