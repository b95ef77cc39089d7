"""`python -m jepsen_like story`: the failures that guides to such clusters tell of, one by one.

Each story is a short run with all workloads, and judged like every other stage: a member dies for
good and is replaced, a worker machine reboots, a majority is lost and comes back, and all machines
lose their power at once.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from jepsen_like.base import Violation
from jepsen_like.campaign.stages import place_of, run_stage
from jepsen_like.campaign.trial import Job
from jepsen_like.faults import power, steps
from jepsen_like.faults.fault import Arena, Setting
from jepsen_like.faults.harnessed import HARNESSED
from jepsen_like.faults.processes import a_majority, names, restore
from jepsen_like.faults.scenes import Scene
from jepsen_like.options import WRONG_USE, folder
from jepsen_like.procs.tasks import end_tasks
from jepsen_like.procs.web import BrokenError, NotSentError, once
from jepsen_like.report.result import FAILED, PASSED, Stage
from jepsen_like.workloads.worker import (
    SERVICE,
    SETTING,
    TTL_S,
    Dependents,
    Worker,
    request,
)

WITHOUT_ONE: Final = 100  # writes that two of three must take
WITHOUT_MAJORITY_S: Final = 3.0
PENDING_S: Final = 1.0  # until the last answers are in that were given before
CATCH_UP_S: Final = 30.0
NEWS_S: Final = 15.0
POLL_S: Final = 0.05
QUIET_S: Final = 1.0
STATUSES: Final = {PASSED: 0, FAILED: 1}
NO_VERDICT: Final = 3


@dataclass(frozen=True)
class Story:
    """A fault that is one story; see `faults.fault.Fault`."""

    name: str
    text: str
    tell: Callable[[Arena], Awaitable[None]]
    setting: Setting = Setting()
    row: int = 0
    smallest: int = 3

    def missing(self) -> str:
        """See `Fault.missing`."""
        return ""

    async def strike(self, arena: Arena) -> None:
        """Tell it. Raises Violation if it does not go as promised."""
        await self.tell(arena)

    async def heal(self, arena: Arena) -> None:
        """See `Fault.heal`."""
        restore(arena.fleet)


async def _dead_member(arena: Arena) -> None:
    """One dies for good: the others go on; it is removed, another one joins and catches up."""
    fleet, scene = arena.fleet, Scene(arena)
    victim = fleet.pick(arena.rng)
    await fleet.kill([victim])
    arena.note(f"{names([victim])} is dead for good")
    await steps.progress(arena, WITHOUT_ONE)
    arena.note(f"{WITHOUT_ONE} writes without it")
    await scene.remove(victim)
    number = await scene.add()
    goal = max([await _store_index(arena, other) for other in fleet.numbers() if other != number])
    deadline_s = time.monotonic() + CATCH_UP_S
    while await _store_index(arena, number) < goal:
        fleet.check_alive()
        if time.monotonic() > deadline_s:
            raise Violation(f"{names([number])} does not catch up to index {goal}")
        await asyncio.sleep(POLL_S)
    arena.note(f"{names([number])} has caught up to index {goal}")
    await scene.calm()


async def _lost_majority(arena: Arena) -> None:
    """Two of three are gone: nothing is acknowledged, the rest still shows what it has."""
    fleet = arena.fleet
    numbers = a_majority(arena)
    await fleet.kill(numbers)
    arena.note(f"{names(numbers)} are gone, a majority")
    await asyncio.sleep(PENDING_S)
    before = arena.acknowledged
    left = [number for number in fleet.numbers() if number not in numbers]
    await asyncio.sleep(WITHOUT_MAJORITY_S)
    for number in left:
        if not await _store_index(arena, number):
            raise Violation(f"{names([number])} answers no plain read without a majority")
    if arena.acknowledged > before:
        raise Violation(f"{arena.acknowledged - before} writes acknowledged without a majority")
    arena.note(f"no write for {WITHOUT_MAJORITY_S:.0f} s, {names(left)} still answers plain reads")
    fleet.start(numbers)
    began_s = time.monotonic()
    await steps.progress(arena)
    arena.note(f"a majority is back; writes after {time.monotonic() - began_s:.1f} s")


async def _power_cycle(arena: Arena) -> None:
    """Everybody loses the power in one moment, and with it whatever was not synced."""
    numbers = arena.fleet.numbers()
    await power.cut(arena, numbers, "nothing")
    arena.note("all machines without power; nothing survives but what was synced")
    await steps.start_again(arena, numbers)
    began_s = time.monotonic()
    await steps.progress(arena)
    arena.note(f"power is back; writes after {time.monotonic() - began_s:.1f} s")


async def _rebooted_worker(arena: Arena) -> None:
    """A worker dies and returns: who depends on it sees one end and one new announcement."""
    fleet = arena.fleet
    worker = Worker(fleet.directory, fleet.initial_cluster())
    dependents = [Dependents(fleet.address(number)) for number in fleet.numbers()]
    tasks = [asyncio.create_task(dependent.run()) for dependent in dependents]
    address = fleet.address(fleet.numbers()[0])
    try:
        await request(address, "PUT", SETTING, {"value": "red"})
        worker.boot()
        await _until("the worker works", lambda: worker.setting == "red")
        await _all_told(dependents, ["set"])
        arena.note(f"the worker serves as {SERVICE}, and has read its setting")
        await asyncio.sleep(TTL_S + QUIET_S)  # longer than an announcement lasts by itself
        await _all_told(dependents, ["set"])
        await worker.die()
        arena.note("the worker is dead; it was announced all the time")
        await request(address, "PUT", SETTING, {"value": "green"})
        await _all_told(dependents, ["set", "expire"])
        arena.note("its announcement has expired, once, for everybody")
        worker.boot()
        await _until("the worker works again", lambda: worker.setting == "green")
        await _all_told(dependents, ["set", "expire", "set"])
        await request(address, "PUT", SETTING, {"value": "blue"})
        await _until("the worker hears of the setting", lambda: worker.setting == "blue")
        await asyncio.sleep(QUIET_S)
        await _all_told(dependents, ["set", "expire", "set"])
        arena.note("it is back, announced once, and has what was set meanwhile")
    finally:
        await worker.close()
        await end_tasks(tasks)


STORIES: Final = (
    Story(
        "dead member",
        "one of three dies for good and is replaced",
        _dead_member,
        Setting(flags=("--snapshot-count=100",)),
    ),
    Story(
        "rebooted worker",
        "a worker with a proxy and an announced service dies and returns",
        _rebooted_worker,
    ),
    Story("lost majority", "two of three are gone for a while", _lost_majority),
    Story("power cycle", "all machines lose their power at once", _power_cycle, HARNESSED),
)


async def _store_index(arena: Arena, number: int) -> int:
    """How far a member has come, as it says itself; 0 if it does not answer."""
    try:
        answer = await once(arena.fleet.address(number), "/v2/keys/", steps.ASK_S)
        return int(answer.headers.get("x-etcd-index", "0"))
    except (NotSentError, BrokenError):
        return 0


async def _until(what: str, reached: Callable[[], bool]) -> None:
    await steps.until(what, reached, NEWS_S)


async def _all_told(dependents: list[Dependents], expected: list[str]) -> None:
    """Wait until all who depend on the worker were told this, and nothing else."""

    def reached() -> bool:
        for dependent in dependents:
            if dependent.told != expected[: len(dependent.told)]:
                raise Violation(f"told {dependent.told}, not {expected}")
        return all(dependent.told == expected for dependent in dependents)

    await _until(f"everybody is told {expected}", reached)


# --- the command ----------------------------------------------------------------------------


DESCRIPTION: Final = """\
Tell the failures that guides to such clusters describe, each as a short run on real members that is
judged like every stage of a campaign."""

EXAMPLES: Final = """\
examples:
  python -m jepsen_like story                              all of them, about a minute and a half
  python -m jepsen_like story 'dead member' 'power cycle'

