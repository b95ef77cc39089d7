"""Who the first members are, where somebody else has to be asked: a discovery URL, or DNS.

Only a process without data asks. What it learns takes the place of `--initial-cluster`. (server.md,
sections 3.3 and 3.4.)
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING

from kvraft.discovery.errors import ClusterFull, DiscoveryError
from kvraft.server import ids
from kvraft.server.config import parse_cluster
from kvraft.server.modes import StartRefused, refused
from kvraft.server.urls import UrlError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kvraft.server.config import ServerConfig


async def with_first_members(config: ServerConfig) -> ServerConfig:
    """The settings with `initial_cluster` filled. Raises StartRefused, or ClusterFull.

    With discovery, registers this member and waits until all are there, which may take for ever.
    """
    urls = config.initial_advertise_peer_urls
    if config.discovery:
        from kvraft.discovery.client import join_cluster  # loads an HTTP client

        # The whole URL is the word that tells this cluster apart.
        own_id = ids.member_id(urls, config.discovery)
        try:
            text = await join_cluster(
                config.discovery,
                config.discovery_proxy,
                config.name,
                own_id,
                urls,
                data_dir=config.data_dir,
            )
        except ClusterFull:
            raise
        except DiscoveryError as error:
            raise StartRefused(*error.lines) from error
        return _with(config, parse_cluster(text), config.discovery)
    if config.discovery_srv:
        cluster = await _from_dns(config, proxy=False)
        return _with(config, cluster, config.initial_cluster_token)
    return config


async def first_peer_urls(config: ServerConfig) -> tuple[str, ...]:
    """Where a proxy looks for the members first. Raises StartRefused."""
    cluster: Mapping[str, tuple[str, ...]] = config.initial_cluster
    if config.discovery:
        from kvraft.discovery.client import get_cluster

        try:
            cluster = parse_cluster(await get_cluster(config.discovery, config.discovery_proxy))
        except DiscoveryError as error:
            raise StartRefused(*error.lines) from error
    elif config.discovery_srv:
        cluster = await _from_dns(config, proxy=True)
    return tuple(sorted(url for urls in cluster.values() for url in urls))


async def _from_dns(config: ServerConfig, *, proxy: bool) -> dict[str, tuple[str, ...]]:
    from kvraft.discovery.srv import srv_cluster

    urls = config.initial_advertise_peer_urls
    try:
        return parse_cluster(
            await srv_cluster(config.discovery_srv, config.name, urls, proxy=proxy)
        )
    except DiscoveryError as error:
        raise StartRefused(*error.lines) from error
    except UrlError as error:  # a name in DNS may hold anything
        raise refused(f"error setting up initial cluster: {error}") from error


def _with(config: ServerConfig, cluster: dict[str, tuple[str, ...]], token: str) -> ServerConfig:
    return dataclasses.replace(
        config, initial_cluster=MappingProxyType(cluster), initial_cluster_token=token
    )
