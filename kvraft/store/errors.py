"""What the key space refuses, and what it cannot read back.

    KvraftError
    +-- CallerError
    |   +-- StoreError    the operation was refused: it did not happen
    +-- MalformedRequest  bytes of a log entry that are no request
    +-- CorruptSnapshot   bytes of a snapshot that are no snapshot

Must not know: the numbers, messages and HTTP statuses that clients see; those belong to the
API. Invariant: a StoreError carries the store index at the moment of the refusal, which is the
same on every member for a request from the log.
"""

from __future__ import annotations

from enum import Enum, auto

from kvraft.errors import CallerError, KvraftError

__all__ = ["CorruptSnapshot", "ErrorKind", "MalformedRequest", "StoreError"]


class ErrorKind(Enum):
    """The reasons for which an operation on the key space is refused."""

    KEY_NOT_FOUND = auto()
    COMPARE_FAILED = auto()
    NOT_A_FILE = auto()
    NOT_A_DIRECTORY = auto()
    KEY_EXISTS = auto()
    ROOT_READ_ONLY = auto()
    DIRECTORY_NOT_EMPTY = auto()
    HISTORY_CLEARED = auto()
    PATH_TOO_DEEP = auto()


class StoreError(CallerError):
    """An operation was refused and nothing has changed."""

    __slots__ = ("cause", "index", "kind")

    def __init__(self, kind: ErrorKind, cause: bytes, index: int) -> None:
        super().__init__(kind, cause, index)
        self.kind = kind
        self.cause = cause
        self.index = index

    def __str__(self) -> str:
        return f"{self.kind.name} ({self.cause.decode(errors='replace')}) [{self.index}]"


class MalformedRequest(KvraftError):
    """The payload of a log entry does not decode to a request."""


class CorruptSnapshot(KvraftError):
    """A snapshot chunk does not decode, or the chunks do not make a whole."""
