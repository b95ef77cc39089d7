"""`sync`: move from one server to another: plan, copy, follow, verify, and say when it is safe.

The work is that of `kvraft_cli.mirror.engine`; here stand the safeguards before it begins, what is
shown while it runs, and the verdict in the end.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from kvraft.client.client import Client
from kvraft.client.errors import ClientError, KeyNotFound, NotADirectory
from kvraft_cli import own
from kvraft_cli.commands.diff import line_of
from kvraft_cli.mirror.engine import Mirror, Options
from kvraft_cli.mirror.tree import Difference, Kind
from kvraft_cli.mirror.verdict import Verdict, judge

if TYPE_CHECKING:
    from rich.table import Table

    from kvraft_cli.context import Context

EPILOG: Final = """\
SOURCE and TARGET are client URLs, several of one cluster separated by commas, and are used as they
are. The source is only read. Without --once the mirror goes on after the copy, until Ctrl-C (or
--until-idle): then it sets exact TTLs, compares both trees and says whether it is safe to switch.
A second Ctrl-C ends it at once. To go on after an interruption, give the same command again.

How to move: 1. sync --dry-run. 2. sync, and wait for difference 0. 3. Stop what writes to the
source. 4. Wait for difference 0 again, then Ctrl-C. 5. It says IDENTICAL: start the programs on the
target. Between 4 and 5 nothing refreshes TTLs: what a lock has left is the time you have.

What is deleted or expires at the source while the mirror runs goes at the target, too; a directory
with all that the target has in it. Other keys that only the target has stay, unless --delete is
given. Nothing outside the prefix is touched.

TTLs: while the mirror runs, copies live --grace seconds longer than their originals, since nobody
is told when an original is refreshed; their end is followed as it happens. Indices (modifiedIndex,
X-Etcd-Index) are the target's own: programs that remember one have to read anew.

examples:
  kvraftctl sync --dry-run http://10.0.0.4:2379 http://10.0.0.1:2379
  kvraftctl sync http://10.0.0.4:2379 http://10.0.0.1:2379,http://10.0.0.2:2379
  kvraftctl sync --once --prefix /config --merge http://old:2379 http://new:2379
  kvraftctl sync --hidden /_coreos.com http://old:2379 http://new:2379

