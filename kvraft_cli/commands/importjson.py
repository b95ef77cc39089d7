"""`import-json`: what `export` wrote, into a server.

The whole file is checked before anything is written, and what the server has is read first, so
that a refusal leaves everything as it was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kvraft.client.client import Client
from kvraft.client.errors import ClientError
from kvraft.limits import LOAD_MAX_WORKERS, MIRROR_WORKERS
from kvraft_cli import own
from kvraft_cli.mirror import carry
from kvraft_cli.mirror.dump import BadDump, Dump, decode
from kvraft_cli.mirror.loading import Loader, Plan, Selection, moved, plan, select
from kvraft_cli.mirror.tree import (
    Difference,
    Kind,
    Tree,
    flatten,
    is_hidden,
    is_within,
    parents_of,
)
from kvraft_cli.progress import progress_bar

if TYPE_CHECKING:
    from kvraft_cli.context import Context

EPILOG: Final = """\
The file is checked as a whole first: a truncated or changed one is refused with the number of the
line. Keys that are there already with the same value are left alone, so an import that was broken
off goes on with the same command. Without --if-absent or --overwrite a key that holds something
else ends the command before anything is written. A directory with content is never replaced.

A TTL is what is left of it now; keys whose time is over are left out. Indices start anew.

examples:
  kvraftctl import-json etcd.json
  kvraftctl import-json --dry-run etcd.json                  only say what would be done
  kvraftctl import-json --prefix /config --overwrite etcd.json
  kvraftctl import-json --to /copy etcd.json                 all keys below /copy
  zcat etcd.json.gz | kvraftctl import-json -

