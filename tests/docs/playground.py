"""The cluster that pages are run against, and how it becomes empty again between two pages."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.members import KVRAFT, Cluster, call, free_ports
from tests.docs.ports import Ports

# Where the members of `kvraft dev` are: client ports, then peer ports.
CLIENT_PORTS: Final = (2379, 22379, 32379)
PEER_PORTS: Final = (2380, 22380, 32380)
RESET_TIMEOUT_S: Final = 5.0


class Playground:
    """Three members, started with the first page that asks for them."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kvraft-docs-")
        self._cluster: Cluster | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self._stop()
        self._folder.cleanup()

    def _stop(self) -> None:
        if self._cluster is not None:
            self._cluster.__exit__(None, None, None)
            self._cluster = None

    def ports(self) -> Ports:
        """The mapping for a page that uses these members."""
        members = self._started().members
        known = {
            documented: int(url.rpartition(":")[2])
            for documented, url in (
                *zip(CLIENT_PORTS, (member.client_url for member in members), strict=True),
                *zip(PEER_PORTS, (member.peer_url for member in members), strict=True),
            )
        }
        return Ports(known, lambda: free_ports(1)[0])

    def _started(self) -> Cluster:
        if self._cluster is None:
            folder = Path(tempfile.mkdtemp(dir=self._folder.name))
            self._cluster = Cluster(KVRAFT, len(CLIENT_PORTS), folder).start()
        return self._cluster

    def reset(self) -> None:
        """Remove all keys. A cluster that does not allow it is replaced by a new one."""
        if self._cluster is None:
            return
        url = self._cluster.members[0].client_url
        try:
            listing = call(url, "GET", "/v2/keys/", timeout_s=RESET_TIMEOUT_S).body
            for node in listing["node"].get("nodes", ()):
                path = f"/v2/keys{node['key']}?recursive=true"
                call(url, "DELETE", path, timeout_s=RESET_TIMEOUT_S)
            if call(url, "GET", "/v2/auth/enable", timeout_s=RESET_TIMEOUT_S).body["enabled"]:
                self._stop()
                return
            for kind, name in (("users", "user"), ("roles", "role")):
                listing = call(url, "GET", f"/v2/auth/{kind}", timeout_s=RESET_TIMEOUT_S).body
                for record in listing[kind] or ():
                    path = f"/v2/auth/{kind}/{record[name]}"
                    call(url, "DELETE", path, timeout_s=RESET_TIMEOUT_S)
        except (OSError, KeyError, TypeError):
            self._stop()
