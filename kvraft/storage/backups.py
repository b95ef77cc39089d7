"""The format of a backup: one state of a cluster as a file that can be proved on any machine.

A backup is one chain of frames (record.py), as a snapshot file is:

    HEADER   format, cluster, member that made it, snapshot (index, term, voters, learners), etcd
             index, time of making in seconds since 1970, program that made it
    CHUNK    the chunks of a snapshot, exactly as a member keeps them
    END      number of chunks, their total size, their SHA-256

It is made front to back while it is sent, so that nobody has to hold it; that it is whole shows
only at its end, and a download that was cut off is told from a whole one. The SHA-256 is the
digest that two members with the same state agree on.

`open_state` reads snapshot files of a member, too: they lack only what END adds. This module must
not know what the chunks hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple, Protocol, cast

import msgpack

from kvraft.errors import Corrupt, ForeignData
from kvraft.limits import MAX_SNAPSHOT_CHUNK_BYTES
from kvraft.raft.entry import SnapshotMeta
from kvraft.storage import snapshots
from kvraft.storage.files import Files
from kvraft.storage.framereader import FrameReader
from kvraft.storage.record import MAGIC, Framer
from kvraft.storage.wal import decode_meta, encode_meta, unpack

FORMAT: Final = 1
SUFFIX: Final = ".backup"
_ADVICE: Final = "this file cannot be used: download the backup again, or take an older one"
_TAG_BYTES: Final = len(MAGIC) + 1


class Kind(IntEnum):
    """What a frame of a backup is; apart from those of the log and of snapshot files."""

    HEADER = 32
    CHUNK = 33
    END = 34


class BackupInfo(NamedTuple):
    """What stands at the head of a backup."""

    cluster_id: int
    member_id: int  # who made it; 0 in a snapshot file, which does not say
    meta: SnapshotMeta
    etcd_index: int | None  # None in a snapshot file
    created_unix_s: int | None  # None in a snapshot file
    program: str


class BackupEncoder:
    """Makes the bytes of one backup in order."""

    __slots__ = ("_chunks", "_digest", "_framer", "_total_bytes", "info")

    def __init__(self, info: BackupInfo) -> None:
        self.info = info
        self._framer = Framer()
        self._digest = hashlib.sha256()
        self._chunks = 0
        self._total_bytes = 0

    def head(self) -> bytes:
        """The beginning."""
        info = self.info
        fields = (
            FORMAT,
            info.cluster_id,
            info.member_id,
            encode_meta(info.meta),
            info.etcd_index,
            info.created_unix_s,
            info.program,
        )
        return self._framer.frame(Kind.HEADER, 0, _pack(fields))

    def chunk(self, chunk: bytes) -> bytes:
        """The next chunk of the snapshot."""
        self._digest.update(chunk)
        self._chunks += 1
        self._total_bytes += len(chunk)
        return self._framer.frame(Kind.CHUNK, self._chunks, chunk)

    def end(self) -> bytes:
        """The end, without which a backup is not one."""
        fields = (self._chunks, self._total_bytes, self._digest.digest())
        return self._framer.frame(Kind.END, self._chunks, _pack(fields))


class SavedState(Protocol):
    """A backup or a snapshot file, open for reading."""

    info: BackupInfo

    def chunks(self) -> Iterator[bytes]:
        """The chunks, each proved before it is given. Raises Corrupt where the file turns out
        wrong, also after some were given: what was built from them is then to be thrown away."""

    def close(self) -> None: ...


class BackupReader:
    """One backup. The header is read at once; raises Corrupt."""

    def __init__(self, files: Files, path: str) -> None:
        self._frames = FrameReader(files, path, MAX_SNAPSHOT_CHUNK_BYTES, _ADVICE)
        try:
            self.info = self._header()
        except Corrupt:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._frames.close()

    def chunks(self) -> Iterator[bytes]:
        """See `SavedState.chunks`."""
        digest = hashlib.sha256()
        end = yield from self._frames.chunks(Kind.CHUNK, digest.update)
        expected = [end.chunks, end.total_bytes, digest.digest()]
        if end.kind != Kind.END or unpack(end.payload) != expected:
            raise self._frames.corrupt("the end does not fit the chunks")

    def _header(self) -> BackupInfo:
        kind, payload = self._frames.next()
        try:
            form, cluster, member, fields, etcd_index, created, program = unpack(payload)
            meta = decode_meta(fields)
        except (TypeError, ValueError) as error:
            raise self._frames.corrupt(f"unknown header: {error}") from error
        if (kind, form) != (Kind.HEADER, FORMAT):
            raise self._frames.corrupt("backup of another format; use the version that made it")
        for number in (cluster, member, etcd_index, created):
            if type(number) is not int or number < 0:
                raise self._frames.corrupt(f"header with {number!r} where a number belongs")
        numbers = cast("list[int]", [cluster, member, etcd_index, created])
        return BackupInfo(numbers[0], numbers[1], meta, numbers[2], numbers[3], str(program))


class _SnapshotState:
    """A snapshot file of a member's data directory as a saved state."""

    def __init__(self, files: Files, path: str) -> None:
        self._reader = snapshots.Reader(files, path)
        header = self._reader.header
        self.info = BackupInfo(header.cluster_id, 0, header.meta, None, None, "")

    def chunks(self) -> Iterator[bytes]:
        """See `SavedState.chunks`."""
        return self._reader.chunks()

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def open_state(files: Files, path: str) -> SavedState:
    """Open a backup or a snapshot file. Raises Corrupt, or ForeignData for anything else."""
    try:
        handle = files.open_read(path)
    except OSError as error:
        raise Corrupt(path, 0, error.strerror or str(error), "give the path of a backup") from error
    try:
        tag = files.read_at(handle, _TAG_BYTES, 0)
    except OSError as error:
        raise Corrupt(path, 0, error.strerror or str(error), "give the path of a backup") from error
    finally:
        files.close(handle)
    if len(tag) == _TAG_BYTES and tag.startswith(MAGIC):
        if tag[-1] == snapshots.Kind.HEADER:
            return _SnapshotState(files, path)
        return BackupReader(files, path)
    if not tag:
        raise Corrupt(path, 0, "the file is empty", _ADVICE)
    raise ForeignData(f"{path} is neither a backup nor a snapshot of this program")


def _pack(fields: tuple[object, ...]) -> bytes:
    return cast(bytes, msgpack.packb(fields))
