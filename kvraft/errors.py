"""The exception tree of the package: whose fault it is decides what is done about it.

    KvraftError
    +-- CallerError      the request cannot be served as it stands: answer it, change nothing
    +-- PeerError        what a peer sent is not ours or not whole: drop the connection
    +-- OverloadError    a bound is reached: refuse now, the same call may succeed later
    |   +-- DiskFull     (also a StorageError) no space; nothing is lost, nothing half-written
    +-- StorageError     the stored state cannot be used or kept
        +-- Locked           another process works on this data directory
        +-- BadPermissions   others may read or write the files; the message names the chmod
        +-- ForeignData      what is there was not written by this program or for this use
        +-- Corrupt          stored bytes are damaged or missing; carries path, offset, advice
        +-- DataLost         entries that this member acknowledged are not in its log any more
        +-- DiskFailed       a sync or write failed: what is on disk is unknown, the process ends

Only `CallerError`, `PeerError` and `OverloadError` are survived. Any other `StorageError` ends
the process with its message: a member that cannot trust its disk must not vote. Each package
derives its own errors from these; this module knows none of them.
"""

from __future__ import annotations


class KvraftError(Exception):
    """Anything this package raises on purpose."""


class CallerError(KvraftError):
    """The caller asked for what cannot be done; state is unchanged."""


class PeerError(KvraftError):
    """A peer sent what no correct peer sends."""


class OverloadError(KvraftError):
    """A bound is reached; the call had no effect and may be repeated later."""


class StorageError(KvraftError):
    """The stored state of this member cannot be used or kept."""


class Locked(StorageError):
    """Another process holds the data directory."""


class BadPermissions(StorageError):
    """A file or directory is open to others."""

    def __init__(self, path: str, mode: int, wanted: int) -> None:
        super().__init__(
            f"{path} has mode {mode:04o}, which lets other users in; run: chmod {wanted:o} {path}"
        )
        self.path = path


class ForeignData(StorageError):
    """The data directory holds something else than the state of one member of ours."""


class Corrupt(StorageError):
    """Stored bytes are damaged or missing, and cutting them off could lose acknowledged data."""

    def __init__(self, path: str, offset: int, reason: str, advice: str) -> None:
        place = f" (at byte {offset})" if offset else ""
        super().__init__(f"{path}: {reason}{place}; {advice}")
        self.path = path
        self.offset = offset
        self.reason = reason
        self.advice = advice


class DataLost(StorageError):
    """The log is older than what this member told others: it was emptied or set back."""

    def __init__(self, acknowledged: int, last: int) -> None:
        super().__init__(
            f"this member acknowledged log entries up to {acknowledged}, but its log ends at "
            f"{last}: its data were lost, or replaced by an older copy"
        )


class DiskFailed(StorageError):
    """A disk call failed; after a failed sync a repeated one proves nothing."""


class DiskFull(StorageError, OverloadError):
    """No space is left; everything acknowledged is intact and the call may be repeated."""
