"""What a member says about itself to its operators; implements `api.service.Diagnostics`.

Reads what others count and keeps no figures of its own. The numbers of an answer are taken in
one turn of the loop; what takes longer, the text of the metrics, is made in a thread.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from kvraft.raft.core import Role
from kvraft.raft.progress import ProgressState
from kvraft.server import exposition, logs
from kvraft.server.ids import format_id

if TYPE_CHECKING:
    from kvraft.api.figures import HttpFigures
    from kvraft.server.exposition import Parts

_ROLES = {Role.LEADER: "StateLeader", Role.FOLLOWER: "StateFollower"}
_PROGRESS = {
    ProgressState.PROBE: "ProgressStateProbe",
    ProgressState.REPLICATE: "ProgressStateReplicate",
    ProgressState.SNAPSHOT: "ProgressStateSnapshot",
}
_http_log = logs.logger("etcdhttp")


class MemberDiagnostics:
    """See the module's description."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._process = exposition.process_collectors()

    def explain_delay(self, began_s: float, ended_s: float, local: bool) -> str:
        """See `Diagnostics.explain_delay`."""
        parts = self._parts
        known = parts.metrics.delays.longest(began_s, ended_s, local)
        if known is not None:
            cause, share_s = known
            return f"{cause.value} ({share_s:.3f}s)"
        if local:
            return "the answer itself took so long"
        core = parts.replica.core
        if core.role is not Role.LEADER:
            return f"waited for the leader {format_id(core.leader)} and a quorum"
        voters = core.membership.voters
        reached = len(parts.hub.connected().intersection(voters)) + 1
        return f"waited for a quorum ({reached} of {len(voters)} members are connected)"

    def metrics(self, figures: HttpFigures, done: Callable[[bytes], None]) -> None:
        """See `Diagnostics.metrics`."""
        families = exposition.families(self._parts, figures)
        loop = asyncio.get_running_loop()
        made = loop.run_in_executor(None, exposition.text, families, self._process)
        made.add_done_callback(partial(_deliver, done))

    def variables(self) -> dict[str, object]:
        """See `Diagnostics.variables`."""
        return {
            "cmdline": sys.orig_argv,
            "file_descriptor_limit": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "memstats": _memory(),
            "raft.status": self.raft_status(),
        }

    def raft_status(self) -> dict[str, object]:
        """Consensus as this member sees it. (admin-api, section 2.)"""
        core = self._parts.replica.core
        own_id = self._parts.member_id
        progress: dict[str, object] = {}
        if core.role is Role.LEADER:
            marks = {member: (p.match, p.next, p.state) for member, p in core.progress.items()}
            marks[own_id] = (core.log.last, core.log.last + 1, ProgressState.PROBE)
            for member, (match, following, state) in sorted(marks.items()):
                progress[format_id(member)] = {
                    "match": match,
                    "next": following,
                    "state": _PROGRESS[state],
                }
        return {
            "id": format_id(own_id),
            "term": core.term,
            "vote": format_id(core.vote),
            "commit": core.commit,
            "lead": format_id(core.leader),
            "raftState": _ROLES.get(core.role, "StateCandidate"),
            "progress": progress,
        }

    def set_log_level(self, level: str) -> bool:
        """See `Diagnostics.set_log_level`; packages with a level of their own lose it."""
        number = logs.parse_level(level)
        if number is None:
            return False
        logs.set_levels(number)
        _http_log.log(logs.NOTICE, 'globalLogLevel set to "%s"', logs.level_name(number))
        return True


def _deliver(done: Callable[[bytes], None], made: asyncio.Future[bytes]) -> None:
    if not made.cancelled():
        done(made.result())


def _memory() -> dict[str, object]:
    """The few of Go's figures that have a meaning here, under the names they have there."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "Sys": peak_bytes,
        "HeapObjects": gc.get_freeze_count() + sum(gc.get_count()),
        "NumGC": sum(generation["collections"] for generation in gc.get_stats()),
    }
