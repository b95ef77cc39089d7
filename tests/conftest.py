"""Which tests run on this machine, and a line that says why the others do not.

Tests marked ``slow`` run with ``--slow`` only. Tests against the real etcd programs are deselected
where those are not installed, and the head of the run says so, so that a green run never hides
that half of it was left out.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import pytest
import uvloop
from hypothesis import settings

# marker -> (program it needs, Debian package that holds it)
PROGRAMS: Final = {
    "realetcd": ("etcd", "etcd-server"),
    "etcdctl": ("etcdctl", "etcd-client"),
    "refdiscovery": ("discovery.etcd.io", "etcd-discovery"),
}

# A test machine may stall for longer than Hypothesis tolerates by default; the seed of a failing
# example is printed, and examples found before are not consulted: each run starts from nothing.
settings.register_profile("kvraft", deadline=None, print_blob=True, database=None)
settings.load_profile("kvraft")


Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(autouse=True)
def _log_levels_stay() -> Iterator[None]:
    """A test that lets our loggers say more must not make them say it in the tests behind it:
    pytest keeps what is logged, so that measurements of memory would see it."""
    logger = logging.getLogger("kvraft")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test's coroutine on one of the loops, in debug mode."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(debug=True, loop_factory=factory) as runner:
            runner.run(main)

    return runner


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")


def reasons_to_leave_out(config: pytest.Config) -> dict[str, str]:
    """The markers whose tests cannot or should not run here, with the reason."""
    reasons = {}
    if not config.getoption("--slow"):
        reasons["slow"] = "run them with --slow or `make test-slow`"
    for marker, (program, package) in PROGRAMS.items():
        if shutil.which(program) is None:
            reasons[marker] = f"there is no {program} here (Debian: apt-get install {package})"
    return reasons


def pytest_report_header(config: pytest.Config) -> list[str]:
    reasons = reasons_to_leave_out(config)
    return [f"not run: tests marked {marker}: {reason}" for marker, reason in reasons.items()]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if terminalreporter.config.get_verbosity() < 0:  # -q prints no head
        for line in pytest_report_header(terminalreporter.config):
            terminalreporter.write_line(line)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"measured: {name} = {value}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = reasons_to_leave_out(config)
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in reasons)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]
