"""Stands in for a member: takes its flags, answers `/health`, and fails in the ways it is told to.

The environment variable `FAKE` holds `<name>=<behaviour>` words: `die` ends with a status,
`sick` never gets healthy, `deaf` ignores SIGTERM. Run as `python -m tests.cli.fakeserver`.
"""

from __future__ import annotations

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit


def main() -> None:
    flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
    name = flags["--name"]
    behaviours = dict(word.split("=") for word in os.environ.get("FAKE", "").split())
    behaviour = behaviours.get(name, "")
    print(f"{name} starts", [key for key in os.environ if key.startswith("ETCD_")], flush=True)
    if behaviour == "die":
        print("disk on fire", flush=True)
        sys.exit(3)
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503 if behaviour == "sick" else 200)
            self.end_headers()

    address = urlsplit(flags["--listen-client-urls"])
    assert address.port is not None
    HTTPServer(("127.0.0.1", address.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
