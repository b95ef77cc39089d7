"""What operators see of a member's part in the cluster: lines in the log, each when it happens.

People and scripts wait for some of them, so their texts are those of etcd 2.3 (server, sections 3.5
and 4.2). Looks at the replica after each round of work and remembers what it has told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.errors import StorageError
from kvraft.raft.core import Role
from kvraft.server import membership
from kvraft.server.ids import format_id
from kvraft.server.logs import NOTICE, logger
from kvraft.versions import SERVER_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kvraft.api.service import MemberInfo
    from kvraft.server.replica import Replica

_log = logger("etcdserver")
_raft_log = logger("raft")


class Downgrade(StorageError):
    """The cluster works in a way that this version does not know."""


def check_version(cluster_version: str) -> None:
    """Raise Downgrade if the cluster has agreed on more than this version can do."""
    if release(cluster_version) > release(SERVER_VERSION):
        raise Downgrade(
            f"cluster cannot be downgraded (current version: {SERVER_VERSION} is lower than "
            f"determined cluster version: {_short(cluster_version)})."
        )


def release(version: str) -> tuple[int, ...]:
    """Major and minor number of a version."""
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _short(version: str) -> str:
    return ".".join(version.split(".")[:2])


def tell_removal() -> None:
    """The lines of a member that has been removed for good."""
    _log.error("the member has been permanently removed from the cluster")
    _log.info("the data-dir used by this member must be removed.")


class Announcer:
    """Tells what has changed since it looked last."""

    def __init__(self, replica: Replica, cluster_id: int) -> None:
        self._replica = replica
        self._own_id = replica.core.member_id
        self._own = format_id(self._own_id)
        self._cluster = format_id(cluster_id)
        self._seen: tuple[int, int, Role] = (0, 0, Role.FOLLOWER)
        self._members: Mapping[int, MemberInfo] = {}
        self._learners: frozenset[int] = frozenset()
        self._version: str | None = None
        self._setting_up = False
        self._published: MemberInfo | None = None
        self._removed = False

    def look(self) -> bool:
        """Tell what is new; whether the leader is another one. Raises Downgrade."""
        leader_changed = self._leadership()
        members = self._replica.members
        if members is not self._members:
            self._changes(self._members, members)
            self._members = members
            self._publication(members.get(self._own_id))
        self._promotions()
        self._cluster_version()
        return leader_changed

    def removal(self) -> None:
        """Tell, once, that this member has been removed."""
        if not self._removed:
            self._removed = True
            tell_removal()

    def _leadership(self) -> bool:
        core = self._replica.core
        term, previous_leader, _ = self._seen
        seen = (core.term, core.leader, core.role)
        if seen == self._seen:
            return False
        self._seen = (term, leader, role) = seen
        if role in (Role.CANDIDATE, Role.PRE_CANDIDATE):
            _raft_log.info("%s is starting a new election at term %d", self._own, term)
        if leader == previous_leader:
            return False
        if leader == 0:
            old = format_id(previous_leader)
            _raft_log.info("%s lost leader %s at term %d", self._own, old, term)
            return False
        if role is Role.LEADER:
            _raft_log.info("%s became leader at term %d", self._own, term)
        _raft_log.info("%s elected leader %s at term %d", self._own, format_id(leader), term)
        return True

    def _changes(self, before: Mapping[int, MemberInfo], after: Mapping[int, MemberInfo]) -> None:
        for member_id, info in after.items():
            name = format_id(member_id)
            local = "local " if member_id == self._own_id else ""
            urls = " ".join(info.peer_urls)
            known = before.get(member_id)
            if known is None:
                text = "added %smember %s [%s] to cluster %s"
            elif known.peer_urls != info.peer_urls:
                text = "updated %smember %s [%s] in cluster %s"
            else:
                continue
            _log.log(NOTICE, text, local, name, urls, self._cluster)
        for member_id in before.keys() - after.keys() - {self._own_id}:
            name = format_id(member_id)
            _log.log(NOTICE, "removed member %s from cluster %s", name, self._cluster)

    def _promotions(self) -> None:
        voters, learners = self._replica.core.membership
        for member in self._learners.intersection(voters):
            _log.info("member %s has caught up and takes part in votes", format_id(member))
        self._learners = frozenset(learners)

    def _publication(self, own: MemberInfo | None) -> None:
        if own is None or not own.client_urls:
            return
        told = self._published
        if told is None or (told.name, told.client_urls) != (own.name, own.client_urls):
            urls = " ".join(own.client_urls)
            _log.info(
                "published {Name:%s ClientURLs:[%s]} to cluster %s", own.name, urls, self._cluster
            )
        self._published = own

    def _cluster_version(self) -> None:
        record = self._replica.store.get_record(membership.VERSION_RECORD)
        if record is None:
            if self._replica.core.role is Role.LEADER and not self._setting_up:
                self._setting_up = True
                wanted = _short(self._replica.config.cluster_version)
                _log.info("setting up the initial cluster version to %s", wanted)
            return
        version = record.decode()
        if version == self._version:
            return
        check_version(version)
        if self._version is None:
            _log.log(NOTICE, "set the initial cluster version to %s", _short(version))
        else:
            old = _short(self._version)
            _log.log(NOTICE, "updated the cluster version from %s to %s", old, _short(version))
        self._version = version
