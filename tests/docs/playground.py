"""The cluster that pages are run against, and how it becomes empty again between two pages."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.members import KVRAFT, call, free_ports, wait_until
from tests.docs.ports import Ports

# Where the members of `kvraft dev` are if nobody else is there.
CLIENT_PORTS: Final = (2379, 22379, 32379)
REQUEST_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 10.0
_PORT: Final = re.compile(r"^  m\d  http://127\.0\.0\.1:(\d+)", re.MULTILINE)


def watchers_at(url: str) -> int:
    """How many watches are open at a member. Raises OSError if there is none."""
    answer = call(url, "GET", "/v2/stats/store", timeout_s=REQUEST_TIMEOUT_S)
    return int(answer.body["watchers"])


class Playground:
    """`kvraft dev`, started with the first page that asks for it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="kvraft-docs-")
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: list[int] = []

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

    def ports(self) -> Ports:
        """The mapping for a page that uses these members."""
        if self._process is None:
            self._start()
        return Ports(dict(zip(CLIENT_PORTS, self._ports, strict=True)), lambda: free_ports(1)[0])

    def _start(self) -> None:
        log = Path(self._folder.name) / "dev.log"
        with log.open("wb") as output:
            self._process = process = subprocess.Popen(
                [*KVRAFT, "dev", "--client-port", "0"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

        def started() -> bool:
            assert process.poll() is None, log.read_text()
            return "Ctrl-C" in log.read_text()

        wait_until("kvraft dev has started", started)
        self._ports = [int(port) for port in _PORT.findall(log.read_text())]

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate()  # not SIGINT: a shell may have had it ignored (`&`)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def reset(self) -> None:
        """Remove all keys, users and roles. If that is not allowed, the cluster is replaced."""
        if self._process is None:
            return
        try:
            self._clear(f"http://127.0.0.1:{self._ports[0]}")
            wait_until("nobody watches", lambda: not self.watchers())
        except (OSError, LookupError, TypeError):
            self._stop()

    def watchers(self) -> int:
        """How many watches are open at all members."""
        return sum(watchers_at(f"http://127.0.0.1:{port}") for port in self._ports)

    def _clear(self, url: str) -> None:
        root = call(url, "GET", "/v2/keys/", timeout_s=REQUEST_TIMEOUT_S).body["node"]
        paths = [f"/v2/keys{node['key']}?recursive=true" for node in root.get("nodes", ())]
        for kind, name in (("users", "user"), ("roles", "role")):
            listing = call(url, "GET", f"/v2/auth/{kind}", timeout_s=REQUEST_TIMEOUT_S).body
            paths += [f"/v2/auth/{kind}/{record[name]}" for record in listing[kind] or ()]
        for path in paths:
            call(url, "DELETE", path, timeout_s=REQUEST_TIMEOUT_S)
        if call(url, "GET", "/v2/auth/enable", timeout_s=REQUEST_TIMEOUT_S).body["enabled"]:
            self._stop()
