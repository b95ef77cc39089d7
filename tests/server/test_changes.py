"""Changes of the membership between clients, desks, the leader's queue and the log."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

import pytest

from kvraft import limits
from kvraft.api.service import (
    ChangeKind,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from kvraft.raft.core import Role
from kvraft.raft.entry import ConfChangeKind, EntryKind, decode_conf_change
from kvraft.raft.message import Append
from kvraft.server import ids
from kvraft.server import replica as replica_module
from kvraft.server.changes import PATIENCE_TICKS, RESEND_TICKS, ChangeReply, ChangeRequest
from tests.server.replicas import ELECTION_TICKS, TICK_MS, TIMEOUT_MS, Cluster, Told, infos

TIMEOUT_TICKS = TIMEOUT_MS // TICK_MS
NEW = "http://127.0.0.1:7777"


def changes_in(cluster: Cluster, number: int) -> list[ConfChangeKind]:
    """The changes in a member's log behind the founders'."""
    core = cluster[number].core
    entries = core.log.slice(core.log.first, core.log.last)
    kinds = [decode_conf_change(e.data).kind for e in entries if e.kind == EntryKind.CONFIG]
    return [ConfChangeKind(kind) for kind in kinds if kind != ConfChangeKind.ADD_VOTER]


def added(told: Told) -> MemberInfo:
    assert isinstance(told.outcome, MemberInfo), told.outcome
    return told.outcome


def refused(told: Told) -> ChangeRefusal:
    assert isinstance(told.outcome, MemberChangeError), told.outcome
    return told.outcome.reason


def led_by_one(count: int, **changes: Any) -> Cluster:
    cluster = Cluster(count, **changes)
    cluster.elect(1)
    cluster.tick(2)
    return cluster


def grow(cluster: Cluster, via: int, url: str) -> int:
    """Add a member and let it catch up; its id."""
    told = cluster.add(via, url)
    cluster.settle()
    member = added(told).id
    cluster.join(member, f"x{member:x}")
    cluster.tick(4)
    return member


# --- what a change does ------------------------------------------------------------------


@pytest.mark.parametrize("via", [1, 2])
def test_adding(via: int) -> None:
    cluster = led_by_one(3)
    index = cluster[1].store.index
    told = cluster.add(via, NEW)
    cluster.settle()
    cluster.tick()
    info = added(told)
    seconds = cluster.clock.wall_ns() // 10**9
    assert info.id in {ids.member_id([NEW], "", seconds - late) for late in (0, 1)}
    assert (info.name, info.peer_urls, info.client_urls) == ("", (NEW,), ())
    assert cluster[via].members[info.id] == info
    assert {cluster[number].store.index for number in (1, 2, 3)} == {index + 1}
    assert cluster[1].core.membership.learners == (info.id,)


def test_a_new_member_votes_once_it_has_caught_up_and_nobody_notices() -> None:
    cluster = led_by_one(1)
    told = cluster.add(1, NEW)
    cluster.settle()
    member = added(told).id
    for _ in range(5):
        cluster.tick(ELECTION_TICKS)
        write = cluster.put(1, b"/a")
        cluster.settle()
        assert write.outcome, "one that does not come stops nothing"
    assert not cluster[1].core.membership.voters[1:]
    new = cluster.join(member, "new")
    assert not new.accepting()
    index = cluster[1].store.index
    cluster.tick(4)
    assert cluster[1].core.membership.voters == (1, member)
    assert cluster[1].store.index == index + 1, "its name, and nothing for the promotion"
    assert new.accepting()
    assert new.members[member].name == "new"
    through = cluster.put(member, b"/b")
    cluster.settle()
    cluster.tick()
    assert through.outcome
    assert cluster[1].store.digest() == new.store.digest()


def test_a_learner_serves_like_any_follower() -> None:
    cluster = led_by_one(1)
    member = added_learner(cluster)
    write, read = cluster.put(member, b"/a"), cluster.read(member)
    cluster.settle()
    cluster.tick()
    assert write.outcome
    assert read.outcome is None
    assert cluster.value(member, b"/a") == b"v"


def added_learner(cluster: Cluster) -> int:
    """A member that takes part, but is kept from voting by values that are never all there."""
    told = cluster.add(1, NEW)
    cluster.settle()
    member = added(told).id
    cluster.join(member, "new")
    cluster[1]._changes._promote = lambda: None  # type: ignore[method-assign]
    cluster.tick(2)
    assert cluster[1].core.membership.learners == (member,)
    return member


def test_moving() -> None:
    cluster = led_by_one(3)
    index = cluster[1].store.index
    told = cluster.change(2, MemberChange(ChangeKind.UPDATE, 3, (NEW, "http://a:1")))
    cluster.settle()
    cluster.tick()
    assert added(told).peer_urls == (NEW, "http://a:1")
    assert cluster[1].members[3] == infos(3)[2]._replace(
        peer_urls=(NEW, "http://a:1"), client_urls=cluster[1].members[3].client_urls
    )
    assert cluster[1].store.index == index + 1


@pytest.mark.parametrize("via", [1, 2])
def test_removing(via: int) -> None:
    cluster = led_by_one(3)
    index = cluster[1].store.index
    told = cluster.remove(via, 3)
    cluster.settle()
    cluster.tick()
    assert told.outcome is None
    for number in (1, 2):
        assert sorted(cluster[number].members) == [1, 2]
        assert cluster[number].store.index == index + 2
        assert cluster[number].is_removed(3)
    assert refused_after(cluster, cluster.remove(via, 3)) is ChangeRefusal.REMOVED_MEMBER
    moved = cluster.change(via, MemberChange(ChangeKind.UPDATE, 3, (NEW,)))
    assert refused_after(cluster, moved) is ChangeRefusal.REMOVED_MEMBER


def refused_after(cluster: Cluster, told: Told, ticks: int = PATIENCE_TICKS + 2) -> ChangeRefusal:
    cluster.settle()
    cluster.tick(ticks)
    return refused(told)


def test_a_leader_that_is_removed_hands_over_first() -> None:
    cluster = led_by_one(3)
    for via in (1, 2):
        leader = next(n for n in (1, 2, 3) if cluster[n].core.role is Role.LEADER)
        if leader not in cluster[via].members:
            break
        told = cluster.remove(via, leader)
        cluster.settle()
        cluster.tick(2)
        assert told.outcome is None
        assert leader not in cluster[via].members
        break
    assert cluster[1].core.role is Role.FOLLOWER
    successor = next(cluster[n] for n in (2, 3) if cluster[n].core.role is Role.LEADER)
    assert successor.core.term == cluster[1].core.term == 3, "one hand-over, no time-out"


def test_the_last_member_may_go_only_without_the_check() -> None:
    careful = led_by_one(1)
    assert refused_after(careful, careful.remove(1, 1)) is ChangeRefusal.NOT_SAFE
    cluster = led_by_one(1, strict_reconfig=False)
    told = cluster.remove(1, 1)
    cluster.settle()
    assert told.outcome is None
    assert not cluster[1].may_leave()
    cluster.tick(ELECTION_TICKS)
    assert cluster[1].may_leave()


# --- what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize("via", [1, 2])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (MemberChange(ChangeKind.ADD, 0, ()), ChangeRefusal.BAD_URLS),
        (MemberChange(ChangeKind.ADD, 0, ("ftp://a:1",)), ChangeRefusal.BAD_URLS),
        (MemberChange(ChangeKind.UPDATE, 1, ("http://a",)), ChangeRefusal.BAD_URLS),
        (MemberChange(ChangeKind.ADD, 0, infos(1)[0].peer_urls), ChangeRefusal.URL_EXISTS),
        (MemberChange(ChangeKind.UPDATE, 2, infos(1)[0].peer_urls), ChangeRefusal.URL_EXISTS),
        (MemberChange(ChangeKind.UPDATE, 7, (NEW,)), ChangeRefusal.UNKNOWN_MEMBER),
        (MemberChange(ChangeKind.REMOVE, 7), ChangeRefusal.UNKNOWN_MEMBER),
        (MemberChange(ChangeKind.REMOVE, 0), ChangeRefusal.UNKNOWN_MEMBER),
    ],
)
def test_refusals(via: int, change: MemberChange, reason: ChangeRefusal) -> None:
    cluster = led_by_one(3)
    last = cluster[1].core.log.last
    assert refused_after(cluster, cluster.change(via, change)) is reason
    assert cluster[1].core.log.last == last


def test_the_same_addition_twice_in_a_second() -> None:
    cluster = led_by_one(3)
    one, two = cluster.add(1, NEW), cluster.add(2, NEW)
    cluster.settle()
    cluster.tick(2)
    outcomes = sorted((one.outcome, two.outcome), key=lambda one: isinstance(one, MemberInfo))
    assert outcomes[0] == MemberChangeError(ChangeRefusal.ID_EXISTS)


def test_a_deposed_leader_says_nothing_of_what_it_no_longer_knows() -> None:
    cluster = led_by_one(3)
    cluster.isolate(1)
    told = cluster.remove(1, 7)
    cluster.settle()
    cluster.tick(2)
    assert not told.outcomes, "7 might have been added since"
    cluster.tick(3 * ELECTION_TICKS)
    cluster.heal()
    cluster.tick(5)
    assert refused(told) is ChangeRefusal.UNKNOWN_MEMBER


def test_three_additions_at_once_get_definite_answers_at_once() -> None:
    cluster = led_by_one(3)
    told = [cluster.add(number, f"http://127.0.0.1:{8000 + number}") for number in (1, 2, 3)]
    cluster.settle()
    cluster.tick(PATIENCE_TICKS + 3)
    outcomes = [one.outcome for one in told]
    assert sum(isinstance(outcome, MemberInfo) for outcome in outcomes) == 2
    assert [o.reason for o in outcomes if isinstance(o, MemberChangeError)] == [
        ChangeRefusal.NOT_SAFE
    ]
    assert len(cluster[1].members) == 5


def test_without_the_check_all_three_are_added() -> None:
    cluster = led_by_one(3, strict_reconfig=False)
    told = [cluster.add(number, f"http://127.0.0.1:{8000 + number}") for number in (1, 2, 3)]
    cluster.settle()
    cluster.tick(2)
    assert len({added(one).id for one in told}) == 3


def test_a_silent_member_counts_as_lost() -> None:
    cluster = led_by_one(3)
    cluster.isolate(3)
    cluster.tick(ELECTION_TICKS)
    assert refused_after(cluster, cluster.add(2, NEW)) is ChangeRefusal.NOT_SAFE
    assert refused_after(cluster, cluster.remove(1, 2)) is ChangeRefusal.NOT_SAFE
    gone = cluster.remove(2, 3)
    cluster.settle()
    cluster.tick(2)
    assert gone.outcome is None, "to remove what is lost is what should be done"
    assert added_after(cluster, cluster.add(1, NEW))


def added_after(cluster: Cluster, told: Told) -> int:
    cluster.settle()
    cluster.tick(2)
    return added(told).id


def test_a_fresh_leader_gives_the_others_time_to_answer() -> None:
    cluster = led_by_one(3)
    told = cluster.add(1, NEW)
    cluster.isolate(3)
    cluster[1].core.progress[3].heard = False
    cluster.settle()
    assert not told.outcomes
    cluster.heal()
    cluster.tick(2)
    assert added(told)


# --- at most once, and never in the dark -------------------------------------------------


def test_a_repeated_frame_is_answered_and_not_appended_again() -> None:
    cluster = led_by_one(3)
    cluster.drop = lambda frame: isinstance(frame, (ChangeReply, Append)) and frame.to == 2
    told = cluster.add(2, NEW)
    cluster.settle()
    for _ in range(5):
        cluster.tick()
    assert not told.outcomes
    assert sum(isinstance(frame, ChangeReply) for frame in cluster.lost) > 1
    cluster.heal()
    cluster.tick(4)
    assert added(told)
    assert changes_in(cluster, 1) == [ConfChangeKind.ADD_LEARNER]


def test_what_is_lost_with_a_leader_is_done_by_the_next() -> None:
    cluster = led_by_one(5)
    cluster.drop = lambda frame: isinstance(frame, ChangeRequest)
    told = cluster.add(2, NEW)
    cluster.settle()
    cluster.isolate(1)
    cluster.tick(3 * ELECTION_TICKS, only={2, 3, 4, 5})
    assert added(told)
    assert changes_in(cluster, 2).count(ConfChangeKind.ADD_LEARNER) == 1


def test_what_the_old_leader_had_appended_is_not_done_again() -> None:
    cluster = led_by_one(3)
    told = cluster.add(2, NEW)
    cluster.drop = lambda frame: isinstance(frame, Append) and frame.to == 3
    cluster.slow.add(1)
    cluster.settle()  # the entry reaches 2, which cannot know whether it is committed
    cluster.isolate(1)
    cluster.tick(4 * ELECTION_TICKS, only={2, 3})
    assert added(told)
    assert changes_in(cluster, 2).count(ConfChangeKind.ADD_LEARNER) == 1


def test_without_a_leader_a_change_was_certainly_not_made() -> None:
    cluster = Cluster(3)
    cluster.drop = lambda _: True
    told = cluster.add(2, NEW)
    cluster.tick(TIMEOUT_TICKS)
    assert told.refusal == (replica_module.TIMED_OUT, True)


def test_what_was_given_to_a_leader_may_have_been_made() -> None:
    cluster = led_by_one(3)
    cluster.drop = lambda frame: isinstance(frame, (ChangeRequest, Append))
    told = cluster.add(2, NEW)
    cluster.settle()
    cluster.tick(TIMEOUT_TICKS)
    assert told.refusal.definite is False


def test_a_restarted_asker_does_not_disturb_the_leader_s_order() -> None:
    cluster = led_by_one(3)
    for round_ in range(3):
        told = cluster.add(2, f"http://127.0.0.1:{8100 + round_}")
        cluster.settle()
        cluster.tick(2)
        remover = cluster.remove(2, added(told).id)
        cluster.settle()
        cluster.tick(2)
        assert remover.outcome is None


def test_a_change_given_up_does_not_let_the_next_one_in_twice() -> None:
    """The leader answers the old change while the next one of the same desk already waits."""
    cluster = led_by_one(3)
    cluster[1].disk_full = True  # its queue stands still
    cluster.drop = lambda frame: isinstance(frame, ChangeRequest)
    lost = cluster.change(2, MemberChange(ChangeKind.UPDATE, 2, ("http://a:1",)))
    cluster.settle()
    cluster.tick(2)  # the leader hears of it later than the desk counts from
    cluster.heal()
    cluster.tick(TIMEOUT_TICKS - 2)
    assert lost.refusal.definite is False
    told = cluster.change(2, MemberChange(ChangeKind.UPDATE, 3, (NEW,)))
    cluster.settle()
    cluster.tick(2 * RESEND_TICKS)
    cluster[1].disk_full = False
    cluster.tick(2)
    assert added(told).peer_urls == (NEW,)
    assert changes_in(cluster, 1) == [ConfChangeKind.UPDATE]


def test_too_many_at_once_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_CHANGES", 2)
    cluster = Cluster(3)
    told = [cluster.add(1, f"http://a:{port}") for port in (1, 2, 3)]
    assert told[2].refusal == (replica_module.OVERLOADED, True)
    cluster[1].disk_full = True
    assert cluster.remove(1, 2).refusal == (replica_module.DISK_FULL, True)
    cluster[1].stop()
    assert told[0].refusal == told[1].refusal == (replica_module.STOPPED, False)


def test_a_full_queue_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_QUEUED_CHANGES", 0)
    cluster = led_by_one(3)
    told = cluster.add(2, NEW)
    cluster.settle()
    assert told.refusal == (replica_module.OVERLOADED, True)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_lost_each_change_is_made_once_or_not_at_all(seed: int) -> None:
    """Random loss and leaders; asked at all members. An answer has to agree with the log."""
    rng = random.Random(seed)
    cluster = led_by_one(3, strict_reconfig=False)
    asked: list[tuple[str, Told]] = []
    for number in range(12):
        share = rng.choice((0.0, 0.2, 0.6))
        cluster.drop = partial(lose, rng, share)
        url = f"http://127.0.0.1:{8200 + number}"
        asked.append((url, cluster.add(rng.randint(1, 3), url)))
        cluster.settle()
        cluster.tick(rng.randint(0, 2 * ELECTION_TICKS))
    cluster.heal()
    cluster.tick(TIMEOUT_TICKS + 4 * ELECTION_TICKS)
    members = cluster[1].members
    assert cluster[2].members == cluster[3].members == members
    for url, told in asked:
        there = sum(url in info.peer_urls for info in members.values())
        if isinstance(told.outcome, MemberInfo):
            assert there == 1
        elif isinstance(told.outcome, Unavailable) and not told.outcome.definite:
            assert there <= 1
        else:
            assert there == 0


def lose(rng: random.Random, share: float, _: object) -> bool:
    return rng.random() < share
