"""The numbered errors of the v2 API: codes, messages, status, and their documents.

This is the only place that knows the numbers; the store names its errors by kind, and the
parsing of parameters names them by the constants below. (keys-api, section 12.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kvraft.store.errors import ErrorKind
from kvraft.store.jsontext import escape


class ErrorCode(NamedTuple):
    """One row of the table of errors, with the start of its document."""

    number: int
    status: int
    start: bytes
    message: str


def _row(number: int, status: int, message: str) -> ErrorCode:
    start = b'{"errorCode":%d,"message":"%b"' % (number, escape(message.encode()))
    return ErrorCode(number, status, start, message)


KEY_NOT_FOUND: Final = _row(100, 404, "Key not found")
COMPARE_FAILED: Final = _row(101, 412, "Compare failed")
NOT_A_FILE: Final = _row(102, 403, "Not a file")
NOT_A_DIRECTORY: Final = _row(104, 400, "Not a directory")
KEY_EXISTS: Final = _row(105, 412, "Key already exists")
ROOT_READ_ONLY: Final = _row(107, 400, "Root is read only")
DIRECTORY_NOT_EMPTY: Final = _row(108, 403, "Directory not empty")
UNAUTHORIZED: Final = _row(110, 401, "The request requires user authentication")
PREV_VALUE_REQUIRED: Final = _row(201, 400, "PrevValue is Required in POST form")
TTL_NOT_A_NUMBER: Final = _row(202, 400, "The given TTL in POST form is not a number")
INDEX_NOT_A_NUMBER: Final = _row(203, 400, "The given index in POST form is not a number")
INVALID_FIELD: Final = _row(209, 400, "Invalid field")
INVALID_FORM: Final = _row(210, 400, "Invalid POST form")
REFRESH_VALUE: Final = _row(211, 400, "Value provided on refresh")
REFRESH_TTL_REQUIRED: Final = _row(212, 400, "A TTL must be provided on refresh")
RAFT_INTERNAL: Final = _row(300, 500, "Raft Internal Error")
# Not one of the original's: it has no limit on logins. The status sends clients to another member.
TOO_MANY_LOGINS: Final = _row(300, 503, "Raft Internal Error")
EVENT_INDEX_CLEARED: Final = _row(401, 400, "The event in requested index is outdated and cleared")

STORE_ERRORS: Final = {
    ErrorKind.KEY_NOT_FOUND: KEY_NOT_FOUND,
    ErrorKind.COMPARE_FAILED: COMPARE_FAILED,
    ErrorKind.NOT_A_FILE: NOT_A_FILE,
    ErrorKind.NOT_A_DIRECTORY: NOT_A_DIRECTORY,
    ErrorKind.KEY_EXISTS: KEY_EXISTS,
    ErrorKind.ROOT_READ_ONLY: ROOT_READ_ONLY,
    ErrorKind.DIRECTORY_NOT_EMPTY: DIRECTORY_NOT_EMPTY,
    ErrorKind.HISTORY_CLEARED: EVENT_INDEX_CLEARED,
    ErrorKind.PATH_TOO_DEEP: INVALID_FIELD,
}


def error_body(code: ErrorCode, cause: bytes, index: int) -> bytes:
    """The document of an error; an empty cause is left out."""
    if cause:
        return b'%b,"cause":"%b","index":%d}\n' % (code.start, escape(cause), index)
    return b'%b,"index":%d}\n' % (code.start, index)
