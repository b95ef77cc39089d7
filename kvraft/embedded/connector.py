"""HTTP between the usual client and nodes of the same program, without any socket.

Whatever takes an aiohttp connector can use it. Each host name stands for a node; one that is not
running refuses the connection, as a closed port does.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import aiohttp

from kvraft.client.client import Client
from kvraft.client.errors import DidNotHappen
from kvraft.embedded.pipe import join
from kvraft.limits import CLIENT_IDLE_S

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

Accept = Callable[[], asyncio.Protocol]
"""Makes the server's side of a new connection. Raises NodeStopped."""


class MemoryConnector(aiohttp.BaseConnector):
    """Connections to nodes, by the host in the URL."""

    def __init__(self, nodes: Mapping[str, Accept]) -> None:
        super().__init__(limit=0, keepalive_timeout=CLIENT_IDLE_S)
        self._nodes = nodes

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> ResponseHandler:
        handler = self._factory()
        try:
            server = self._nodes[req.url.host or ""]()
        except (KeyError, DidNotHappen) as error:
            refused = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
            raise aiohttp.ClientConnectorError(req.connection_key, refused) from error
        join(self._loop, handler, server)
        return handler


class MemoryClient(Client):
    """A client whose connections need no sockets; closes its connector with itself."""

    def __init__(
        self, endpoints: Sequence[str], connector: MemoryConnector, **options: Any
    ) -> None:
        """`options`: see `Client`."""
        super().__init__(endpoints, connector=connector, **options)
        self._own_connector = connector

    async def close(self) -> None:
        """See `Client.close`."""
        await super().close()
        await self._own_connector.close()
