"""Replays the recorded cases of the routes beside the keys against real members, byte for byte.

Each case wants a server that nobody has written to, so the replayer starts one for each. The cases
are dealt out to several replayers, as most of their time is spent waiting for servers to start.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from tests.conformance.test_keys import FRESH, run_replay

CASES: Final = Path(__file__).with_name("admin.jsonl").read_text("utf-8").splitlines()
CASE_COUNT: Final = 48
REPLAYERS: Final = 4

pytestmark = pytest.mark.timeout(400)


def test_new_members_answer_as_recorded(tmp_path: Path) -> None:
    assert len(CASES) == CASE_COUNT
    assert all(json.loads(line)["fresh"] for line in CASES)

    def replay_share(number: int) -> str:
        place = tmp_path / str(number)
        place.mkdir()
        return run_replay(CASES[number::REPLAYERS], place, "--fresh-cmd", FRESH)

    with ThreadPoolExecutor(REPLAYERS) as pool:
        complaints = "".join(pool.map(replay_share, range(REPLAYERS)))
    if complaints:
        pytest.fail(complaints, pytrace=False)
