"""A progress bar on stderr: on a terminal only, since logs have no use for one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvraft_cli.context import Context


class Progress:
    """A bar on stderr, if that is a terminal; calls say what is going on and how far it is."""

    def __init__(self, context: Context, quiet: bool) -> None:
        self._bar = None
        self._task = None
        if not quiet and context.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(file=context.stderr), transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """So many of so many; None if nobody knows how many."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=done, total=total)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress_bar(context: Context, quiet: bool) -> Iterator[Progress]:
    """A progress that is taken away in the end."""
    progress = Progress(context, quiet)
    try:
        yield progress
    finally:
        progress.close()
