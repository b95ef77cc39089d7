"""What operators read about memberships, and when."""

from __future__ import annotations

import logging

import pytest

from kvraft.api.service import ChangeKind, MemberChange
from kvraft.server import announcer
from kvraft.server.announcer import Announcer, Downgrade
from kvraft.server.membership import version_record
from tests.server.replicas import Cluster, Told


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    logging.getLogger("etcdserver").propagate = True
    caplog.set_level(logging.DEBUG)
    return caplog


def taken(lines: pytest.LogCaptureFixture) -> list[str]:
    texts = [record.getMessage() for record in lines.records]
    lines.clear()
    return texts


def test_a_cluster_begins(lines: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(1)
    told = Announcer(cluster[1], 0xC1)
    told.look()
    cluster[1].core.campaign()
    while cluster[1].busy() and not cluster[1].core.leader:
        work = cluster[1].take_work()
        if work.persist:
            cluster[1].persisted(work.persist)
        cluster[1].apply(work.committed)
    told.look()
    cluster.settle()
    told.look()
    told.look()
    assert taken(lines) == [
        "added local member 1 [http://127.0.0.1:2381] to cluster c1",
        "1 became leader at term 2",
        "1 elected leader 1 at term 2",
        "setting up the initial cluster version to 2.3",
        "published {Name:m1 ClientURLs:[http://127.0.0.1:4001]} to cluster c1",
        "set the initial cluster version to 2.3",
    ]


def test_members_come_move_and_go(lines: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.tick(2)
    told = Announcer(cluster[1], 0xC1)
    told.look()
    taken(lines)
    changes = (
        MemberChange(ChangeKind.ADD, 0, ("http://n:1",)),
        MemberChange(ChangeKind.UPDATE, 1, ("http://a:1", "http://b:1")),
        MemberChange(ChangeKind.REMOVE, 3),
    )
    done: list[Told] = []
    for change in changes:
        done.append(cluster.change(1, change))
        cluster.settle()
        cluster.tick()
        told.look()
    assert taken(lines) == [
        f"added member {done[0].outcome.id:x} [http://n:1] to cluster c1",
        "updated local member 1 [http://a:1 http://b:1] in cluster c1",
        "removed member 3 from cluster c1",
    ]
    member = done[0].outcome.id
    cluster.join(member, "n")
    cluster.tick(3)
    told.look()
    assert taken(lines) == [f"member {member:x} has caught up and takes part in votes"]


def test_a_removal_is_told_once(lines: pytest.LogCaptureFixture) -> None:
    told = Announcer(Cluster(1)[1], 0xC1)
    told.removal()
    told.removal()
    assert taken(lines) == [
        "the member has been permanently removed from the cluster",
        "the data-dir used by this member must be removed.",
    ]


def test_a_cluster_of_later_versions_is_left() -> None:
    cluster = Cluster(1)
    cluster.elect(1)
    told = Announcer(cluster[1], 0xC1)
    told.look()
    cluster[1].store.apply(version_record("2.4.0"))
    with pytest.raises(Downgrade) as raised:
        told.look()
    assert str(raised.value) == (
        "cluster cannot be downgraded (current version: 2.3.8 is lower than determined cluster "
        "version: 2.4)."
    )
    for version in ("2.3.0", "2.3.99", "2.2.0", "1.9.9"):
        announcer.check_version(version)
    for version in ("2.4.0", "3.0.0", "10.0.0"):
        with pytest.raises(Downgrade):
            announcer.check_version(version)
