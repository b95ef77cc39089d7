"""`diff`: in which keys two servers differ."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any, Final

from kvraft_cli import own
from kvraft_cli.mirror import carry
from kvraft_cli.mirror.tree import Difference, Entry, Kind, compare, flatten

if TYPE_CHECKING:
    from kvraft_cli.context import Context

EPILOG: Final = """\
SOURCE and TARGET are client URLs, several of one cluster separated by commas, and are used as they
are. Each tree is read as a majority agrees, the two at about the same moment: on servers that are
being written, what is on its way counts as different. Indices are not compared.

  - /key "value"           only the source has it
  + /key "value"           only the target has it
  ~ /key "old" -> "new"    another value, or a file on one side and a directory on the other
  t /key 30 s -> never     the same, but it expires at another time

examples:
  kvraftctl diff http://10.0.0.4:2379 http://10.0.0.1:2379
  kvraftctl diff --prefix /config --quiet http://old:2379 http://new:2379 && echo same
  kvraftctl diff --json http://old:2379 http://new:2379 | jq .key

exit codes: 0 the same; 1 different; 2 bad arguments, or a server cannot be reached
"""
MARKS: Final = {Kind.MISSING: "-", Kind.EXTRA: "+", Kind.TTL: "t"}


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _diff)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "diff", "Compare the keys of two servers.", EPILOG)
    parser.add_argument("source", metavar="SOURCE", help="client URLs of the one cluster")
    parser.add_argument("target", metavar="TARGET", help="client URLs of the other one")
    own.add_prefix(parser)
    own.add_hidden(parser, "also compare this hidden key with all below it; may be repeated")
    parser.add_argument(
        "--tolerance",
        type=own.at_least(0, "seconds"),
        default=5.0,
        metavar="SECONDS",
        help="by how much expiry may differ (5); servers round it up to seconds",
    )
    parser.add_argument("--ignore-ttl", action="store_true", help="do not compare expiry")
    parser.add_argument("--json", action="store_true", help="one JSON document per difference")
    parser.add_argument("-q", "--quiet", action="store_true", help="only the exit code")
    own.add_side(parser, "source")
    own.add_side(parser, "target")
    return parser


async def _diff(context: Context, settings: own.Settings) -> int:
    async with (
        own.connect_side(context, settings, "source") as source,
        own.connect_side(context, settings, "target") as target,
    ):
        found: list[Difference] = []
        count = 0
        for root in (settings.prefix, *settings.hidden):
            (one, one_index), (other, other_index) = await asyncio.gather(
                own.naming("SOURCE", carry.read(source, root)),
                own.naming("TARGET", carry.read(target, root)),
            )
            now = time.monotonic()
            left = flatten(one, now)
            tolerance_s = float("inf") if settings.ignore_ttl else settings.tolerance
            found += compare(left, flatten(other, now), tolerance_s)
            count += len(left)
    if settings.ignore_ttl:
        found = [difference for difference in found if difference.kind is not Kind.TTL]
    if not settings.quiet:
        for difference in found:
            text = _document(difference, now) if settings.json else line_of(difference, now)
            context.stdout.write(text + "\n")
        context.stdout.flush()
        what = f"{own.amount(len(found), 'difference')}" if found else "no difference"
        own.say(context.stderr, f"{what}; {own.amount(count, 'key')} at the source")
    return own.DIFFERENT if found else 0


def line_of(difference: Difference, now: float) -> str:
    """One difference for people."""
    key, kind, source, target = difference
    mark = MARKS.get(kind, "~")
    if kind is Kind.TTL:
        return f"{mark} {key} {_time(source, now)} -> {_time(target, now)}"
    texts = [own.shortened(entry.value) for entry in (source, target) if entry is not None]
    return f"{mark} {key} {' -> '.join(texts)}"


def _time(entry: Entry | None, now: float) -> str:
    ttl_s = entry.ttl_s(now) if entry is not None else None
    return "never" if ttl_s is None else f"{ttl_s} s"


def _document(difference: Difference, now: float) -> str:
    document: dict[str, Any] = {"key": difference.key, "difference": str(difference.kind)}
    for side, entry in (("source", difference.source), ("target", difference.target)):
        if entry is not None:
            content: dict[str, Any] = {"dir": True} if entry.is_dir else {"value": entry.value}
            ttl_s = entry.ttl_s(now)
            document[side] = content if ttl_s is None else content | {"ttl": ttl_s}
    return json.dumps(document, ensure_ascii=False)
