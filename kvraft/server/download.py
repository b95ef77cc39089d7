"""Fetching a backup from a running member. Blocks; only the command line uses it.

What arrives is written piece by piece and proved before it gets its name, so that a file of that
name is always a whole backup.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from kvraft.limits import BACKUP_READ_TIMEOUT_S
from kvraft.server.backup import write_file
from kvraft.storage.backups import BackupInfo, open_state

if TYPE_CHECKING:
    from kvraft.storage import Files

_READ_BYTES: Final = 256 << 10
_MAX_ERROR_BYTES: Final = 64 << 10

Progress = Callable[[int, float], None]
"""Told the bytes so far and the seconds it took."""


class DownloadFailed(Exception):
    """No backup came; the text says why."""


class Source(NamedTuple):
    """Where to fetch it, and as whom."""

    endpoints: Sequence[str]
    user: str = ""  # name:password
    context: ssl.SSLContext | None = None
    local: bool = False  # what this member has, even if nobody leads


def download(files: Files, source: Source, path: str, progress: Progress) -> BackupInfo:
    """Fetch a backup from the first member that sends one.

    Raises DownloadFailed, Corrupt if what came is not right, DiskFull or DiskFailed.
    """
    reasons = []
    for endpoint in source.endpoints:
        try:
            with _open(endpoint, source) as answer:
                write_file(files, path, _pieces(answer, progress), lambda new: _prove(files, new))
        except (OSError, ssl.SSLError, http.client.HTTPException, _Refusal) as error:
            reasons.append(f"{endpoint}: {_reason(error)}")
            continue
        state = open_state(files, path)
        state.close()
        return state.info
    raise DownloadFailed("; ".join(reasons))


class _Refusal(Exception):
    """The member answered, but not with a backup."""


def _open(endpoint: str, source: Source) -> contextlib.closing[http.client.HTTPResponse]:
    target = urlsplit(endpoint)
    if target.scheme not in ("http", "https") or not target.hostname:
        raise _Refusal("this is no URL of a member, such as http://127.0.0.1:2379")
    connection: http.client.HTTPConnection
    if target.scheme == "https":
        connection = http.client.HTTPSConnection(
            target.hostname, target.port, timeout=BACKUP_READ_TIMEOUT_S, context=source.context
        )
    else:
        connection = http.client.HTTPConnection(
            target.hostname, target.port, timeout=BACKUP_READ_TIMEOUT_S
        )
    headers = {"Connection": "close"}
    if source.user:
        word = base64.b64encode(source.user.encode()).decode()
        headers["Authorization"] = f"Basic {word}"
    query = "" if source.local else "?quorum=true"
    try:
        connection.request("GET", f"/v2/admin/backup{query}", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise _Refusal(_explain(answer.status, answer.read(_MAX_ERROR_BYTES)))
    except BaseException:
        connection.close()
        raise
    return contextlib.closing(answer)


def _pieces(answer: http.client.HTTPResponse, progress: Progress) -> Iterator[bytes]:
    began_s = time.monotonic()
    total = 0
    while True:
        try:
            piece = answer.read1(_READ_BYTES)
        except OSError as error:
            # Not one of the disk, which is what the writer would take it for.
            raise _Refusal(f"the connection broke off: {_reason(error)}") from error
        if not piece:
            return
        total += len(piece)
        yield piece
        progress(total, time.monotonic() - began_s)


def _prove(files: Files, path: str) -> None:
    state = open_state(files, path)
    try:
        for _ in state.chunks():
            pass
    finally:
        state.close()


def _explain(status: int, body: bytes) -> str:
    try:
        text = str(json.loads(body)["message"])
    except (ValueError, LookupError, TypeError):
        text = body.decode("utf-8", "replace").strip()[:200]
    if status == 401:
        return f"{text}; auth is on: give --user root"
    if status == 404:
        return "this server makes no backups (is it a kvraft member?)"
    return f"{status}: {text}"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {BACKUP_READ_TIMEOUT_S} s"
    if isinstance(error, http.client.HTTPException):
        return f"the answer broke off ({error!r})"
    return str(getattr(error, "strerror", None) or error)
