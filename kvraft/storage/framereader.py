"""Reading a file of frames from front to back, for files that are not held as a whole.

Snapshot files and backups are read this way. This module must not know what the payloads mean, and
it does not write.

Invariants: a payload is given only after its own checksum and its place in the chain were checked;
memory is bounded by one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

from kvraft.errors import Corrupt
from kvraft.storage.files import Files
from kvraft.storage.record import HEADER_BYTES, OVERHEAD_BYTES, Unframer


class Ending(NamedTuple):
    """The frame behind the chunks of a file, and what came before it."""

    kind: int
    payload: bytes
    chunks: int
    total_bytes: int


class FrameReader:
    """One open file. Raises Corrupt, with the advice it was given, for whatever does not fit."""

    __slots__ = ("_advice", "_files", "_handle", "_max_payload_bytes", "_unframer", "path")

    def __init__(self, files: Files, path: str, max_payload_bytes: int, advice: str) -> None:
        self.path = path
        self._files = files
        self._advice = advice
        self._max_payload_bytes = max_payload_bytes
        self._unframer = Unframer()
        self._handle = -1
        try:
            self._handle = files.open_read(path)
        except OSError as error:
            raise self.corrupt(error.strerror or str(error)) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._handle >= 0:
            handle, self._handle = self._handle, -1
            self._files.close(handle)

    def next(self) -> tuple[int, bytes]:
        """Kind and payload of the next frame."""
        offset = self._unframer.offset
        head = self._read(HEADER_BYTES, offset)
        header = self._unframer.header(head)
        if header is None:
            cut_off = len(head) < HEADER_BYTES
            raise self.corrupt("the file is cut off" if cut_off else "bad record header")
        if header.length > self._max_payload_bytes:
            raise self.corrupt(f"record of {header.length} bytes")
        rest_bytes = OVERHEAD_BYTES - HEADER_BYTES + header.length
        rest = self._read(rest_bytes, offset + HEADER_BYTES)
        payload = self._unframer.accept(header, head, rest)
        if payload is None:
            cut_off = len(rest) < rest_bytes
            raise self.corrupt("the file is cut off" if cut_off else "record with a wrong checksum")
        return header.kind, payload

    def chunks(
        self, chunk_kind: int, seen: Callable[[bytes], None] | None = None
    ) -> Generator[bytes, None, Ending]:
        """The payloads of this kind; returns the frame that ends them, the last one of the file.

        Each payload is shown to `seen` before it is given.
        """
        count = total_bytes = 0
        while True:
            kind, payload = self.next()
            if kind != chunk_kind:
                break
            count += 1
            total_bytes += len(payload)
            if seen is not None:
                seen(payload)
            yield payload
        if self._read(1, self._unframer.offset):
            raise self.corrupt("bytes behind the end")
        return Ending(kind, payload, count, total_bytes)

    def corrupt(self, reason: str) -> Corrupt:
        """The error for a file that is wrong at the present place."""
        return Corrupt(self.path, self._unframer.offset, reason, self._advice)

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return self._files.read_at(self._handle, size, offset)
        except OSError as error:
            raise self.corrupt(error.strerror or str(error)) from error
