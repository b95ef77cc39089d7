"""A snapshot on its way between two members, chunk by chunk, and what can interrupt it.

As in production the content travels apart from the frames, over a connection that is reliable
until it breaks: a cut link, the end of either process, or a random reset. The receiver
restores and stores each chunk as it comes, and takes the message when all is durable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jepsen_like.base import MILLISECOND_NS
from kvraft.errors import DiskFull
from kvraft.store.store import Restorer

if TYPE_CHECKING:
    from jepsen_like.sim.member import Member
    from kvraft.raft.message import InstallSnapshot
    from kvraft.storage.datadir import SnapshotWriter

RESET_PROBABILITY = 0.03  # of each chunk


def start_transfer(sender: Member, message: InstallSnapshot, ended: Callable[[bool], None]) -> None:
    """Begin to send; `ended` is called once, unless the sender itself ends before."""
    world, network = sender.world, sender.cluster.network
    peer = sender.cluster.members.get(message.to)
    if peer is None:  # added, but not started yet
        world.after(MILLISECOND_NS, lambda: ended(False))
        return
    chunks = [*sender.storage.read_snapshot(message.meta)]
    sender_life, peer_life = sender.life, peer.life
    link = (sender.number, peer.number)
    world.note("snapshot", message.meta.index, "from", sender.number, "to", peer.number)
    world.faults["snapshot sent"] += 1
    over = False
    observer = world.observer
    number = observer.sent(*link, message) if observer is not None else 0

    def end(ok: bool) -> None:
        nonlocal over
        if not over:
            over = True
            if observer is not None and ok:
                observer.delivered(number)
            elif observer is not None:
                observer.dropped(number, "transfer broken off")
            ended(ok)

    receiver = Receiver(peer, message, end)

    def alive() -> bool:
        return (
            sender.up and sender.life == sender_life and peer.up and peer.life == peer_life
            and network.connected(sender.number, peer.number)
            and network.connected(peer.number, sender.number)
        )  # fmt: skip

    def step(place: int) -> None:
        if not alive() or sender.rng.random() < RESET_PROBABILITY:
            world.fault("snapshot transfer broken off", sender.number, peer.number)
            receiver.abandon()
            end(False)
        elif place == len(chunks):
            peer.soon(peer_life, receiver.finish)
            wait()
        else:
            peer.soon(peer_life, lambda: receiver.take(chunks[place]))
            lag_ns = 0 if place else network.lag_ns(link)  # the chunks follow close on each other
            world.after(sender.rng.randint(1, 5) * MILLISECOND_NS + lag_ns, lambda: step(place + 1))

    def wait() -> None:
        """For the receiver's word; without it the sender learns only that the line is dead."""
        if not alive():
            end(False)
        elif not over:
            world.after(50 * MILLISECOND_NS, wait)

    def connect() -> None:
        if alive():
            peer.soon(peer_life, receiver.begin)
        step(0)

    world.after(MILLISECOND_NS, connect)


class Receiver:
    """The receiving end of one transfer."""

    def __init__(
        self, member: Member, message: InstallSnapshot, ended: Callable[[bool], None]
    ) -> None:
        self._member = member
        self._life = member.life
        self._message = message
        self._ended = ended
        self._restorer = Restorer()
        self._writer: SnapshotWriter | None = None
        self._failed = False

    def begin(self) -> None:
        """The connection has been made."""
        storage, meta = self._member.storage, self._message.meta
        self._member.snapshot_queue.submit(lambda: storage.snapshot_writer(meta), self._begun)

    def _begun(self, writer: SnapshotWriter | None, error: Exception | None) -> None:
        self._writer = writer
        self._written(None, error)

    def take(self, chunk: bytes) -> None:
        """The next chunk has come."""
        if not self._failed:
            self._restorer.feed(chunk)
            self._member.snapshot_queue.submit(lambda: self._write(chunk), self._written)

    def _write(self, chunk: bytes) -> None:
        if self._writer is not None and not self._failed:
            self._writer.write(chunk)

    def _written(self, _: object, error: Exception | None) -> None:
        if error is None or self._failed:
            return
        self._failed = True
        if not isinstance(error, DiskFull):
            self._member.fatal(error)
        self._ended(False)

    def finish(self) -> None:
        """All chunks have come: make the snapshot durable, then hand it to the replica."""
        if not self._failed:
            self._member.snapshot_queue.submit(self._commit, self._committed)

    def _commit(self) -> None:
        if self._writer is not None and not self._failed:
            self._writer.seal()

    def _committed(self, _: object, error: Exception | None) -> None:
        self._written(None, error)
        if self._failed:
            return
        member = self._member
        store = self._restorer.finish()
        member.replica.receive_snapshot(self._message, store)
        self._ended(True)
        member.work()

    def abandon(self) -> None:
        """The connection has broken: nothing more will come."""
        self._failed = True
        member = self._member
        if member.up and member.life == self._life:
            member.snapshot_queue.submit(self._abort, lambda _, error: None)

    def _abort(self) -> None:
        if self._writer is not None:
            self._writer.abort()
