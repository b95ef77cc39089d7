"""Debian's etcdctl against kvraft and against a real etcd: same command lines, same answers.

    python -m tests.sidebyside.etcdctl_diff [--only SCRIPT] [--verbose]
    make etcdctl-diff

Runs the command lines of `scripts.py` on fresh clusters of both kinds and compares exit code,
stdout and stderr, with ids, ports and times replaced and indices counted from the start. What is
known to differ stands in `EXPLAINED` with its reason, and is compared after the explained part was
rewritten: anything beyond it still counts. The exit code is 1 if a difference is left, or an
explanation is not needed any more.

Not asked for: `backup` by Debian's program, which reads the files of its own server and no others
(`kvraftctl backup` is for those of kvraft), and `import`, which that program does not have.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.members import ETCD, KVRAFT, Cluster, free_ports, release_ports
from tests.sidebyside.scripts import (
    SCRIPTS,
    Fill,
    Join,
    Learn,
    Run,
    Script,
    Step,
    Stop,
    Wait,
    Watch,
)
from tests.sidebyside.sides import Outcome, Side


class Explained(NamedTuple):
    """A difference that is meant to be: kvraft follows etcd 2.3.8, and the other is a 3.4."""

    script: str  # in which script
    line: str  # of which command lines: a pattern for the whole line
    theirs: str  # what the real etcd leads to: a pattern in the stream, or `exit N`
    ours: str  # what is expected in its place
    reason: str


EXPLAINED: Final = (
    Explained(
        "three",
        r"member add m5 .*",
        r"client: etcd cluster is unavailable(?:.*\n)*",
        "etcdserver: ID or peerURL exists\n",
        "etcd 3.4 changes no membership while some member is not connected; kvraft first sees that"
        " the peer URL is in use, and says so as 2.3.8 does",
    ),
)


@dataclass
class Report:
    """What came of it."""

    lines: int = 0
    explained: dict[Explained, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def compare(
    script: Script, report: Report, cli: Sequence[str] = ("etcdctl",), verbose: bool = False
) -> None:
    """Run one script on both servers, and note what differs."""
    with contextlib.ExitStack() as stack:
        sides = list(stack.enter_context(_sides(script, cli)))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        for number, step in enumerate(script.steps):
            label = f"{script.name} {number}: {_line(step)}"
            left, right = pool.map(lambda side, step=step: _do(side, step), sides)
            if left is None or right is None:
                continue
            report.lines += 1
            if verbose:
                print("\n    ".join([label, *left.lines()]), flush=True)
            right = _explain(script.name, _line(step), left, right, report)
            if left != right:
                report.problems.append(_difference(label, left, right))


@contextlib.contextmanager
def _sides(script: Script, cli: Sequence[str]) -> Iterator[tuple[Side, Side]]:
    ports = free_ports(1)
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        sides = []
        for name, command in (("kvraft", KVRAFT), ("etcd", ETCD)):
            directory = Path(scratch) / name
            directory.mkdir()
            (directory / "tmp").mkdir()
            cluster = stack.enter_context(Cluster(command, script.members, directory))
            side = Side(cli, cluster, directory / "tmp", ports[0])
            stack.callback(side.end)
            sides.append(side)
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(Side.begin, sides))
        try:
            yield sides[0], sides[1]
        finally:
            release_ports(ports)


def _do(side: Side, step: Step) -> Outcome | None:
    """One step on one side; None if there is nothing to compare."""
    if isinstance(step, Run):
        outcome = side.run(step.line, step.typed, step.environment)
        return outcome.sorted() if step.unordered else outcome
    if isinstance(step, Watch):
        side.start(step.name, step.line)
    elif isinstance(step, Stop):
        side.stop_one()
    elif isinstance(step, Fill):
        side.fill(step.key, step.times)
    elif isinstance(step, Wait):
        time.sleep(step.seconds)
    elif isinstance(step, Learn):
        side.learn_ids()
    else:
        outcome = side.join(step.name, interrupted=step.interrupted, lines=step.lines)
        return outcome.sorted() if step.unordered else outcome
    return None


def _line(step: Step) -> str:
    if isinstance(step, Run | Watch):
        return step.line
    return step.name if isinstance(step, Join) else type(step).__name__


def _explain(script: str, line: str, ours: Outcome, theirs: Outcome, report: Report) -> Outcome:
    """Their outcome with the explained parts put as ours are expected to be."""
    for known in EXPLAINED:
        if ours == theirs:
            break
        if known.script != script or not re.fullmatch(known.line, line):
            continue
        changed = theirs.rewritten(known.theirs, known.ours)
        if changed != theirs:
            report.explained[known] = report.explained.get(known, 0) + 1
            theirs = changed
    return theirs


def _difference(label: str, ours: Outcome, theirs: Outcome) -> str:
    parts = [label]
    for name, mine, other in zip(Outcome._fields, ours, theirs, strict=True):
        if mine != other:
            parts += [f"    kvraft {name} {mine!r}", f"    etcd   {name} {other!r}"]
    return "\n".join(parts)


def main(words: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", action="append", help="only this script (repeatable)")
    parser.add_argument("--verbose", action="store_true", help="show every outcome")
    options = parser.parse_args(words)
    report = Report()
    for script in SCRIPTS:
        if options.only is None or script.name in options.only:
            compare(script, report, verbose=options.verbose)
    for known, times in report.explained.items():
        print(f"explained, {times} times: {known.reason}")
    for known in EXPLAINED:
        if known not in report.explained and (not options.only or known.script in options.only):
            report.problems.append(f"explained, but not there any more: {known.line}")
    for problem in report.problems:
        print(problem)
    print(
        f"{report.lines} command lines, {sum(report.explained.values())} explained differences,"
        f" {len(report.problems)} unexplained"
    )
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
