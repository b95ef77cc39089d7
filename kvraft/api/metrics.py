"""`/metrics`: all figures of the member and of its client port. (admin-api, section 3.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kvraft.api.exchange import Exchange

if TYPE_CHECKING:
    from kvraft.api.port import ClientPort

CONTENT_TYPE: Final = b"Content-Type: text/plain; version=0.0.4\r\n"


class MetricsRoute:
    """Serves `/metrics`, whatever the method."""

    __slots__ = ("_port",)

    def __init__(self, port: ClientPort) -> None:
        self._port = port

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        port = self._port
        figures = port.figures
        figures.connections = len(port.connections)
        figures.recursive_reads = port.keys.recursive_reads
        port.service.diagnostics.metrics(
            figures, lambda text: exchange.respond(200, CONTENT_TYPE, text)
        )
