"""Runs the scenario files: one command per line, everything delivered after each.

Commands (members are numbers, `#` starts a comment):
  cluster 1 2 3 [+4] [option=value]   voters, learners with +; options of RaftConfig; must be first
  log 1 2 2 3                         terms of member 1's entries from index 2 on; before use
  campaign, crash, restart M          hold M / sync M: its disk waits / catches up
  tick N [M...]                       time passes, for all or for these only
  isolate M... / cut A B / heal       cut: from A to B only
  drop KIND                           messages of this kind are lost until healed
  propose M words...                  change M KIND MEMBER / read M CTX / transfer M [TO]
  snapshot M [KEEP]                   join M: an empty member comes up
  count                               start counting messages anew
  expect M QUANTITY [value...]        see `_quantity`; `any` in place of M: the leader
  expect refused REASON               the last propose, change or transfer was refused so
  expect sent KIND N                  since `count`; `at-most` before N allows fewer
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from kvraft.raft.config import RaftConfig
from kvraft.raft.entry import ConfChange, ConfChangeKind
from kvraft.raft.errors import ProposalRefused
from tests.raft.cluster import Cluster

SCENARIOS: Final = sorted((Path(__file__).parent.parent / "scenarios").glob("*.txt"))


class Runner:
    """Carries out the lines of one file."""

    def __init__(self) -> None:
        self.voters: list[int] = []
        self.learners: list[int] = []
        self.config = RaftConfig(1)
        self.logs: dict[int, list[int]] = {}
        self._cluster: Cluster | None = None
        self.refused = "nothing"

    @property
    def cluster(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self.voters, self.learners, config=self.config, logs=self.logs)
        return self._cluster

    def member(self, word: str) -> int:
        return self.cluster.leader().member_id if word == "any" else int(word)

    def run(self, line: str) -> None:
        words = line.split("#")[0].split()
        if words:
            getattr(self, f"do_{words[0]}")(*words[1:])
            if words[0] not in ("cluster", "log", "expect"):
                self.cluster.settle()

    def do_cluster(self, *words: str) -> None:
        for word in words:
            if "=" in word:
                name, value = word.split("=")
                self.config = replace(self.config, **{name: int(value)})  # type: ignore[arg-type]
            elif word.startswith("+"):
                self.learners.append(int(word))
            else:
                self.voters.append(int(word))

    def do_log(self, member: str, *terms: str) -> None:
        self.logs[int(member)] = [int(term) for term in terms]

    def do_campaign(self, member: str) -> None:
        self.cluster.core(int(member)).campaign()

    def do_crash(self, *members: str) -> None:
        for member in members:
            self.cluster.crash(int(member))

    def do_restart(self, *members: str) -> None:
        for member in members:
            self.cluster.hosts[int(member)].start()

    def do_hold(self, member: str) -> None:
        self.cluster.hosts[int(member)].slow = True

    def do_sync(self, member: str) -> None:
        host = self.cluster.hosts[int(member)]
        host.slow = False
        self.cluster.sync(host)

    def do_tick(self, count: str, *members: str) -> None:
        self.cluster.tick(int(count), *map(int, members))

    def do_isolate(self, *members: str) -> None:
        self.cluster.isolate(*map(int, members))

    def do_cut(self, sender: str, to: str) -> None:
        self.cluster.cut.add((int(sender), int(to)))

    def do_heal(self) -> None:
        self.cluster.heal()

    def do_drop(self, kind: str) -> None:
        self.cluster.dropped_kinds.add(kind)

    def do_propose(self, member: str, *words: str) -> None:
        self.refused = "nothing"
        try:
            self.cluster.core(self.member(member)).propose([word.encode() for word in words])
        except ProposalRefused as reason:
            self.refused = type(reason).__name__

    def do_change(self, member: str, kind: str, subject: str) -> None:
        self.refused = "nothing"
        change = ConfChange(ConfChangeKind[kind.upper()], int(subject), b"")
        try:
            self.cluster.core(self.member(member)).propose_conf_change(change)
        except ProposalRefused as reason:
            self.refused = type(reason).__name__

    def do_transfer(self, member: str, to: str = "0") -> None:
        self.refused = "nothing"
        try:
            self.cluster.core(self.member(member)).transfer_leadership(int(to))
        except ProposalRefused as reason:
            self.refused = type(reason).__name__

    def do_read(self, member: str, ctx: str) -> None:
        self.cluster.core(int(member)).read_index(int(ctx))

    def do_snapshot(self, member: str, keep: str = "0") -> None:
        self.cluster.snapshot(self.member(member), int(keep))

    def do_join(self, member: str) -> None:
        self.cluster.add_host(int(member))

    def do_count(self) -> None:
        self.cluster.sent.clear()

    def do_expect(self, subject: str, quantity: str, *values: str) -> None:
        if subject == "refused":
            assert self.refused == quantity
        elif subject == "sent":
            sent = self.cluster.sent[quantity]
            if values[0] == "at-most":
                assert sent <= int(values[1])
            else:
                assert sent == int(values[0])
        else:
            member = self.member(subject)
            arguments = values[:1] if quantity in ("read", "progress") else ()
            found = self._quantity(member, quantity, *arguments)
            assert found == " ".join(values[len(arguments) :])

    def _quantity(self, member: int, name: str, *arguments: str) -> str:
        """One fact about a member, as the words of a scenario."""
        host = self.cluster.hosts[member]
        core = host.core
        if name in ("term", "vote", "leader", "commit", "applied"):
            return str(getattr(core, name))
        if name == "role":
            return core.role.name.lower()
        if name == "log":
            return " ".join(str(entry.term) for entry in core.log.entries)
        if name == "first":
            return str(core.log.first)
        if name == "state":
            return b" ".join(host.payloads()).decode()
        if name == "voters":
            return " ".join(map(str, core.membership.voters))
        if name == "learners":
            return " ".join(map(str, core.membership.learners))
        if name == "progress":
            return core.progress[int(arguments[0])].state.name.lower()
        assert name == "read", f"unknown quantity {name}"
        outcome = host.reads.get(int(arguments[0]), -1)
        return {None: "failed", -1: "pending"}.get(outcome, str(outcome))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    runner = Runner()
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            runner.run(line)
        except Exception as error:
            error.add_note(f"{path.name}, line {number}: {line}")
            raise


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) > 10
