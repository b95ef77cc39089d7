"""Snapshot files: one frozen state each, made whole or not at all, proved before it is believed.

A file is named `<term>-<index>.snap`, 16 hexadecimal digits each, and is one chain of frames
(record.py): a header (format, cluster, end of the log then, meta data), the chunks exactly as they
were given, a trailer (number and total size of the chunks). This module must not know what the
chunks hold, and it does not know the log: that a snapshot counts only once the log has recorded
it is the concern of datadir.py and recover.py.

Invariants: a file under its final name was complete and durable when it got that name; nothing
is handed to a reader before its own checksum and its place in the chain were checked; memory is
bounded by one chunk.

Paper: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm (Extended)",
section 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple, cast

import msgpack

from kvraft.errors import Corrupt
from kvraft.limits import MAX_SNAPSHOT_CHUNK_BYTES
from kvraft.raft.entry import SnapshotMeta
from kvraft.storage.advice import DAMAGED
from kvraft.storage.files import TEMPORARY, Files, discard, disk_error, write_all
from kvraft.storage.framereader import FrameReader
from kvraft.storage.record import Framer
from kvraft.storage.wal import decode_meta, encode_meta, parse_hex_pair, unpack

FORMAT: Final = 1
SUFFIX: Final = ".snap"


class Kind(IntEnum):
    """What a frame of a snapshot file is."""

    HEADER = 16
    CHUNK = 17
    TRAILER = 18


def snapshot_name(meta: SnapshotMeta) -> str:
    """The file name of a snapshot."""
    return f"{meta.term:016x}-{meta.index:016x}{SUFFIX}"


def snapshot_names(names: Iterable[str]) -> list[tuple[int, int]]:
    """(index, term) of each snapshot among the names of a directory, oldest first."""
    pairs = (parse_hex_pair(name, SUFFIX) for name in names)
    return sorted((pair[1], pair[0]) for pair in pairs if pair is not None)


class SnapshotFile:
    """A snapshot file being written under its temporary name."""

    __slots__ = (
        "_chunks",
        "_directory",
        "_files",
        "_framer",
        "_handle",
        "_temporary",
        "_total_bytes",
        "meta",
    )

    def __init__(
        self,
        files: Files,
        directory: str,
        cluster_id: int,
        meta: SnapshotMeta,
        log_end: int,
        number: int,
    ) -> None:
        """`number` keeps the temporary files of two writers of one snapshot apart."""
        self.meta = meta
        self._temporary = f"{directory}/{snapshot_name(meta)}.{number}{TEMPORARY}"
        self._files = files
        self._directory = directory
        self._framer = Framer()
        self._chunks = 0
        self._total_bytes = 0
        self._handle = -1
        try:
            self._handle = files.create(self._temporary)
        except OSError as error:
            raise disk_error(self._temporary, error) from error
        self._put(Kind.HEADER, (FORMAT, cluster_id, log_end, encode_meta(meta)))

    @property
    def path(self) -> str:
        return f"{self._directory}/{snapshot_name(self.meta)}"

    def write(self, chunk: bytes) -> None:
        """Append one chunk. Any StorageError has already discarded the file."""
        if len(chunk) > MAX_SNAPSHOT_CHUNK_BYTES:
            raise ValueError(f"snapshot chunk of {len(chunk)} bytes")
        self._append(Kind.CHUNK, chunk)
        self._chunks += 1
        self._total_bytes += len(chunk)

    def finish(self) -> None:
        """Make the file complete and durable under its name."""
        self._put(Kind.TRAILER, (self._chunks, self._total_bytes))
        handle, self._handle = self._handle, -1
        try:
            self._files.sync(handle)
            self._files.rename(self._temporary, self.path)
            self._files.sync_dir(self._directory)
            self._files.close(handle)
        except OSError as error:
            discard(self._files, handle, self._temporary)
            raise disk_error(self.path, error) from error

    def abort(self) -> None:
        """Remove what was written; nothing happens if it is finished or gone already."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            discard(self._files, handle, self._temporary)

    def _put(self, kind: int, fields: tuple[object, ...]) -> None:
        self._append(kind, cast(bytes, msgpack.packb(fields)))

    def _append(self, kind: int, payload: bytes) -> None:
        if self._handle < 0:
            raise ValueError(f"{self.path} is no longer being written")
        try:
            write_all(self._files, self._handle, self._framer.frame(kind, self._chunks, payload))
        except OSError as error:
            self.abort()
            raise disk_error(self.path, error) from error


