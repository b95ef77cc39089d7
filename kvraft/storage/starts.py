"""A number that is higher at each start of a member, whatever its clock says.

Request ids and forwarding sessions of one life must not be taken for those of another. The last
number is kept in `<data>/member/starts`; the clock, in seconds, only keeps numbers apart that
many requests have eaten into.
"""

from __future__ import annotations

import posixpath
from typing import Final

from kvraft.errors import Corrupt
from kvraft.storage.files import Files, disk_error, publish

_NAME: Final = "starts"
_MAX_BYTES: Final = 32


def next_start(files: Files, data_dir: str, unix_seconds: int) -> int:
    """The number of this start; durable on return."""
    directory = posixpath.join(posixpath.normpath(data_dir), "member")
    path = f"{directory}/{_NAME}"
    try:
        last = files.read(path)[:_MAX_BYTES] if files.exists(path) else b"0"
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        number = max(int(last) + 1, unix_seconds)
    except ValueError:
        advice = "remove the file if the clock of this machine is right"
        raise Corrupt(path, 0, "not a number", advice) from None
    files.close(publish(files, directory, _NAME, b"%d\n" % number))
    return number
