"""`kvraftctl import`: the keys of an etcd 0.4 snapshot, written to a cluster by several workers.

Unlike the original it ends only when every key has been written. On a terminal a bar shows how far
it is; otherwise each key is a line. (etcdctl reference, section 9.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kvraft_cli.answers import read_answer
from kvraft_cli.commands.keys import PREFIX
from kvraft_cli.endpoints import encode_form
from kvraft_cli.errors import Failure, RequestError
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SERVER_ERROR, SUCCESS
from kvraft_cli.http import FORM
from kvraft_cli.logline import stamped
from kvraft_cli.snapshot04 import Directory, Key, LookupFailed, Snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags
    from kvraft_cli.session import Session

LEAST_TTL_S: Final = 300  # a key must not be gone before the import is over

Write = Callable[[Key], None]
Show = Callable[[Directory | Key], None]


def run(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """The command; a key that cannot be written ends it."""
    path = flags.string("snap")
    workers = flags.number("c")
    snapshot = _read(context, path)
    if snapshot is None:
        return BAD_ARGUMENTS
    sessions = [context.api.twin() for _ in range(max(workers, 1))]
    context.stdout.write(f"starting to import snapshot {path} with {workers} clients\n")
    context.stdout.flush()
    job = Import(snapshot, flags.strings("hidden"), datetime.now(UTC))
    with _display(context, job) as show:
        try:
            job.run(list(map(_writer, sessions)), show)
        except LookupFailed as error:
            raise Failure(f"Error:  {error}\n", SERVER_ERROR) from error
        except RequestError as error:
            text = stamped(f"failed to copy key: {error.text}")
            raise Failure(text, BAD_ARGUMENTS, error) from error
        finally:
            for session in sessions:
                session.transport.close()
    context.stdout.write(f"finished importing {job.keys} keys\n")
    return SUCCESS


class Import:
    """The work: one walk over the snapshot, shared by the workers, each with a way to write."""

    def __init__(self, snapshot: Snapshot, hidden: Sequence[str], now: datetime) -> None:
        self._snapshot = snapshot
        self._hidden = hidden
        self._now = now
        self._found = self._walk()
        self._mutex = threading.Lock()
        self._error: BaseException | None = None
        self.keys = 0  # handed to a worker

    def count(self) -> int:
        """How many keys there are. Raises LookupFailed."""
        return sum(isinstance(item, Key) for item in self._walk())

    def run(self, writers: Sequence[Write], show: Show) -> None:
        """Write all keys, telling `show` of everything that comes up meanwhile.

        Raises what the first failing worker met, or LookupFailed for a directory that is not in
        the snapshot; what was begun before that has ended then.
        """
        threads = [
            threading.Thread(target=self._work, args=(write, show), daemon=True)
            for write in writers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _walk(self) -> Iterator[Directory | Key]:
        for path in ("/", *self._hidden):
            yield from self._snapshot.walk(path, self._now)

    def _next(self, show: Show) -> Key | None:
        """The next key for whoever asks; None when there is none, or somebody has failed."""
        with self._mutex:
            while self._error is None:
                item = next(self._found, None)
                if item is not None:
                    show(item)
                if isinstance(item, Directory):
                    continue
                if item is not None:
                    self.keys += 1
                return item
        return None

    def _work(self, write: Write, show: Show) -> None:
        try:
            while (key := self._next(show)) is not None:
                write(key._replace(ttl_s=LEAST_TTL_S) if is_short(key) else key)
        except BaseException as error:
            with self._mutex:
                self._error = self._error or error


def _writer(session: Session) -> Write:
    """A way to write keys over connections of its own."""

    def write(key: Key) -> None:
        fields = [("value", key.value)]
        if key.ttl_s > 0:
            fields.insert(0, ("ttl", str(key.ttl_s)))
        body = encode_form(fields).encode("ascii")
        reply = session.request("PUT", PREFIX + key.path, body, FORM, limited=False)
        read_answer(reply.status, "", reply.body)

    return write


def _read(context: Context, path: str) -> Snapshot | None:
    try:
        with open(path, "rb") as stream:
            return Snapshot(stream.read())
    except (OSError, RecursionError):
        if path:
            context.stdout.write(f"cannot read snapshot file {path}\n")
        else:
            context.stdout.write("no snapshot file provided (use --snap)\n")
    return None


@contextmanager
def _display(context: Context, job: Import) -> Iterator[Show]:
    """Where progress is told: in lines on stderr, or in a bar for a person."""
    if not context.stderr.isatty():

        def tell(item: Directory | Key) -> None:
            context.stderr.write("".join(map(stamped, _lines(item))))

        yield tell
        return
    import signal

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # the bar hides the cursor: an interrupt must not end the process before that is undone
    signal.signal(signal.SIGINT, signal.default_int_handler)
    total = job.count()
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=context.stderr)) as progress:
        task = progress.add_task("", total=total)

        def advance(item: Directory | Key) -> None:
            progress.advance(task, isinstance(item, Key))

        yield advance


def _lines(item: Directory | Key) -> Iterator[str]:
    if isinstance(item, Directory):
        yield f"entering dir: {item.path}"
        return
    yield f"copying key: {item.path}"
    if is_short(item):
        yield f"extending key {item.path}'s ttl to {LEAST_TTL_S} seconds"


def is_short(key: Key) -> bool:
    """Whether the key might be gone before the import is over; one that is due counts, too."""
    return key.ttl_s != 0 and key.ttl_s < LEAST_TTL_S
