"""How a simulated member writes its snapshots, chunk by chunk, as production does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jepsen_like.sim.transfer import start_transfer
from kvraft.errors import DiskFull

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member
    from kvraft.raft.message import InstallSnapshot
    from kvraft.server.replica import SnapshotJob
    from kvraft.storage.datadir import SnapshotWriter


class Snapshots:
    """What one life of one member has under way."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._sending: set[int] = set()

    def take(self, job: SnapshotJob) -> None:
        """Write a snapshot, and let the log before it go."""
        member = self._member
        member.world.faults["snapshot taken"] += 1
        chunks = iter(job.chunks)

        def begun(writer: SnapshotWriter, error: Exception | None) -> None:
            def write(_: object, error: Exception | None) -> None:
                if self._failed(error):
                    return
                chunk = next(chunks, None)
                if chunk is None:
                    member.snapshot_queue.submit(writer.commit, done)
                else:
                    member.snapshot_queue.submit(lambda: writer.write(chunk), write)

            write(None, error)

        def done(_: object, error: Exception | None) -> None:
            if self._failed(error):
                return
            member.replica.snapshot_done(job.meta)
            member.work()
            member.wal_queue.submit(lambda: member.storage.purge(2, 2), self._purged)

        member.snapshot_queue.submit(lambda: member.storage.snapshot_writer(job.meta), begun)

    def _failed(self, error: Exception | None) -> bool:
        if error is None:
            self._member.point()
            return False
        if not isinstance(error, DiskFull):
            self._member.fatal(error)
        self._member.replica.snapshot_failed()
        return True

    def _purged(self, _: object, error: Exception | None) -> None:
        if error is not None and not isinstance(error, DiskFull):
            self._member.fatal(error)

    def send(self, message: InstallSnapshot) -> None:
        """Bring a stored snapshot to a follower, unless one is on its way."""
        member = self._member
        if message.to in self._sending:
            return
        self._sending.add(message.to)
        life = member.life

        def ended(ok: bool) -> None:
            def report() -> None:
                self._sending.discard(message.to)
                member.replica.report_snapshot(message.to, ok)

            member.soon(life, report)

        start_transfer(member, message, ended)
