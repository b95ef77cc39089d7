"""The crash test as a whole, short enough for the slow tests."""

from __future__ import annotations

import random

import pytest

from jepsen_like.procs import crash


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("members", [1, 3])
def test_every_answer_is_explained_after_a_few_kills(
    members: int, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    status = crash.main([f"--members={members}", "--kills=8", f"--seed={seed}"])
    text = capsys.readouterr().out
    assert status == 0, text
    assert f"seed {seed}" in text
    assert "8 kills" in text
    assert text.endswith("verdict: every answer is explained\n")
