"""One mutant on trial: each of its named runs, without the mistake and with it.

A verdict counts if it is a broken promise, a broken assertion or a refusal to go on, and says what
the mutant expects. Anything else, an error in the harness above all, does not.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import linecache
import re
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

from jepsen_like.mutants.mutant import (
    ROOT,
    Case,
    Mutant,
    NamedRun,
    Patch,
    Simulated,
    Staged,
    planted,
)
from jepsen_like.sim.run import Run
from kvraft.raft import invariants

RUN_LIMIT_S: Final = 300  # a mistake may send a run into an endless circle
VERDICTS: Final = (
    "Violation", "InvariantViolation", "AssertionError", "Corrupt", "DataLost", "DiskFailed",
    "Failed",
)  # fmt: skip


class Finding(NamedTuple):
    """What one named run said about one mutant."""

    mutant: str
    run: str
    """The shape and seed, or the test."""
    caught: bool
    verdict: str
    seconds: float


class TooLong(Exception):
    """A run did not end."""


def hunt(mutant: Mutant, *, on_processes: bool = False) -> list[Finding]:
    """All named runs of one mutant: those in this process, or those on real ones."""
    runs = [run for run in mutant.caught_by if isinstance(run, Staged) == on_processes]
    return [_judge(mutant, run) for run in runs]


def describe(run: NamedRun) -> str:
    """What a reader needs to find the run."""
    if isinstance(run, Simulated):
        return "simulator"
    if isinstance(run, Staged):
        return f"real processes: {run.fault}, {run.members} members"
    path, _, function = run.test.partition("::")
    values = ", ".join(str(argument) for argument in run.arguments)
    if function == "test_scenario":
        return str(Path(values).relative_to(ROOT))
    return f"{path}::{function}" + (f"[{values}]" if values else "")


def _judge(mutant: Mutant, run: NamedRun) -> Finding:
    began = time.monotonic()
    try:
        with _limited():
            if isinstance(run, Simulated):
                where, caught, verdict = _simulate(mutant.patches, run)
            elif isinstance(run, Staged):
                where, caught, verdict = _stage(mutant, run)
            else:
                where, caught, verdict = _call(mutant.patches, run)
    except TooLong:
        where, caught, verdict = describe(run), False, f"no end within {RUN_LIMIT_S} s"
    return Finding(mutant.name, where, caught, verdict, time.monotonic() - began)


@contextmanager
def _limited() -> Iterator[None]:
    """Raise TooLong in the main thread when the time is up."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(RUN_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _stage(mutant: Mutant, run: Staged) -> tuple[str, bool, str]:
    from jepsen_like.mutants import processes  # much to import, and seldom wanted

    return processes.try_stage(mutant, run)


# --- the simulator ---------------------------------------------------------------------


def _simulate(patches: Callable[[], list[Patch]], run: Simulated) -> tuple[str, bool, str]:
    """Try seeds until one ends as expected; then the same one must pass without the mistake."""
    last = "survived"
    for seed in range(1, run.seeds + 1):
        with planted(patches):
            failure = _failure_of(run, seed)
        if not failure:
            continue
        last = failure.strip().splitlines()[-1]
        if not (last.startswith(VERDICTS) and re.search(run.expects, last)):
            continue
        where = f"simulator, seed {seed}"
        clean = _failure_of(run, seed)
        if clean:
            return where, False, f"fails without the mistake: {clean.strip().splitlines()[-1]}"
        return where, True, last
    return f"simulator, seeds 1-{run.seeds}", False, last


def _failure_of(run: Simulated, seed: int) -> str:
    return Run(seed, run.shape, run.script or None).execute().failure


# --- tests of the suite ----------------------------------------------------------------


def _call(patches: Callable[[], list[Patch]], run: Case) -> tuple[str, bool, str]:
    function = find(run.test)
    clean = _failure(function, run.arguments)
    if clean:
        return describe(run), False, f"fails without the mistake: {clean}"
    with planted(patches), planted(_without_invariants if run.blind else list):
        verdict = _failure(function, run.arguments)
    caught = verdict.startswith(VERDICTS) and re.search(run.expects, verdict) is not None
    return describe(run), caught, verdict or "survived"


def _without_invariants() -> list[Patch]:
    return [(invariants, "check", lambda core: None)]


def find(test: str) -> Callable[..., Any]:
    """The function of a test. By its name: nothing here may depend on the tests otherwise."""
    path, _, name = test.partition("::")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    function = getattr(module, name)
    assert callable(function)
    return function  # type: ignore[no-any-return]


def _failure(function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """How a test ends: empty if it passes, else the error and the line of the test that failed."""
    try:
        _run(function, arguments)
    except TooLong:
        raise
    except BaseException as error:  # pytest's own failures are no Exceptions
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return _told(error)
    return ""


def _run(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    import pytest

    with pytest.MonkeyPatch.context() as monkeypatch:
        wanted = "monkeypatch" in inspect.signature(function).parameters
        result = function(*arguments, **({"monkeypatch": monkeypatch} if wanted else {}))
        if inspect.iscoroutine(result):
            asyncio.run(result)


def _told(error: BaseException) -> str:
    """The error's kind and text, its notes, and the innermost line of a test that it came from."""
    text = str(error).splitlines()
    parts = [f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")]
    parts += list(getattr(error, "__notes__", []))
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        place = Path(frame.filename)
        if place.is_relative_to(ROOT / "tests"):
            line = linecache.getline(frame.filename, frame.lineno or 0).strip()
            parts.append(f"{place.relative_to(ROOT)}:{frame.lineno}: {line}")
            break
    return "; ".join(parts)
