"""What a client may raise: refused, certainly not done, or perhaps done.

    ClientError
    +-- EtcdError             the server refused: nothing was done; carries code, cause, index
    |   +-- KeyNotFound 100, CompareFailed 101, NotAFile 102, NotADirectory 104, KeyExists 105,
    |   |   RootReadOnly 107, DirectoryNotEmpty 108, Unauthorized 110, ValueRequired 200, 201,
    |   |   InvalidRequest (202 to 212), WatcherCleared 400, EventIndexCleared 401
    |   +-- AuthError           the auth routes refused; a text, no code
    |   +-- MembershipError     the members routes refused; a text, no code
    +-- DidNotHappen          no server took the request; it may be repeated
    +-- OutcomeUnknown        a change was sent, and nobody said what became of it
    +-- ReadFailed            a read had no answer in time; nothing depends on it
    +-- LockLost, LeaseLost   what was held is held no longer
    +-- LockTimeout           a lock, or an election, was not won in time

`OutcomeUnknown` is not a failure: the change may have been made, may still be made, or never will
be. Who must know reads the key with `quorum=True`, or makes changes that can be repeated
(compare-and-swap). Error 300 to 399 of a server (raft internals, elections) is `DidNotHappen` or
`OutcomeUnknown`, by what its cause says. (keys-api, section 12.)
"""

from __future__ import annotations

from typing import Final

from kvraft.errors import KvraftError


class ClientError(KvraftError):
    """Anything a client raises on purpose."""


class EtcdError(ClientError):
    """The server refused a request: nothing has changed.

    `code` is the v2 error code, 0 where the route has none; `index` the store's index then.
    """

    def __init__(self, code: int, message: str, cause: str = "", index: int = 0) -> None:
        detail = f" ({cause})" if cause else ""
        place = f" [{index}]" if index else ""
        super().__init__(f"{f'{code}: ' if code else ''}{message}{detail}{place}")
        self.code = code
        self.message = message
        self.cause = cause
        self.index = index


class KeyNotFound(EtcdError):
    """100: the key, or a directory above it, does not exist."""


class CompareFailed(EtcdError):
    """101: the key is not what the compare-and-swap expected."""


class NotAFile(EtcdError):
    """102: the key is a directory."""


class NotADirectory(EtcdError):
    """104: the key, or one above it, is a file."""


class KeyExists(EtcdError):
    """105: the key to be created exists."""


class RootReadOnly(EtcdError):
    """107: the root cannot be changed."""


class DirectoryNotEmpty(EtcdError):
    """108: a directory with content is only deleted recursively."""


class Unauthorized(EtcdError):
    """110: the credentials are wrong or do not suffice."""


class ValueRequired(EtcdError):
    """200, 201: a value is missing; 201 is about the one to compare with, which may not be ""."""


class InvalidRequest(EtcdError):
    """202 to 212: a parameter is malformed or does not go with the others."""


class WatcherCleared(EtcdError):
    """400: the server gave the watch up."""


class EventIndexCleared(EtcdError):
    """401: the history no longer reaches back to the index that was asked for."""


class AuthError(EtcdError):
    """Users, roles or the switch of authentication: refused."""


class MembershipError(EtcdError):
    """A change of the members: refused."""


class DidNotHappen(ClientError):
    """No server took the request, for certain: it may be repeated."""


class OutcomeUnknown(ClientError):
    """A change may have happened, or may still happen: see the module's description."""


class ReadFailed(ClientError):
    """A read was not answered by any endpoint in time."""


class LockLost(ClientError):
    """What was held (a lock, a leadership) is held no longer: its key was not kept alive."""


class LockTimeout(ClientError, TimeoutError):
    """The lock, or the election, was not won in the time that was given."""


class LeaseLost(ClientError):
    """Keys of a lease are lost; `keys` tells why for each."""

    def __init__(self, keys: dict[str, str]) -> None:
        super().__init__("; ".join(f"{key}: {why}" for key, why in sorted(keys.items())))
        self.keys = keys


_BY_CODE: Final[dict[int, type[EtcdError]]] = {
    100: KeyNotFound,
    101: CompareFailed,
    102: NotAFile,
    104: NotADirectory,
    105: KeyExists,
    107: RootReadOnly,
    108: DirectoryNotEmpty,
    110: Unauthorized,
    200: ValueRequired,
    201: ValueRequired,
    400: WatcherCleared,
    401: EventIndexCleared,
    **dict.fromkeys(range(202, 213), InvalidRequest),
}


def etcd_error(code: int, message: str, cause: str = "", index: int = 0) -> EtcdError:
    """The error of the class that its code names; `EtcdError` itself for an unknown code."""
    return _BY_CODE.get(code, EtcdError)(code, message, cause, index)
