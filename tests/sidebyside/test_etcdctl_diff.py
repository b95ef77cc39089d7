"""Debian's etcdctl cannot tell kvraft from a real etcd, but for what `EXPLAINED` says."""

from __future__ import annotations

import pytest

from tests.sidebyside.etcdctl_diff import EXPLAINED, Report, compare
from tests.sidebyside.scripts import SCRIPTS, Script

pytestmark = [pytest.mark.etcdctl, pytest.mark.realetcd, pytest.mark.timeout(180)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_same_answers(script: Script) -> None:
    report = Report()
    compare(script, report)
    assert not report.problems, "\n".join(report.problems)
    expected = {known for known in EXPLAINED if known.script == script.name}
    assert set(report.explained) == expected
