"""Recognising what etcd itself has written, before anything in its directory is touched.

The names in our data directory are etcd's, so that operators find their way; the contents are not.
An etcd 2.x or 3.x directory must be refused with its migration named, not called corrupt.

etcd's log begins with a frame of 8 bytes for the length (little endian, the padding of 3.x in the
topmost byte) and a protobuf record of type 4, its running checksum.
"""

from __future__ import annotations

from typing import Final

from kvraft.errors import ForeignData
from kvraft.storage.files import Files, disk_error
from kvraft.storage.record import MAGIC

_LENGTH_BYTES: Final = 8
_CHECKSUM_RECORD: Final = b"\x08\x04"
_PADDED: Final = 0x80
MIGRATION: Final = (
    "kvraft keeps a format of its own and has changed nothing here. To move: leave this directory"
    " to etcd, start kvraft with another, empty --data-dir, and copy the keys through the v2 API"
    " while both run (docs/operations: moving from etcd)"
)


def refuse_etcd(files: Files, data_dir: str, snap_dir: str, segments: list[str]) -> None:
    """Raise ForeignData if these segments, or a file beside the snapshots, are etcd's."""
    if files.exists(f"{snap_dir}/db"):
        raise ForeignData(f"{data_dir} was written by etcd 3 ({snap_dir}/db); {MIGRATION}")
    for path in segments[:1]:
        try:
            handle = files.open_read(path)
            try:
                start = files.read_at(handle, _LENGTH_BYTES + len(_CHECKSUM_RECORD), 0)
            finally:
                files.close(handle)
        except OSError as error:
            raise disk_error(path, error) from error
        if not start.startswith(MAGIC) and start.endswith(_CHECKSUM_RECORD):
            version = "etcd 3" if start[_LENGTH_BYTES - 1] & _PADDED else "etcd 2"
            raise ForeignData(f"{data_dir} was written by {version} ({path}); {MIGRATION}")