exit codes: 0 identical (with --dry-run: the plan is shown); 1 not identical in the end; 2 bad
arguments, or refused, or a server cannot be reached; 130 aborted
"""
SETTLE_ROUNDS: Final = 4
FINISH_S: Final = 60.0  # to come to an end after Ctrl-C; a target that is away is not waited for
REFRESH_S: Final = 0.25  # of the display on a terminal


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _sync)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "sync", "Copy one server's keys to another, and follow.", EPILOG)
    parser.add_argument("source", metavar="SOURCE", help="client URLs of the old cluster")
    parser.add_argument("target", metavar="TARGET", help="client URLs of the new one")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="say what would be done, and end")
    mode.add_argument("--once", action="store_true", help="copy and verify, and end")
    mode.add_argument("--live", action="store_true", help="copy and follow: the default")
    own.add_prefix(parser)
    own.add_hidden(
        parser, "also this hidden key with all below it, which no listing shows; may be repeated"
    )
    parser.add_argument(
        "--delete", action="store_true", help="remove keys that only the target has"
    )
    parser.add_argument(
        "--merge",
        "--force",
        action="store_true",
        help="the target may hold other keys, and keys with other values, which are overwritten",
    )
    parser.add_argument(
        "--same-ids",
        action="store_true",
        help="go on though both clusters have the same ids: they are two all the same",
    )
    parser.add_argument(
        "--grace",
        type=own.whole(0, "seconds"),
        default=30,
        metavar="SECONDS",
        help="how much longer copies live while the mirror runs (30); more than twice --ttl-poll",
    )
    for name, default, text in (
        ("--ttl-poll", 5.0, "how often TTLs are compared (5)"),
        ("--check", 60.0, "how often both trees are compared, at the latest (60)"),
        ("--interval", 5.0, "how often a line is printed where there is no terminal (5)"),
    ):
        parser.add_argument(
            name, type=own.at_least(0.1, "seconds"), default=default, metavar="SECONDS", help=text
        )
    parser.add_argument(
        "--until-idle",
        type=own.at_least(0.1, "seconds"),
        metavar="SECONDS",
        help="end by itself when the source has not changed for so long and nothing is pending",
    )
    own.add_side(parser, "source")
    own.add_side(parser, "target")
    return parser


async def _sync(context: Context, settings: own.Settings) -> int:
    if settings.grace and settings.grace <= 2 * settings.ttl_poll:
        raise own.Trouble(
            f"--grace: {settings.grace} s is too short for --ttl-poll {settings.ttl_poll:g}: a "
            "refresh might be seen too late; give more than twice as much, or 0 for no grace"
        )
    options = Options(
        roots=(settings.prefix, *settings.hidden),
        delete_extra=settings.delete,
        grace_s=settings.grace,
        poll_s=settings.ttl_poll,
        check_s=settings.check,
    )
    async with (
        own.connect_side(context, settings, "source") as source,
        own.connect_side(context, settings, "target") as target,
    ):
        await _refuse_a_loop(source, target, settings)
        for side, client in (("SOURCE", source), ("TARGET", target)):
            with suppress(KeyNotFound, NotADirectory):  # whoever may not read is named
                await own.naming(side, client.get(settings.prefix, quorum=True))
        mirror = Mirror(source, target, options, time.monotonic)
        found = await mirror.survey()
        _show_survey(context, settings, mirror, found)
        if settings.dry_run:
            _show_plan(context, settings, found)
            return 0
        _refuse_a_stranger(settings, found)
        return await _Run(context, settings, mirror).run()


# --- before anything is written ---------------------------------------------------------


async def _refuse_a_loop(source: Client, target: Client, settings: own.Settings) -> None:
    """A mirror from a cluster to itself would prolong its own TTLs for ever."""
    try:
        ours, theirs = await asyncio.gather(
            own.naming("SOURCE", source.members()), own.naming("TARGET", target.members())
        )
    except own.Trouble:
        for side, client in (("SOURCE", source), ("TARGET", target)):
            await own.naming(side, client.version())
        raise
    same = {member.id for member in ours} & {member.id for member in theirs}
    urls = {url for m in ours for url in m.client_urls} & {u for m in theirs for u in m.client_urls}
    if same and not settings.same_ids:
        raise own.Trouble(
            f"TARGET: it has the member {min(same)} in common with SOURCE"
            f"{f' ({min(urls)})' if urls else ''}, so both seem to be one cluster; give another "
            "one, or say --same-ids if they are two that were founded with the same names and URLs"
        )


def _refuse_a_stranger(settings: own.Settings, found: Sequence[Difference]) -> None:
    """What a target holds that the source does not is somebody's work."""
    foreign = [each for each in found if each.kind not in (Kind.MISSING, Kind.TTL)]
    if foreign and not settings.merge:
        raise own.Trouble(
            f"TARGET: it is not empty: {own.amount(len(foreign), 'key')} below {settings.prefix} "
            f"{'is' if len(foreign) == 1 else 'are'} not as at the source, {foreign[0].key} is the "
            "first; look at them with --dry-run, then say --merge to overwrite what differs "
            "(with --delete also to remove what only the target has)"
        )


def _show_survey(
    context: Context, settings: own.Settings, mirror: Mirror, found: Sequence[Difference]
) -> None:
    figures = mirror.figures
    own.say(
        context.stdout,
        f"source: {own.amount(figures.keys, 'key')}, target: "
        f"{own.amount(figures.target_keys, 'key')}, different: {len(found)}",
    )
    if figures.replaced:
        own.say(
            context.stderr,
            f"kvraftctl sync: warning: {own.amount(figures.replaced, 'key')} with bytes that are "
            "no UTF-8, which the API does not show: those copies will not be exact",
        )
    if settings.prefix == "/" and not settings.hidden:
        own.say(context.stdout, "hidden keys (a part begins with `_`) are not listed: --hidden KEY")


def _show_plan(context: Context, settings: own.Settings, found: Sequence[Difference]) -> None:
    now = time.monotonic()
    kept = 0
    for difference in found:
        if difference.kind is Kind.EXTRA and not settings.delete:
            kept += 1
            continue
        context.stdout.write(_verb(difference) + line_of(difference, now)[1:] + "\n")
    context.stdout.flush()
    if kept:
        own.say(
            context.stdout, f"{own.amount(kept, 'key')} only at the target would stay (--delete)"
        )
    own.say(
        context.stdout, f"dry run: {own.amount(len(found) - kept, 'change')}, nothing was written"
    )


