"""Looking up the addresses of a host name, within a time limit, with Go's words when it fails."""

from __future__ import annotations

import socket
import threading
from typing import Any

RESOLVER_FILE = "/etc/resolv.conf"

Addresses = list[tuple[Any, Any, int, str, Any]]


def look_up(host: str, port: int, timeout_s: float | None) -> Addresses:
    """What getaddrinfo finds. Raises TimeoutError, and LookupError with the reason.

    The system's resolver cannot be interrupted: it runs in a thread that is left behind.
    """
    found: list[Addresses | OSError] = []

    def ask() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error if isinstance(error, OSError) else OSError(str(error)))

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not found:
        raise TimeoutError
    result = found[0]
    if isinstance(result, OSError):
        name_server = first_name_server()
        where = f" on {name_server}:53" if name_server else ""
        why = "server misbehaving" if result.errno == socket.EAI_AGAIN else "no such host"
        raise LookupError(f"lookup {host}{where}: {why}")
    return result


def first_name_server(path: str = RESOLVER_FILE) -> str:
    """The name server that the system asks first; empty if none is configured."""
    try:
        with open(path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                words = line.split()
                if len(words) > 1 and words[0] == "nameserver":
                    return words[1]
    except OSError:
        pass
    return ""