class Header(NamedTuple):
    """What a snapshot file says about itself."""

    cluster_id: int
    meta: SnapshotMeta
    log_end: int  # where the log of its writer ended when the snapshot was made


class Reader:
    """One snapshot file, frame by frame. The header is read at once; raises Corrupt."""

    def __init__(self, files: Files, path: str) -> None:
        self._frames = FrameReader(files, path, MAX_SNAPSHOT_CHUNK_BYTES, DAMAGED)
        try:
            self.header = self._header()
        except Corrupt:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._frames.close()

    def chunks(self) -> Iterator[bytes]:
        """The chunks in order; ends normally only behind a right trailer and the file's end."""
        end = yield from self._frames.chunks(Kind.CHUNK)
        if end.kind != Kind.TRAILER or unpack(end.payload) != [end.chunks, end.total_bytes]:
            raise self._frames.corrupt("trailer does not fit the chunks")

    def _header(self) -> Header:
        kind, payload = self._frames.next()
        try:
            form, cluster, log_end, fields = unpack(payload)
            meta = decode_meta(fields)
        except (TypeError, ValueError) as error:
            raise self._frames.corrupt(f"unknown header: {error}") from error
        if (kind, form) != (Kind.HEADER, FORMAT):
            raise self._frames.corrupt("header of another format")
        if type(cluster) is not int or type(log_end) is not int:
            raise self._frames.corrupt("header with a field of another type")
        return Header(cluster, meta, log_end)


def read_chunks(
    files: Files, directory: str, cluster_id: int, meta: SnapshotMeta
) -> Iterator[bytes]:
    """The chunks of a snapshot, each proved before it is given; raises Corrupt where that fails,
    also after some were given: what was built from them is then to be thrown away."""
    path = f"{directory}/{snapshot_name(meta)}"
    reader = Reader(files, path)
    try:
        if reader.header.cluster_id != cluster_id:
            raise Corrupt(path, 0, "snapshot of another cluster", DAMAGED)
        if reader.header.meta != meta:
            raise Corrupt(path, 0, "meta data differs from what the log recorded", DAMAGED)
        yield from reader.chunks()
    finally:
        reader.close()


def verify(files: Files, directory: str, cluster_id: int, meta: SnapshotMeta) -> None:
    """Read all of a snapshot file; raises Corrupt unless it is whole and the one meant."""
    for _ in read_chunks(files, directory, cluster_id, meta):
        pass


def prove(files: Files, path: str, cluster_id: int) -> None:
    """Read all of any snapshot file of a cluster; raises Corrupt unless it is whole and bears the
    right name."""
    reader = Reader(files, path)
    try:
        if reader.header.cluster_id != cluster_id:
            raise Corrupt(path, 0, "snapshot of another cluster", DAMAGED)
        if not path.endswith(snapshot_name(reader.header.meta)):
            raise Corrupt(path, 0, "snapshot of another entry than its name says", DAMAGED)
        for _ in reader.chunks():
            pass
    finally:
        reader.close()


def is_of_own_log(files: Files, directory: str, cluster_id: int, index: int, term: int) -> bool:
    """Whether the log of this member held the entries of this snapshot when it was made, so that
    it was not received. False also if its header cannot be read."""
    try:
        reader = Reader(files, f"{directory}/{term:016x}-{index:016x}{SUFFIX}")
    except Corrupt:
        return False
    reader.close()
    return reader.header.cluster_id == cluster_id and reader.header.log_end >= index
