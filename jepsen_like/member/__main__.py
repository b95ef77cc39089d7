"""`python -m jepsen_like.member --control SOCKET [...] -- <flags of kvraft>`: a member to hurt.

Runs the production server in this process, on a disk that loses what was not synced, with
failpoints around its steps and a control socket (`control.py`). `--arm` sets a failpoint from the
start on, as a member may have recovered before the socket is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import time
from typing import Any, Final, NoReturn

from jepsen_like.member import places
from jepsen_like.member.listening import Calls, serve
from jepsen_like.member.lossy import Faults, LossyFiles
from jepsen_like.member.points import Order, Points, parse_order
from jepsen_like.member.watched import WatchedFiles
from kvraft.server import bootstrap, lifecycle, main, opening
from kvraft.server import config as configuration
from kvraft.storage import Files, PosixFiles
from kvraft.storage.wal import Wal

SEGMENT_BYTES: Final = 1 << 16
"""Small, so that segments are cut and purged while somebody looks."""
KEPT_ENTRIES: Final = 300
"""Few, so that whoever was away for a moment needs a snapshot."""


class Harness:
    """What holds the production server of this process."""

    def __init__(self, options: argparse.Namespace, words: list[str]) -> None:
        self._rng = random.Random(options.seed)
        self._loop: asyncio.AbstractEventLoop | None = None
        self.lossy = _lossy(words, options.seed) if options.disk == "lossy" else None
        self.points = Points(None if self.lossy is None else self._power_cut)
        files = PosixFiles() if self.lossy is None else self.lossy
        self.files = WatchedFiles(files, self.points)

    def calls(self) -> Calls:
        """What the control socket offers."""
        return {
            "arm": self._arm,
            "disarm": self.points.disarm,
            "block": self._block,
            "power_cut": self._power_cut,
            "disk": self._disk,
            "passed": lambda: self.points.passed,
        }

    def install(self, segment_bytes: int, kept_entries: int) -> None:
        """Put disk and failpoints under the production code, and these sizes into it."""
        _give_files(self.files)
        _cut_segments_at(segment_bytes)
        _keep_entries(kept_entries)
        places.install(self.points)
        run = lifecycle.run

        async def running(config: Any) -> Any:
            self._loop = asyncio.get_running_loop()
            return await run(config)

        lifecycle.run = running

    def _arm(self, point: str, do: str, after: int, seconds: float, mode: str) -> None:
        self.points.arm(point, Order(do, after, seconds, mode))

    def _block(self, seconds: float) -> None:
        if self._loop is None:
            raise ValueError("no event loop yet")
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def _power_cut(self, mode: str, seed: int | None = None) -> NoReturn:
        if self.lossy is None:
            raise ValueError("this disk does not lose anything")
        self.lossy.power_cut(mode, self._rng.getrandbits(32) if seed is None else seed)

    def _disk(self, **settings: float) -> None:
        if self.lossy is None:
            raise ValueError("this disk does what it should")
        for name, value in settings.items():
            if name not in vars(Faults()):
                raise ValueError(f"a disk has no {name}")
            setattr(self.lossy.faults, name, value)


def _lossy(words: list[str], seed: int) -> LossyFiles | None:
    settings = configuration.parse(words, os.environ)
    if isinstance(settings, configuration.Exit):
        return None  # there will be no member; the server says so itself
    return LossyFiles(filter(None, (settings.data_dir, settings.wal_dir)), seed)


def _give_files(files: Files) -> None:
    """Where a member would take the real disk, it gets this one."""
    for module in (lifecycle, opening):
        if vars(module).get("PosixFiles") is not PosixFiles:
            raise AttributeError(f"{module.__name__} takes its disk from elsewhere now")
        module.PosixFiles = lambda: files  # type: ignore[attr-defined]


def _cut_segments_at(size_bytes: int) -> None:
    original = Wal.__init__

    def init(wal: Wal, *args: Any, **kwargs: Any) -> None:
        original(wal, *args, **{**kwargs, "segment_bytes": size_bytes})

    Wal.__init__ = init  # type: ignore[method-assign, assignment]


def _keep_entries(number: int) -> None:
    if "SNAPSHOT_KEEP_ENTRIES" not in vars(bootstrap):
        raise AttributeError("how many entries are kept behind a snapshot is set elsewhere now")
    vars(bootstrap)["SNAPSHOT_KEEP_ENTRIES"] = number


def _plant(name: str) -> None:
    """The production code with this bug, for as long as the process lives."""
    from jepsen_like.mutants.mutant import plant
    from jepsen_like.mutants.registry import by_name

    try:
        plant(by_name(name).patches)
    except KeyError:
        raise SystemExit(f"no mutant {name!r}") from None


def _parse(own: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m jepsen_like.member", usage="%(prog)s [options] -- FLAGS-OF-KVRAFT"
    )
    parser.add_argument("--control", required=True, help="Unix socket to listen at")
    parser.add_argument("--disk", choices=("lossy", "posix"), default="lossy")
    parser.add_argument("--mutant", default="", help="plant this bug")
    parser.add_argument("--arm", action="append", default=[], metavar="NAME=DO[:AFTER[:SECONDS]]")
    parser.add_argument("--segment-bytes", type=int, default=SEGMENT_BYTES)
    parser.add_argument("--kept-entries", type=int, default=KEPT_ENTRIES)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    return parser.parse_args(own)


def run(arguments: list[str]) -> None:
    """The command; ends the process as the server does."""
    border = arguments.index("--") if "--" in arguments else len(arguments)
    own, words = arguments[:border], arguments[border + 1 :]
    options = _parse(own)
    if options.mutant:
        _plant(options.mutant)
    harness = Harness(options, words)
    harness.install(options.segment_bytes, options.kept_entries)
    for text in options.arm:
        harness.points.arm(*parse_order(text))
    serve(options.control, harness.calls())
    main.main(words)


if __name__ == "__main__":
    run(sys.argv[1:])
