"""`/debug/pprof`: what this process is doing, for `--enable-pprof`.

Etcd shows Go's profiles there; a Python process has its own: the stacks of its threads, the
tasks of its event loop, the state of the garbage collector, and what kinds of object there are.
All of it is text for people. The addresses are those of etcd where there is a counterpart.

None of this may hold the loop: objects are counted in slices, and those that the collector has been
told to leave alone (nearly all, in a server; see `server.collector`) are only counted.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Final

from kvraft.api.exchange import Exchange
from kvraft.api.routes import Router, plain_text
from kvraft.limits import PROFILE_SLICE_OBJECTS, PROFILED_OBJECTS, PROFILED_TASKS

PREFIX: Final = b"/debug/pprof"
_METHODS: Final = ()
_SHOWN_TYPES: Final = 40


def index() -> str:
    """What there is."""
    lines = [f"{PREFIX.decode()}/{name:<12} {page.__doc__}" for name, page in PAGES.items()]
    return "\n".join([*lines, f"{PREFIX.decode()}/{'heap':<12} {HeapPage.__doc__}", ""])


def threads() -> str:
    """The stack of each thread."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    parts = []
    for ident, frame in sys._current_frames().items():
        stack = "".join(traceback.format_stack(frame))
        parts.append(f"thread {names.get(ident, '?')} ({ident}):\n{stack}")
    return "\n".join(parts)


def tasks() -> str:
    """The tasks of the event loop, and where each of them waits."""
    running = sorted(asyncio.all_tasks(), key=lambda task: task.get_name())
    parts = [f"{len(running)} tasks\n"]
    for task in running[:PROFILED_TASKS]:
        stack = [line for frame in task.get_stack() for line in traceback.format_stack(frame, 1)]
        parts.append(f"{task.get_name()}: {task.get_coro()}\n{''.join(stack)}")
    return "\n".join(parts)


def goroutine() -> str:
    """Both of them: what runs, and what waits."""
    return f"{threads()}\n{tasks()}"


def collections() -> str:
    """The garbage collector's counters, by generation."""
    lines = [
        f"automatic: {gc.isenabled()}",
        f"thresholds: {gc.get_threshold()}",
        f"allocated since the last collection: {gc.get_count()}",
        f"out of the collector's sight: {gc.get_freeze_count()} objects",
    ]
    for generation, figures in enumerate(gc.get_stats()):
        lines.append(f"generation {generation}: {figures}")
    return "\n".join([*lines, ""])


def cmdline() -> str:
    """The words this process was started with, separated by NUL."""
    return "\0".join(sys.orig_argv)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "cmdline": cmdline,
    "gc": collections,
    "goroutine": goroutine,
    "tasks": tasks,
    "threadcreate": threads,
}


class HeapPage:
    """Memory, and the number of objects of each type that the collector looks at."""

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request."""
        objects = gc.get_objects()
        count = len(objects)
        del objects[PROFILED_OBJECTS:]
        self._count(exchange, objects, count, Counter())

    def _count(
        self, exchange: Exchange, rest: list[object], count: int, types: Counter[type]
    ) -> None:
        types.update(map(type, rest[-PROFILE_SLICE_OBJECTS:]))
        del rest[-PROFILE_SLICE_OBJECTS:]
        if rest:
            exchange.port.loop.call_soon(self._count, exchange, rest, count, types)
            return
        usage = resource.getrusage(resource.RUSAGE_SELF)
        lines = [
            f"peak memory: {usage.ru_maxrss} kB",
            f"objects: {gc.get_freeze_count()} settled, {count} others, of which by type:",
        ]
        lines += [
            f"{number:>9}  {kind.__module__}.{kind.__qualname__}"
            for kind, number in types.most_common(_SHOWN_TYPES)
        ]
        plain_text(exchange, "\n".join([*lines, ""]).encode())


def _serve(page: Callable[[], str]) -> Callable[[Exchange], None]:
    return lambda exchange: plain_text(exchange, page().encode("utf-8", "replace"))


def add_profiling_routes(router: Router) -> None:
    """Enter the routes of this module into a table."""
    router.add(PREFIX, _METHODS, _serve(index))
    for name, page in PAGES.items():
        router.add(b"%b/%b" % (PREFIX, name.encode()), _METHODS, _serve(page))
    router.add(PREFIX + b"/heap", _METHODS, HeapPage())