def _verb(difference: Difference) -> str:
    return {
        Kind.MISSING: "create ",
        Kind.EXTRA: "remove ",
        Kind.TTL: "set TTL",
    }.get(difference.kind, "replace")


# --- while it runs ----------------------------------------------------------------------


class _Run:
    """One run from the first write to the verdict."""

    def __init__(self, context: Context, settings: own.Settings, mirror: Mirror) -> None:
        self._context = context
        self._settings = settings
        self._mirror = mirror
        self._phase = "copying"
        self._wanted_end = asyncio.Event()
        self._main = asyncio.current_task()

    async def run(self) -> int:
        """Returns the exit code."""
        settings, mirror = self._settings, self._mirror
        showing = asyncio.create_task(self._show())
        with self._signals():
            try:
                await mirror.begin(live=not settings.once)
                await self._unless_ended(mirror.drained())
                if not settings.once:
                    self._phase = "following"
                    await self._follow()
                self._phase = "verifying"
                verdict = await self._verify()
            except asyncio.CancelledError:
                self._say_broken_off()
                return own.INTERRUPTED
            finally:
                await mirror.stop()
                showing.cancel()
                await asyncio.gather(showing, return_exceptions=True)
        for line in verdict.lines:
            own.say(self._context.stdout, line)
        return verdict.code

    async def _follow(self) -> None:
        if self._wanted_end.is_set():
            return
        if self._settings.until_idle is None:
            await self._unless_ended(self._forever())
        else:
            await self._unless_ended(self._mirror.quiet(self._settings.until_idle))

    async def _forever(self) -> None:
        while True:
            await self._mirror.quiet(float("inf"))

    async def _unless_ended(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for the work, or for Ctrl-C, which ends the waiting only."""
        task = asyncio.ensure_future(work)
        end = asyncio.ensure_future(self._wanted_end.wait())
        try:
            await asyncio.wait((task, end), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
        finally:
            for each in (task, end):
                each.cancel()
            await asyncio.gather(task, end, return_exceptions=True)

    async def _verify(self) -> Verdict:
        """Exact TTLs, both trees compared, and whether the source stood still meanwhile."""
        mirror = self._mirror
        problem = ""
        found: list[Difference] = []
        before = after = 0
        try:
            async with asyncio.timeout(FINISH_S if self._wanted_end.is_set() else None):
                found = await mirror.settle(SETTLE_ROUNDS)
                before = mirror.figures.source_index
                after = await mirror.source_index()
        except TimeoutError:
            problem = mirror.figures.trouble or "it took too long"
        except ClientError as error:
            problem = own.explain(error)
        return judge(mirror.figures, found, before, after, problem)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C ends the waiting, the second everything."""
        loop = asyncio.get_running_loop()

        def end() -> None:
            if self._wanted_end.is_set():
                assert self._main is not None
                self._main.cancel()
            self._wanted_end.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _say_broken_off(self) -> None:
        own.say(
            self._context.stdout,
            f"aborted: {self._mirror.figures.line()}; give the same command again to go on",
        )

    # --- what is shown ------------------------------------------------------------------

    async def _show(self) -> None:
        if self._context.stdout.isatty():
            await self._show_live()
            return
        while True:
            await asyncio.sleep(self._settings.interval)
            self._mirror.look_at_the_source()
            stamp = time.strftime("%H:%M:%S")
            own.say(self._context.stdout, f"{stamp} {self._phase}: {self._mirror.figures.line()}")

    async def _show_live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._context.stdout)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                with suppress(ValueError):
                    live.update(self._table(), refresh=True)
                await asyncio.sleep(REFRESH_S)

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        self._mirror.look_at_the_source()
        figures = self._mirror.figures
        title = escape(f"{self._settings.source} -> {self._settings.target}")
        table = Table(title=title, box=None)
        table.add_column(justify="right")
        table.add_column()
        table.add_row("state", self._phase if not figures.trouble else f"{self._phase} (waiting)")
        color = "green" if not figures.difference else "yellow"
        table.add_row("[bold]difference", f"[bold {color}]{figures.difference}")
        for name, value in figures.rows():
            table.add_row(name, value)
        for name, text in (("source", figures.source_trouble), ("trouble", figures.trouble)):
            if text:
                table.add_row(name, f"[red]{escape(text)}")
        table.add_row("", "Ctrl-C: verify and end")
        return table
