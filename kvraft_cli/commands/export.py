"""`export`: a part of the key space as a file that `import-json` reads.

One linearizable read, so that the file shows the keys at one index. It is written beside its place
and renamed: whoever finds it finds it whole.
"""

from __future__ import annotations

import importlib.metadata
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from kvraft.client.client import Client
from kvraft.client.errors import ClientError, KeyNotFound
from kvraft_cli import own
from kvraft_cli.mirror import dump
from kvraft_cli.mirror.tree import REPLACEMENT
from kvraft_cli.progress import Progress, progress_bar

if TYPE_CHECKING:
    from kvraft_cli.context import Context

EPILOG: Final = """\
The file has a head, one line of JSON for each key, and an end with a count and a digest. It is for
you alone (mode 0600), since values may be secrets. Listings do not show hidden keys (a component
begins with `_`): name them with --hidden.

examples:
  kvraftctl export -o etcd.json                        all keys
  kvraftctl export /config -o config.json              what is below /config
  kvraftctl export --hidden /_coreos.com -o all.json   hidden keys, too
  kvraftctl export | gzip > etcd.json.gz               to stdout

exit codes: 0 written; 2 bad arguments, no server, or the file cannot be written (nothing is left)
"""


def main(context: Context, words: list[str]) -> int:
    """The command."""
    return own.run(context, make_parser(context), words, _export)


def make_parser(context: Context) -> own.Parser:
    """The arguments of this command."""
    parser = own.Parser(context, "export", "Write keys to a file, as JSON lines.", EPILOG)
    parser.add_argument("key", nargs="?", default="/", type=own.key, help="what to export (/)")
    parser.add_argument(
        "-o", "--output", default="-", metavar="FILE", help="where to; - is stdout, the default"
    )
    own.add_hidden(parser, "also export this hidden key with all below it; may be repeated")
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    return parser


async def _export(context: Context, settings: own.Settings) -> int:
    with progress_bar(context, settings.quiet) as progress:
        async with own.connect(context) as client:
            progress("reading", 0, None)
            head, records = await _read(client, settings)
        lines = dump.encode(head, _counted(records, progress))
        if settings.output == "-":
            _write_through(context.stdout.buffer, lines)
        else:
            _write(settings.output, lines)
    _report(context, settings, head, records)
    return 0


async def _read(client: Client, settings: own.Settings) -> tuple[dump.Head, list[dump.Record]]:
    try:
        version = str((await client.version()).get("etcdserver", ""))
    except ClientError:
        version = ""  # something between here and the servers knows the keys only
    records: dict[str, dump.Record] = {}
    index, taken_s = 0, 0.0
    for place in (settings.key, *settings.hidden):
        try:
            result = await client.get(place, recursive=True, quorum=True)
        except KeyNotFound:
            argument = "KEY" if place == settings.key else "--hidden"
            raise own.Trouble(
                f"{argument}: there is no key {place}; `kvraftctl ls` shows what there is"
            ) from None
        if place == settings.key:
            index, taken_s = result.etcd_index, time.time()
        # A hidden key is read a moment later; times are told as of the first read.
        late_s = time.time() - taken_s
        for record in dump.records_of(result.node):
            if record.ttl_s is not None and late_s >= 1:
                record = record._replace(ttl_s=record.ttl_s + int(late_s))
            records.setdefault(record.key, record)
    program = f"kvraftctl {importlib.metadata.version('kvraft')}"
    head = dump.Head(settings.key, tuple(settings.hidden), index, taken_s, version, program)
    return head, list(records.values())


def _counted(records: list[dump.Record], progress: Progress) -> Iterator[dump.Record]:
    for number, record in enumerate(records):
        if number % 1000 == 0:
            progress("writing", number, len(records))
        yield record


def _write(output: str, lines: Iterable[bytes]) -> None:
    # A link stays one; what is no file (/dev/null, a pipe) is written to and never replaced.
    place = Path(os.path.realpath(output))
    if not output or place.is_dir():
        raise own.Trouble(f"--output: {output!r} is a directory or nothing; name a file in it")
    if not place.exists() or place.is_file():
        _write_whole(place, lines)
        return
    try:
        with place.open("wb") as file:
            _write_through(file, lines)
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise own.Trouble(f"--output: cannot write {output}: {text}") from None


def _write_through(stream: IO[bytes], lines: Iterable[bytes]) -> None:
    try:
        stream.writelines(lines)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise own.Trouble(f"--output: cannot write: {text}") from None


def _write_whole(place: Path, lines: Iterable[bytes]) -> None:
    """Write a file under another name, make it durable, and only then give it its name."""
    directory = place.parent
    try:
        handle, name = tempfile.mkstemp(prefix=f".{place.name}.", suffix=".part", dir=directory)
    except OSError as error:
        raise own.Trouble(
            f"--output: cannot write to {directory}: {(error.strerror or '').lower()}"
        ) from None
    try:
        with open(handle, "wb") as file:
            _write_all(file, lines)
        os.replace(name, place)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            text = (error.strerror or str(error)).lower()
            raise own.Trouble(f"--output: cannot write {place}: {text}") from None
        raise
    _sync_directory(directory)


def _write_all(file: IO[bytes], lines: Iterable[bytes]) -> None:
    file.writelines(lines)
    file.flush()
    os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _report(
    context: Context, settings: own.Settings, head: dump.Head, records: list[dump.Record]
) -> None:
    replaced = [
        record.key
        for record in records
        if REPLACEMENT in record.key or REPLACEMENT in (record.value or "")
    ]
    if replaced:
        own.say(
            context.stderr,
            f"kvraftctl export: warning: {own.amount(len(replaced), 'key')} with bytes that are no "
            f"UTF-8, which the API does not show; {replaced[0]} is the first",
        )
    if not settings.quiet:
        place = "" if settings.output == "-" else f" to {settings.output}"
        own.say(
            context.stderr,
            f"exported {own.amount(len(records), 'key')} at index {head.etcd_index}{place}",
        )
