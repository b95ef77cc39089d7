"""The control socket within a member: one JSON object a line in, one out.

Served by threads of its own, so that it answers while the event loop stands still. A request
names what to `call` and gives its arguments by name; the answer has `result`, or `error`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socketserver
import threading
from collections.abc import Callable, Mapping
from typing import Any

Calls = Mapping[str, Callable[..., Any]]


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, calls: Calls) -> None:
        self.calls = calls
        super().__init__(path, _Handler)


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        """Serve one connection until it ends."""
        for line in self.rfile:
            self.wfile.write(json.dumps(answer(self.server.calls, line)).encode() + b"\n")


def answer(calls: Calls, line: bytes) -> dict[str, Any]:
    """What to say to one request."""
    try:
        arguments = json.loads(line)
        call = calls[arguments.pop("call")]
        return {"result": call(**arguments)}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def serve(path: str, calls: Calls) -> None:
    """Listen at `path` for as long as the process lives. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)  # of an earlier life
    server = _Server(path, calls)
    threading.Thread(target=server.serve_forever, name="control", daemon=True).start()
