"""Asks the member in this container for its health: exit status 0 if all is well.

Takes the first URL in `ETCD_LISTEN_CLIENT_URLS`, or `HEALTHCHECK_URL` if that is set; for https
`HEALTHCHECK_CA`, `HEALTHCHECK_CERT` and `HEALTHCHECK_KEY` name files. A proxy passes the
question on. Only the standard library is used, and nothing of the server: it may be what is broken.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.request
from collections.abc import Mapping
from typing import Final

TIMEOUT_S: Final = 4.0
_WILDCARDS: Final = ("://0.0.0.0:", "://[::]:", "://:")


def url_of(environ: Mapping[str, str]) -> str:
    """Where to ask."""
    url = environ.get("HEALTHCHECK_URL", "")
    if not url:
        url = environ.get("ETCD_LISTEN_CLIENT_URLS", "http://localhost:2379").split(",")[0].strip()
        for wildcard in _WILDCARDS:
            url = url.replace(wildcard, "://127.0.0.1:", 1)
    return url.rstrip("/") + "/health"


def is_healthy(environ: Mapping[str, str]) -> bool:
    """Ask. Raises OSError or ValueError if there is no sensible answer."""
    url = url_of(environ)
    context = None
    if url.startswith("https:"):
        context = ssl.create_default_context(cafile=environ.get("HEALTHCHECK_CA"))
        if certificate := environ.get("HEALTHCHECK_CERT"):
            context.load_cert_chain(certificate, environ.get("HEALTHCHECK_KEY"))
    with urllib.request.urlopen(url, timeout=TIMEOUT_S, context=context) as answer:
        return str(json.load(answer)["health"]).lower() == "true"


def main() -> int:
    """The exit status; what is wrong is shown by `docker inspect`."""
    try:
        if is_healthy(os.environ):
            return 0
        print("unhealthy")
    except (OSError, ValueError, LookupError, TypeError) as error:
        print(error)
    return 1


if __name__ == "__main__":
    sys.exit(main())