exit codes: 0 all keys are there; 1 some are not, the text says which; 2 bad arguments or file, a
key that holds something else, or no server; 130 interrupted
"""


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _import)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "import-json", "Write the keys of an export.", EPILOG)
    parser.add_argument("file", help="a file of `export`; - is stdin")
    own.add_prefix(parser)
    parser.add_argument(
        "--to", type=own.key, metavar="KEY", help="put what was at the exported key at KEY instead"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--if-absent", action="store_true", help="leave keys alone that hold something else"
    )
    choice.add_argument(
        "--overwrite", action="store_true", help="replace what keys of the file hold"
    )
    parser.add_argument(
        "--ttl",
        choices=("left", "restart", "drop"),
        default="left",
        help="left: expire when the original would (default); restart: what was left at the "
        "export; drop: stay for good",
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and end")
    parser.add_argument(
        "-c",
        "--concurrency",
        type=own.whole(1, "a number of requests", LOAD_MAX_WORKERS),
        default=MIRROR_WORKERS,
        metavar="N",
        help=f"requests at the same time ({MIRROR_WORKERS})",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return parser


async def _import(context: Context, settings: own.Settings) -> int:
    dump = _load(context, settings.file)
    selection = select(
        dump.records,
        prefix=settings.prefix,
        old_root=dump.head.key,
        new_root=settings.to,
        now=time.monotonic(),
        age_s=max(0.0, time.time() - dump.head.time_s),
        ttl=settings.ttl,
    )
    if not selection.tree and selection.outside:
        raise own.Trouble(
            f"--prefix: the file has nothing at or below {settings.prefix}; it is an export of "
            f"{dump.head.key}"
        )
    async with own.connect(context) as client:
        with_plan = plan(selection.tree, await _present(client, dump, settings, selection.tree))
        keys, overwrite = _decide(with_plan, settings)
        if settings.dry_run:
            _show_plan(context, selection, with_plan, keys)
            return 0
        loader = Loader(client, selection.tree, overwrite, time.monotonic)
        try:
            await _run(context, settings, loader, keys)
        except asyncio.CancelledError:
            _say_broken_off(context, loader, len(keys))
            raise
        except ExceptionGroup as group:
            first = group.exceptions[0]
            if not isinstance(first, ClientError):
                raise
            _say_broken_off(context, loader, len(keys))
            own.say(context.stderr, f"kvraftctl import-json: {own.explain(first)}")
            return own.DIFFERENT
        missing = await _missing(client, dump, settings, selection.tree, loader)
    return _report(context, settings, selection, with_plan, loader, missing)


def _load(context: Context, name: str) -> Dump:
    if name == "-":
        lines = context.stdin.buffer.readlines()
    else:
        with Path(name).open("rb") as file:
            lines = file.readlines()
    try:
        return decode(lines)
    except BadDump as error:
        raise own.Trouble(f"{'stdin' if name == '-' else name}: {error}") from None


async def _present(client: Client, dump: Dump, settings: own.Settings, wanted: Tree) -> Tree:
    """What the server has where the keys are to go."""
    found: Tree = {}
    for root in _roots(dump, settings, wanted):
        node, _ = await carry.read(client, root)
        found |= flatten(node, time.monotonic())
    return found


def _roots(dump: Dump, settings: own.Settings, wanted: Tree) -> list[str]:
    """Where listings begin that show all wanted keys: hidden ones have to be named."""
    first = settings.prefix if is_within(settings.prefix, dump.head.key) else dump.head.key
    roots = [moved(first, dump.head.key, settings.to)]
    for key in wanted:
        if not any(is_within(key, root) and not is_hidden(key, root) for root in roots):
            hidden = [each for each in (key, *parents_of(key)) if "/_" in each]
            roots.append(min(hidden or [key], key=len))
            if not is_within(key, roots[-1]) or is_hidden(key, roots[-1]):
                roots.append(key)  # hidden below something hidden
    return roots


def _decide(with_plan: Plan, settings: own.Settings) -> tuple[list[str], frozenset[str]]:
    """The keys to write, and which of them may replace something. Raises Trouble."""
    conflicts = with_plan.conflicts
    if not conflicts or settings.if_absent:
        blocked = {each.key for each in conflicts}
        keys = [k for k in with_plan.missing if not any(p in blocked for p in parents_of(k))]
        return keys, frozenset()
    full = [each for each in conflicts if _is_directory_in_the_way(each)]
    if settings.overwrite and full:
        raise own.Trouble(
            f"--overwrite: {full[0].key} is a directory at the server and a file in the export; "
            f"remove it first: kvraftctl rm --recursive {full[0].key}"
        )
    if not settings.overwrite:
        raise own.Trouble(
            f"the server holds something else in {own.amount(len(conflicts), 'key')} of the file, "
            f"{conflicts[0].key} is the first; say --overwrite to replace, or --if-absent to keep "
            "what is there (nothing was written)"
        )
    changed = [each.key for each in conflicts]
    order = dict.fromkeys((*changed, *with_plan.missing))
    return list(order), frozenset(changed)


def _is_directory_in_the_way(difference: Difference) -> bool:
    there = difference.target
    return difference.kind is Kind.TYPE and there is not None and there.is_dir


def _show_plan(
    context: Context, selection: Selection, with_plan: Plan, keys: Sequence[str]
) -> None:
    changed = {each.key for each in with_plan.conflicts}
    for key in keys:
        verb = "replace" if key in changed else "create"
        own.say(context.stdout, f"{verb} {key} {own.shortened(selection.tree[key].value)}")
    own.say(context.stdout, f"dry run: {own.amount(len(keys), 'key')} would be written")


async def _run(
    context: Context, settings: own.Settings, loader: Loader, keys: Sequence[str]
) -> None:
    with progress_bar(context, settings.quiet) as progress:

        def report(left: int) -> None:
            progress("importing", len(keys) - left, len(keys))

        await loader.run(keys, settings.concurrency, report)


def _say_broken_off(context: Context, loader: Loader, count: int) -> None:
    own.say(
        context.stderr,
        f"kvraftctl import-json: broken off: {loader.loaded.written} of {count} keys written; "
        "to go on, give the same command again",
    )


async def _missing(
    client: Client, dump: Dump, settings: own.Settings, wanted: Tree, loader: Loader
) -> list[str]:
    """Keys that are not there in the end, though they should be; none that expired."""
    found = plan(wanted, await _present(client, dump, settings, wanted))
    now = time.monotonic()
    others = {each.key for each in found.conflicts}
    left = [*found.missing, *others]
    if settings.if_absent:
        left = [
            key for key in found.missing if not any(parent in others for parent in parents_of(key))
        ]
    return [
        key
        for key in left
        if (wanted[key].expires_at or now + 1) > now and key not in loader.loaded.skipped
    ]


def _report(
    context: Context,
    settings: own.Settings,
    selection: Selection,
    with_plan: Plan,
    loader: Loader,
    missing: Sequence[str],
) -> int:
    loaded = loader.loaded
    parts = [f"{own.amount(loaded.written, 'key')} written"]
    kept = len(with_plan.conflicts) if settings.if_absent else 0
    for count, text in (
        (with_plan.same + loaded.there, "there already"),
        (kept, "left alone"),
        (selection.expired, "expired since the export"),
        (len(loaded.skipped), "changed by somebody else meanwhile"),
        (len(missing), "not found afterwards"),
    ):
        if count:
            parts.append(f"{count} {text}")
    lost = [*loaded.skipped, *missing] if not settings.if_absent else list(missing)
    if not settings.quiet or lost:
        own.say(context.stderr, "imported: " + ", ".join(parts))
    if lost:
        own.say(
            context.stderr,
            f"kvraftctl import-json: {lost[0]} is not as in the file; somebody else writes there: "
            "give the same command again when that has ended",
        )
    return own.DIFFERENT if lost else 0
