"""`bench`: how fast a server answers, from here."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from kvraft import limits
from kvraft.client.client import Client
from kvraft.client.errors import ClientError, KeyNotFound
from kvraft_cli import own
from kvraft_cli.loadgen import (
    KINDS,
    NAMES,
    PERCENTILES,
    Measured,
    Server,
    histogram,
    percentile,
    run_load,
    run_watch,
    server_of,
    talk,
)

if TYPE_CHECKING:
    from kvraft_cli.context import Context

EPILOG: Final = """\
It writes: below a directory of its own, which it removes in the end (not if it is killed). On a
server that others use, it takes their time. Connections are spread over all members; each sends a
request when it has the answer to the one before. watch: so many streams on one key that is set
without a pause; the time is that from sending a value until its event is here.

examples:
  kvraftctl bench
  kvraftctl bench --kinds put,quorum --connections 128 --seconds 10
  kvraftctl --endpoints http://10.0.0.1:2379 --no-sync bench       this endpoint only
  kvraftctl bench --json > today.json

exit codes: 0 measured; 1 some requests failed; 2 bad arguments, or no server can be reached
"""
BUSY: Final = 0.9  # of a processor: then the generator and not the server may have been the limit
FILLERS: Final = 16


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _bench)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "bench", "Measure how fast a server answers.", EPILOG)
    parser.add_argument(
        "--kinds",
        type=_kinds,
        default=list(KINDS),
        metavar="LIST",
        help=f"what to measure, in this order ({','.join(KINDS)})",
    )
    numbers = (
        ("--connections", "-c", 32, limits.BENCH_MAX_CONNECTIONS, "connections, and watches (32)"),
        ("--keys", None, 1000, limits.BENCH_MAX_KEYS, "different keys (1000)"),
        ("--value-bytes", None, 100, limits.BENCH_MAX_VALUE_BYTES, "length of a value (100)"),
    )
    for name, short, default, highest, text in numbers:
        parser.add_argument(
            *((short, name) if short else (name,)),
            type=own.whole(1, "a number", highest),
            default=default,
            metavar="N",
            help=text,
        )
    parser.add_argument(
        "--seconds",
        type=own.at_least(0.1, "seconds"),
        default=5.0,
        metavar="SECONDS",
        help="how long each kind runs (5)",
    )
    parser.add_argument(
        "--prefix", type=own.key, metavar="KEY", help="a directory that is not there yet, to use"
    )
    parser.add_argument("--keep", action="store_true", help="do not remove the keys in the end")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _kinds(text: str) -> list[str]:
    kinds = text.split(",")
    wrong = [kind for kind in kinds if kind not in KINDS]
    if wrong:
        import argparse

        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(KINDS)}")
    return kinds


async def _bench(context: Context, settings: own.Settings) -> int:
    prefix = settings.prefix or f"/kvraftctl-bench-{secrets.token_hex(4)}"
    value = b"v" * settings.value_bytes
    async with own.connect(context) as client:
        servers = await _servers(context, client)
        await _refuse_what_is_there(client, prefix)
        own.say(
            context.stderr,
            f"writing {own.amount(settings.keys, 'key')} below {prefix} at "
            f"{own.amount(len(servers), 'endpoint')}"
            + ("" if settings.keep else "; they are removed in the end"),
        )
        try:
            await _fill(servers, prefix, settings.keys, value)
            results = []
            for kind in settings.kinds:
                results.append(await _measure(settings, servers, prefix, value, kind))
                if not settings.json:
                    _show(context, results[-1], first=len(results) == 1)
        finally:
            if not settings.keep:
                await asyncio.shield(_clean(context, client, prefix))
    if settings.json:
        own.say(context.stdout, json.dumps({"results": [_document(each) for each in results]}))
    _warn(context, results)
    return own.DIFFERENT if any(each.failed for each in results) else 0


async def _servers(context: Context, client: Client) -> list[Server]:
    """The endpoints that accept connections, those that the members advertise if asked for."""
    tls = None
    if any(context.tls_files()):
        from kvraft_cli.tls import make_context

        tls = make_context(context.tls_files())
    user = own.split_user(context.credentials())
    await client.version()  # raises if nobody is there; and brings the members' URLs
    found = []
    for url in dict.fromkeys(client.endpoints):
        server = server_of(url, user, tls)
        try:
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(server.host, server.port)
        except (OSError, TimeoutError):
            continue
        writer.close()
        found.append(server)
    return found


async def _refuse_what_is_there(client: Client, prefix: str) -> None:
    try:
        await client.get(prefix, quorum=True)
    except KeyNotFound:
        return
    raise own.Trouble(f"--prefix: {prefix} is there already, and would be removed; give another")


async def _fill(servers: Sequence[Server], prefix: str, keys: int, value: bytes) -> None:
    """Write each key once."""
    from kvraft_cli.loadgen import Requests, put

    requests = Requests("put", prefix, keys, value, random.Random())
    numbers = iter(range(keys))
    refused: list[int] = []

    async def loop(server: Server) -> None:
        def following() -> bytes | None:
            number = next(numbers, None)
            return None if number is None else put(server, requests.key(number), value)

        def answered(took_s: float, status: int) -> None:
            if status >= 300:
                refused.append(status)

        await talk(server, following, answered)

    await asyncio.gather(*(loop(servers[n % len(servers)]) for n in range(FILLERS)))
    if refused:
        raise own.Trouble(
            f"the server refuses writes below {prefix} (status {refused[0]}); give a user that "
            "may write there: --username NAME"
        )


async def _measure(
    settings: own.Settings, servers: Sequence[Server], prefix: str, value: bytes, kind: str
) -> Measured:
    if kind == "watch":
        return await run_watch(
            servers,
            prefix=prefix,
            value_bytes=settings.value_bytes,
            connections=settings.connections,
            seconds=settings.seconds,
        )
    return await run_load(
        servers,
        kind,
        prefix=prefix,
        keys=settings.keys,
        value=value,
        connections=settings.connections,
        seconds=settings.seconds,
        rng=random.Random(0),
    )


async def _clean(context: Context, client: Client, prefix: str) -> None:
    try:
        await client.delete(prefix, recursive=True)
    except KeyNotFound:
        pass
    except ClientError as error:
        own.say(
            context.stderr,
            f"kvraftctl bench: {prefix} could not be removed ({error}); remove it with "
            f"kvraftctl rm --recursive {prefix}",
        )


# --- results ----------------------------------------------------------------------------


def _show(context: Context, measured: Measured, first: bool) -> None:
    ordered = sorted(measured.times)
    if first:
        names = "".join(f"{f'p{share:g} ms':>10}" for share in PERCENTILES)
        own.say(
            context.stdout, f"{'':12}{'number':>9}{'per s':>9}{names}{'max ms':>10}{'failed':>8}"
        )
    cells = "".join(f"{percentile(ordered, share) * 1000:10.2f}" for share in PERCENTILES)
    longest = ordered[-1] * 1000 if ordered else 0.0
    own.say(
        context.stdout,
        f"{NAMES[measured.kind]:12}{len(ordered):9d}{len(ordered) / measured.seconds:9.0f}"
        f"{cells}{longest:10.2f}{measured.failed:8d}",
    )
    for line in histogram(ordered):
        own.say(context.stdout, line)


def _document(measured: Measured) -> dict[str, Any]:
    ordered = sorted(measured.times)
    return {
        "kind": measured.kind,
        "number": len(ordered),
        "seconds": round(measured.seconds, 3),
        "per_s": round(len(ordered) / measured.seconds, 1),
        **{f"p{share:g}_ms": round(percentile(ordered, share) * 1000, 3) for share in PERCENTILES},
        "max_ms": round(ordered[-1] * 1000, 3) if ordered else 0.0,
        "failed": measured.failed,
        "generator_cpu": round(measured.cpu_share, 2),
    }


def _warn(context: Context, results: Sequence[Measured]) -> None:
    for measured in results:
        if measured.problem:
            own.say(
                context.stderr,
                f"kvraftctl bench: {NAMES[measured.kind]}: {measured.failed} failed, the first: "
                f"{measured.problem}",
            )
    busy = [NAMES[measured.kind] for measured in results if measured.cpu_share > BUSY]
    if busy:
        own.say(
            context.stderr,
            f"note: this program itself used a whole processor ({', '.join(busy)}; there are "
            f"{os.cpu_count()}): the server may be faster than that",
        )
