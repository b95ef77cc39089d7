"""The TLS of both sides of one process: read at the start, looked after while it runs.

Files are looked at once a minute and on SIGHUP, in a thread. What others will refuse is said once
when it becomes so. Must not know what is served.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from kvraft import limits
from kvraft.server.logs import logger
from kvraft.transport.tls import Tls, TlsFiles, prepare

if TYPE_CHECKING:
    from kvraft.server.config import ServerConfig

_log = logger("etcdmain")


class Certificates:
    """Reads the files of both sides. Raises TlsError."""

    def __init__(self, config: ServerConfig) -> None:
        sides = (
            ("peerTLS", config.peer_tls, config.listen_peer_urls, True),
            ("clientTLS", config.client_tls, config.listen_client_urls, False),
        )
        loaded = []
        for title, files, urls, peer in sides:
            if files.cert_file or files.key_file:
                _log.info("%s: %s", title, _describe(files))
            tls, warnings = prepare(files, urls, peer=peer)
            loaded.append(tls)
            for warning in warnings:
                _log.warning("%s", warning)
        self.peer, self.client = loaded
        self._said: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()

    def problems(self) -> list[str]:
        """What others will refuse, or soon will."""
        now_s = time.time()
        return [*self.peer.problems(now_s), *self.client.problems(now_s)]

    def start(self) -> None:
        """Say what is wrong, and look after the files from now on."""
        self._say_problems()
        if self._watched():
            self._task = asyncio.create_task(self._watch(), name="certificates")

    def look(self) -> None:
        """Look at the files soon: what SIGHUP asks for."""
        if self._watched():
            _log.info("looking for changed TLS files")
        self._look_now.set()

    async def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _watched(self) -> list[Tls]:
        return [tls for tls in (self.peer, self.client) if tls.files.paths]

    async def _watch(self) -> None:
        while True:
            try:
                async with asyncio.timeout(limits.CERTIFICATE_CHECK_S):
                    await self._look_now.wait()
            except TimeoutError:
                pass
            self._look_now.clear()
            for tls in self._watched():
                await asyncio.to_thread(tls.reload_if_changed)
            self._say_problems()

    def _say_problems(self) -> None:
        problems = self.problems()
        for text in problems:
            if text not in self._said:
                _log.warning("%s", text)
        self._said = set(problems)


def _describe(files: TlsFiles) -> str:
    return (
        f"cert = {files.cert_file}, key = {files.key_file}, trusted-ca = {files.trusted_ca_file}, "
        f"client-cert-auth = {str(files.client_cert_auth).lower()}"
    )
