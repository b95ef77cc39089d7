"""Load on one URL: timed load by wrk, and a given number of keys written as fast as possible.

wrk measures, because it costs far less per request than the server it measures; its Lua script
stands in ``lua/load.lua``.
"""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

SCRIPT: Final = Path(__file__).parent / "lua" / "load.lua"
KEYS: Final = 1_000  # enough that no key is hot, few enough that loading them takes no time
VALUE_BYTES: Final = 100  # as in lua/load.lua
THREADS: Final = 2  # wrk's; more than one connection each would otherwise wait for one core
LOADERS: Final = 16  # connections that load keys, so that writes share a disk sync
PIPELINE: Final = 64  # requests sent before their answers are read, when keys are loaded


class Measured(NamedTuple):
    """What wrk saw in one run."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def run_wrk(url: str, kind: str, connections: int, seconds: int) -> Measured:
    """Load of one kind ("get", "quorum", "put"); the keys have to be there."""
    threads = min(THREADS, connections)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command += ["--script", str(SCRIPT), url, "--", kind, str(KEYS)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {finished.stdout}{finished.stderr}")
    seen = json.loads(finished.stdout.strip().splitlines()[-1])
    return Measured(
        requests=seen["requests"],
        seconds=seen["duration_us"] / 1e6,
        p50_ms=seen["p50_us"] / 1e3,
        p99_ms=seen["p99_us"] / 1e3,
        failed=seen["refused"] + seen["broken"],
    )


def load_keys(url: str, count: int) -> None:
    """Write the keys 1 to ``count``, each once, 100 bytes each."""
    share = -(-count // LOADERS)
    starts = range(1, count + 1, share)
    with ThreadPoolExecutor(LOADERS) as pool:
        ends = [min(start + share, count + 1) for start in starts]
        list(pool.map(load_range, [url] * len(starts), starts, ends))


def load_range(url: str, first: int, end: int) -> None:
    target = urllib.parse.urlsplit(url)
    assert target.hostname is not None
    body = b"value=" + b"v" * VALUE_BYTES
    tail = (
        f" HTTP/1.1\r\nHost: {target.netloc}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    ).encode() + body
    with socket.create_connection((target.hostname, target.port or 80), timeout=60) as connection:
        for start in range(first, end, PIPELINE):
            batch = [
                b"PUT /v2/keys/bench/%02d/key-%09d%b" % (number % 100, number, tail)
                for number in range(start, min(start + PIPELINE, end))
            ]
            connection.sendall(b"".join(batch))
            read_answers(connection, len(batch))


def read_answers(connection: socket.socket, count: int) -> None:
    """Read that many answers to writes; each ends with its JSON document and a line feed."""
    received = b""
    while received.count(b"}\n") < count:
        data = connection.recv(1 << 20)
        if not data:
            raise ConnectionError("the server hung up while keys were loaded")
        received += data
    if received.count(b"HTTP/1.1 20") != count:
        raise RuntimeError(f"a write was refused: {received[:500]!r}")