exit status: 0 as promised, 1 a promise was broken, 2 wrong use, 3 no verdict"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `story`."""
    parser.description = DESCRIPTION
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names_ = [story.name for story in STORIES]
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(names_)} (all)"
    )
    parser.add_argument("--seed", type=int, help="repeat what was drawn")
    parser.add_argument("--keep", action="store_true", help="keep data, logs and history")


def run(options: argparse.Namespace) -> int:
    """Tell the stories; the exit status."""
    known = {story.name: story for story in STORIES}
    unknown = [name for name in options.names if name not in known]
    if unknown:
        print(f"no story is called {unknown[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return WRONG_USE
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    status = 0
    for name in options.names or known:
        stage = tell(known[name], seed, keep=options.keep)
        for text in shown(known[name], stage):
            print(text, flush=True)
        status = max(status, STATUSES.get(stage.verdict, NO_VERDICT))
    return status


def tell(story: Story, seed: int, *, keep: bool = False) -> Stage:
    """One story as a stage."""
    job = Job(story, story.smallest, seed, QUIET_S)
    with folder("kvraft-story-") as parent:
        stage = run_stage(job, place_of(job, parent), keep=keep)
    stage.again = f"python -m jepsen_like story {story.name!r} --seed {seed}"
    return stage


def shown(story: Story, stage: Stage) -> list[str]:
    """A story for people."""
    lines = [f"{story.name}: {story.text} (seed {stage.seed})"]
    lines += [f"  {strike.at_s:6.1f} s  {strike.what}" for strike in stage.strikes[1:]]
    lines += [f"    {one.checker:<22} {one.verdict:<8} {one.text}" for one in stage.verdicts]
    lines.append(f"  {stage.verdict}: {stage.reason or 'all as promised'}")
    if stage.kept:
        lines.append(f"  kept: {stage.kept}; again: {stage.again}")
    return lines
