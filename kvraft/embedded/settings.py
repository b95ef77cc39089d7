"""What a node is told, checked once, and how it reaches the others.

Pure. Members of one process share a `MemoryNetwork` and know each other by name; members elsewhere
are reached at their peer URLs, by the same rules and with the same words as those of the server.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from kvraft.server import config as configuration
from kvraft.server.config import ServerConfig
from kvraft.server.urls import UrlError, address, parse_url

if TYPE_CHECKING:
    from kvraft.clock import Clock
    from kvraft.transport.memory import MemoryNetwork

ALONE_TICK_MS: Final = 100
"""Nobody waits for the heartbeats of the only member; those to other machines have the usual."""
MEMORY_TICK_MS: Final = 10
"""Members of one process are late together: a loop that is busy costs nobody its leadership."""
ELECTION_TICKS: Final = 10
SNAPSHOT_COUNT: Final = 10_000
MEMORY_DATA_DIR: Final = "/kvraft"
"""Where the data is in a `MemoryFiles`."""


class Settings(NamedTuple):
    """What one node is told; URLs are in their normal form, and may have port 0."""

    name: str
    data_dir: str | None
    client_url: str | None
    peer_url: str | None
    initial_cluster: Mapping[str, tuple[str, ...]]
    initial_cluster_state: str
    initial_cluster_token: str
    tick_ms: int
    election_ticks: int
    snapshot_count: int
    network: MemoryNetwork | None
    clock: Clock | None

    @property
    def request_timeout_ms(self) -> int:
        """How long a change may wait for a leader and a quorum; the server's rule."""
        return 5000 + 2 * self.election_ticks * self.tick_ms


def settings(
    data_dir: str | os.PathLike[str] | None,
    *,
    name: str,
    client_url: str | None,
    peer_url: str | None,
    initial_cluster: Mapping[str, str | Sequence[str]] | None,
    initial_cluster_state: str,
    initial_cluster_token: str,
    tick_ms: int | None,
    election_ticks: int,
    snapshot_count: int,
    network: MemoryNetwork | None,
    clock: Clock | None,
) -> Settings:
    """Check the arguments of a node. Raises ValueError, naming the argument."""
    if not name:
        raise ValueError("name: a node needs a name")
    if initial_cluster_state not in ("new", "existing"):
        raise ValueError(
            f"initial_cluster_state: {initial_cluster_state!r} is neither 'new' nor 'existing'"
        )
    if peer_url is not None and network is not None:
        raise ValueError("peer_url: members of a network in memory have no addresses")
    if tick_ms is None:
        alone = peer_url is None and network is None
        tick_ms = ALONE_TICK_MS if alone or peer_url is not None else MEMORY_TICK_MS
    for argument, number, least in (
        ("tick_ms", tick_ms, 1),
        ("election_ticks", election_ticks, configuration.MIN_ELECTION_HEARTBEATS),
        ("snapshot_count", snapshot_count, 1),
    ):
        if number < least:
            raise ValueError(f"{argument}: {number} is less than {least}")
    peer = _url("peer_url", peer_url)
    given = initial_cluster or {}
    members = {
        member: (urls,) if isinstance(urls, str) else tuple(urls) for member, urls in given.items()
    }
    if given and name not in given:
        raise ValueError(f"initial_cluster: it does not name this node, {name!r}")
    if not given and initial_cluster_state == "existing" and network is None:
        raise ValueError("initial_cluster: a node that joins has to know the members")
    return Settings(
        name,
        None if data_dir is None else os.path.abspath(data_dir),
        _url("client_url", client_url),
        peer,
        members,
        initial_cluster_state,
        initial_cluster_token,
        tick_ms,
        election_ticks,
        snapshot_count,
        network,
        clock,
    )


def _url(argument: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        url = parse_url(text)
    except UrlError as error:
        raise ValueError(f"{argument}: {error}") from None
    if address(url).scheme != "http":
        raise ValueError(f"{argument}: {text}: TLS is the server's; a node speaks plain http")
    return url


def memory_host(name: str) -> str:
    """A host name that stands for a node; its top-level domain is reserved for such.

    Different nodes get different ones.
    """
    plain = name.isascii() and name.isalnum() and name == name.lower()
    return f"{name if plain else 'x-' + name.encode().hex()}.invalid"


def memory_peer_url(name: str) -> str:
    """What stands for an address where there is none."""
    return f"http://{memory_host(name)}:2380"


def memory_client_url(name: str) -> str:
    """The same for clients."""
    return f"http://{memory_host(name)}:2379"


def server_config(given: Settings, peer_url: str) -> ServerConfig:
    """The same for the server's code, with the peer URL that the node really has.

    Raises ValueError with the server's words.
    """
    cluster = dict(given.initial_cluster) or {given.name: (peer_url,)}
    pairs = ",".join(f"{member}={url}" for member, urls in cluster.items() for url in urls)
    words = {
        "name": given.name,
        "data-dir": given.data_dir or MEMORY_DATA_DIR,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": pairs,
        "initial-cluster-state": given.initial_cluster_state,
        "initial-cluster-token": given.initial_cluster_token,
        "heartbeat-interval": str(given.tick_ms),
        "election-timeout": str(given.tick_ms * given.election_ticks),
        "snapshot-count": str(given.snapshot_count),
    }
    config = configuration.parse([f"--{flag}={text}" for flag, text in words.items()], {})
    if isinstance(config, ServerConfig):
        return config
    raise ValueError("; ".join(line.text for line in config.lines) or config.stderr)
