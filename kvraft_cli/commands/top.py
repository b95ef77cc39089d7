"""`top`: how the members of a cluster stand, again and again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp

from kvraft.client.errors import ClientError
from kvraft_cli import own
from kvraft_cli.standing import HEAD, Answers, Row, document, rows_of, summary, table

if TYPE_CHECKING:
    from rich.table import Table

    from kvraft_cli.context import Context

EPILOG: Final = """\
One row for each member that the cluster lists, asked at its own client URL. lag: entries that it
has not applied yet, of those that any member has committed. writes/s: what the store carried out,
expiry included, whoever asked. A real etcd does not tell everything: a dash.

Without a terminal, or with --once, one table is printed; the rate takes two looks, so that lasts
one interval. Members are asked without credentials but for what needs them.

examples:
  kvraftctl top
  kvraftctl --endpoints http://10.0.0.1:2379 top --once
  kvraftctl top --json | jq -r '.members[] | select(.state == "leader").name'

exit codes: 0 shown; 2 bad arguments, or no member can be reached
"""
ASK_TIMEOUT_S: Final = 2.0
WIDE: Final = 100  # columns of a terminal that has room for the endpoints
T = TypeVar("T")


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _top)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "top", "Show how the members of a cluster stand.", EPILOG)
    parser.add_argument("--once", action="store_true", help="print one table, and end")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and end")
    parser.add_argument(
        "--interval",
        type=own.at_least(0.1, "seconds"),
        default=1.0,
        metavar="SECONDS",
        help="between two looks (1)",
    )
    return parser


async def _top(context: Context, settings: own.Settings) -> int:
    async with aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=ASK_TIMEOUT_S), auth=_auth(context)
    ) as session:
        panel = _Panel(context, session)
        if settings.once or settings.json or not context.stdout.isatty():
            await panel.look()
            await asyncio.sleep(settings.interval)
            rows = await panel.look()
            lines = [json.dumps(document(rows))] if settings.json else [summary(rows), *table(rows)]
            for line in lines:
                context.stdout.write(line + "\n")
            return 0
        try:
            await panel.show(settings.interval)
        except asyncio.CancelledError:  # Ctrl-C is how one leaves
            return 0
    return 0


def _auth(context: Context) -> aiohttp.BasicAuth | None:
    name, password = own.split_user(context.credentials())
    return None if name is None else aiohttp.BasicAuth(name, password or "", encoding="utf-8")


class _Panel:
    """Asks the members, and remembers the answers before."""

    def __init__(self, context: Context, session: aiohttp.ClientSession) -> None:
        self._context = context
        self._session = session
        self._before: dict[str, Answers] = {}
        self._places: list[tuple[str, str]] = []
        self._tls: Any = None
        if any(context.tls_files()):
            from kvraft_cli.tls import make_context

            self._tls = make_context(context.tls_files())

    async def look(self) -> list[Row]:
        """Ask everybody once. Raises ClientError if the members cannot be found out."""
        try:
            async with own.connect(self._context) as client:
                members = await client.members()
            self._places = [(m.name or m.id, m.client_urls[0]) for m in members if m.client_urls]
        except ClientError:
            if not self._places:  # else the last ones known are asked
                raise
        now = await asyncio.gather(*(self._ask(name, url) for name, url in self._places))
        rows = rows_of(now, self._before)
        self._before = {answers.url: answers for answers in now}
        return rows

    async def _ask(self, name: str, url: str) -> Answers:
        answers = Answers(name, url, time.monotonic())
        (
            answers.version,
            answers.self_stats,
            answers.store_stats,
            answers.headers,
            answers.metrics,
            answers.healthy,
        ) = await asyncio.gather(
            self._document(f"{url}/version"),
            self._document(f"{url}/v2/stats/self"),
            self._document(f"{url}/v2/stats/store"),
            self._head(f"{url}/v2/keys/"),
            self._text(f"{url}/metrics"),
            self._health(f"{url}/health"),
        )
        return answers

    async def _document(self, url: str) -> dict[str, Any] | None:
        async def read() -> dict[str, Any]:
            async with self._session.get(url, ssl=self._tls or True) as answer:
                found: dict[str, Any] = await answer.json(content_type=None)
                return found

        return await _or_none(read())

    async def _text(self, url: str) -> str | None:
        async def read() -> str:
            async with self._session.get(url, ssl=self._tls or True) as answer:
                return await answer.text()

        return await _or_none(read())

    async def _head(self, url: str) -> dict[str, str] | None:
        async def read() -> dict[str, str]:
            async with self._session.head(url, ssl=self._tls or True) as answer:
                return {name.lower(): value for name, value in answer.headers.items()}

        return await _or_none(read())

    async def _health(self, url: str) -> bool | None:
        found = await self._document(url)
        return None if found is None else str(found.get("health")).lower() == "true"

    async def show(self, interval_s: float) -> None:
        """Show it on the terminal until it is cancelled."""
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._context.stdout)
        with Live(console=console, auto_refresh=False) as live:
            while True:
                try:
                    live.update(_as_table(await self.look(), console.width), refresh=True)
                except ClientError as error:
                    live.update(f"nobody answers: {error}", refresh=True)
                await asyncio.sleep(interval_s)


async def _or_none(work: Awaitable[T]) -> T | None:
    """The result, or None if the member does not answer, or not so."""
    try:
        return await work
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        return None


def _as_table(rows: list[Row], width: int) -> Table:
    from rich.table import Table

    shown = Table(
        title=summary(rows), box=None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    heads = HEAD if width >= WIDE else HEAD[:-1]
    for number, head in enumerate(heads):
        left = number in (0, 1, 10, 11)
        shown.add_column(head, justify="left" if left else "right", no_wrap=True)
    for row in rows:
        style = "red" if "un" in row.state else "bold" if row.state == "leader" else ""
        shown.add_row(*row.cells()[: len(heads)], style=style)
    return shown
