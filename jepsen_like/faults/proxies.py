"""The harness's side of the proxy between members: which rule holds on which link.

All methods block for about a millisecond; they may be called from several threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jepsen_like.base import Closing
from jepsen_like.faults.proxy import HOST, Link
from jepsen_like.faults.wire import Rule

_STOP_TIMEOUT_S: Final = 10.0


class ProxyError(OSError):
    """The proxy is gone, or did not understand."""


class Proxies(Closing):
    """Ports in front of all members of a run. A context manager."""

    def __init__(self, seed: int = 0) -> None:
        self._ports: dict[int, int] = {}
        self._asking = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jepsen_like.faults.proxy", str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """The process of the proxy."""
        return self._process.pid

    def add(self, number: int, peer_port: int) -> None:
        """A port in front of a member, which listens for the others at `peer_port`."""
        answer = self._ask({"do": "listen", "member": number, "port": peer_port})
        self._ports[number] = answer["port"]

    def host(self, number: int) -> str:
        """The address that a member binds; the same for all."""
        return HOST

    def prefix(self, number: int) -> tuple[str, ...]:
        """What goes before a member's command: nothing."""
        return ()

    def peer_url(self, number: int) -> str:
        """Where other members have to call this one."""
        return f"http://{HOST}:{self._ports[number]}"

    def set_rules(self, rules: Mapping[Link, Rule]) -> None:
        """Let these rules hold, by sender and receiver, and no others."""
        listed = [[*link, rule._asdict()] for link, rule in rules.items()]
        self._ask({"do": "rules", "rules": listed})

    def heal(self) -> None:
        """No rules. What was held back arrives at once."""
        self.set_rules({})

    def hang_up(self, links: Iterable[Link]) -> int:
        """Break the connections of these links now; how many there were."""
        return int(self._ask({"do": "hang up", "links": list(links)})["broken"])

    def counts(self) -> dict[str, int]:
        """How many frames each rule has struck so far."""
        counts: dict[str, int] = self._ask({"do": "counts"})["counts"]
        return counts

    def close(self) -> None:
        """End the proxy."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.close()
            process.wait(_STOP_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired):
            process.kill()
            process.wait()
        process.stdout.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with self._asking:
            try:
                process.stdin.write(json.dumps(command) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except ValueError as error:
                raise ProxyError("the proxy was closed") from error
        if not line:
            raise ProxyError(f"the proxy has ended, status {process.poll()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
