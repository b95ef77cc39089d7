"""Members of a fleet: lives, ends of their own, small disks."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jepsen_like.base import Violation
from jepsen_like.faults.fault import Disk, Setting
from jepsen_like.procs.fleet import Fleet

END_S = 30.0
SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
LEAVER = (sys.executable, "-c", "import sys; print('so be it', flush=True); sys.exit(3)")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """Three processes that are no servers: enough for what ends them."""
    with Fleet(3, tmp_path, kind=SLEEPER) as made:
        made.start(made.numbers())
        yield made


def test_every_life_has_a_number_of_its_own(fleet: Fleet) -> None:
    before = [fleet.life(number) for number in fleet.numbers()]
    asyncio.run(fleet.kill([1]))
    assert fleet.running() == [0, 2]
    fleet.check_alive()  # it was killed: that is no end of its own
    fleet.start([1])
    after = [fleet.life(number) for number in fleet.numbers()]
    assert len({*before, *after}) == 4
    assert before[0] == after[0]


def test_an_end_of_its_own_is_a_finding_unless_it_was_announced(fleet: Fleet) -> None:
    process = fleet.member(0).process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    process.wait()
    with pytest.raises(Violation, match="m1 ended by itself, status -15"):
        fleet.check_alive()
    fleet.may_end[0] = "the test ended it"
    fleet.check_alive()
    assert fleet.running() == [1, 2]
    assert asyncio.run(fleet.ended(0, END_S)) == -signal.SIGTERM
    fleet.start([0])
    assert not fleet.may_end


def test_the_end_of_a_member_can_be_waited_for(tmp_path: Path) -> None:
    with Fleet(1, tmp_path, kind=LEAVER) as fleet:
        fleet.start([0])
        fleet.may_end[0] = "it always does"
        assert asyncio.run(fleet.ended(0, END_S)) == 3
        assert fleet.log_file(0).read_text() == "so be it\n"


def test_a_paused_member_can_be_killed(fleet: Fleet) -> None:
    fleet.pause(2)
    assert fleet.paused == {2}
    asyncio.run(fleet.kill([2]))
    assert not fleet.paused


def test_members_come_later(fleet: Fleet) -> None:
    number = fleet.add()
    assert number == 3
    assert fleet.size == 3
    assert fleet.initial_cluster(number).count("=") == 4
    assert "existing" in fleet.member(number).arguments()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_small_disks_are_full_soon_and_gone_in_the_end(tmp_path: Path) -> None:
    try:
        fleet = Fleet(1, tmp_path, setting=Setting(disk=Disk.SMALL), kind=SLEEPER)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cannot mount here: {error.stderr!r}")
    with fleet:
        place = fleet.data_dir(0).parent
        assert shutil.disk_usage(place).total < 64 << 20
        assert fleet.log_file(0).parent == tmp_path
    assert not os.path.ismount(place)


def test_only_kvraft_runs_under_the_harness(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only kvraft"):
        Fleet(1, tmp_path, setting=Setting(harnessed=True), kind=SLEEPER)
