"""The ports that pages name, and those that are used when a page is run.

Pages say 2379, as anybody would type it. A test machine may have something else there, and runs
several pages at a time, so each documented port stands for a free one while a page runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Final

_ADDRESS: Final = re.compile(
    r"((?:\b127\.0\.0\.1|\blocalhost|\b0\.0\.0\.0):|\bport=|--client-port )(\d{4,5})\b"
)


class Ports:
    """Both directions of the mapping; a port that was never seen gets a free one."""

    def __init__(self, known: dict[int, int], free: Callable[[], int]) -> None:
        self._real = dict(known)
        self._free = free

    def to_real(self, text: str) -> str:
        """What a page says, as it is run."""

        def real(match: re.Match[str]) -> str:
            port = int(match[2])
            if port not in self._real:
                self._real[port] = self._free()
            return f"{match[1]}{self._real[port]}"

        return _ADDRESS.sub(real, text)

    def to_documented(self, lines: Iterable[str]) -> list[str]:
        """What was printed, as a page shows it."""
        documented = {real: port for port, real in self._real.items()}

        def back(match: re.Match[str]) -> str:
            port = int(match[2])
            return f"{match[1]}{documented.get(port, port)}"

        return [_ADDRESS.sub(back, line) for line in lines]

    def learn(self, expected: Iterable[str], actual: Iterable[str]) -> None:
        """Take over the ports that a server chose: it prints them where the page shows others."""
        shown = [int(port) for _, port in _ADDRESS.findall("\n".join(expected))]
        chosen = [int(port) for _, port in _ADDRESS.findall("\n".join(actual))]
        if len(shown) <= len(chosen):  # the page may show less
            self._real.update(zip(shown, chosen, strict=False))

    def url(self, port: int) -> str:
        """The URL of a documented port as it is run."""
        return self.to_real(f"http://127.0.0.1:{port}")
