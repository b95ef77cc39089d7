"""What a proxy keeps: the peer URLs of the members it found last, in `<data-dir>/proxy/cluster`.

The directory also says that this data directory belongs to a proxy. The file is one JSON document
without a line feed, readable by its owner only, and replaced as a whole; a proxy that has it needs
no other source of members. (server.md, sections 2 and 6.)
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Sequence
from typing import Final

from kvraft.api.response import go_json
from kvraft.errors import Corrupt
from kvraft.server.urls import UrlError, parse_urls
from kvraft.storage.files import Files, PosixFiles, disk_error, write_all

DIRECTORY: Final = "proxy"
_NAME: Final = "cluster"
_NEXT: Final = "cluster.bak"  # what etcd 2.3 calls the new file until it is renamed
_ADVICE: Final = "remove it to let the proxy look for the members again"


def cluster_file(data_dir: str) -> str:
    """The path of the file."""
    return posixpath.join(data_dir, DIRECTORY, _NAME)


def load(data_dir: str, files: Files | None = None) -> tuple[str, ...] | None:
    """The peer URLs that were saved; None if there is no file.

    Raises Corrupt for a file that does not name any, DiskFailed for one that cannot be read.
    """
    files = files or PosixFiles()
    path = cluster_file(data_dir)
    try:
        if not files.exists(path):
            return None
        text = files.read(path)
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        document = json.loads(text)
        urls = document["PeerURLs"]
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise Corrupt(path, 0, "PeerURLs is not a list of URLs", _ADVICE)
        return parse_urls(urls)
    except UrlError as error:
        raise Corrupt(path, 0, str(error), _ADVICE) from None
    except (ValueError, LookupError, TypeError, RecursionError):
        raise Corrupt(path, 0, "not a list of peer URLs in JSON", _ADVICE) from None


def save(data_dir: str, urls: Sequence[str], files: Files | None = None) -> None:
    """Replace the file; durable on return.

    Raises DiskFull or DiskFailed, with the old file intact.
    """
    files = files or PosixFiles()
    directory = posixpath.join(data_dir, DIRECTORY)
    path, fresh = posixpath.join(directory, _NAME), posixpath.join(directory, _NEXT)
    handle = -1
    try:
        handle = files.create(fresh)
        write_all(files, handle, go_json({"PeerURLs": list(urls)}))
        files.sync(handle)
        files.close(handle)
        handle = -1
        files.rename(fresh, path)
        files.sync_dir(directory)
    except OSError as error:
        if handle >= 0:
            files.close(handle)
        raise disk_error(path, error) from error


def prepare(data_dir: str, files: Files | None = None) -> None:
    """Make the data directory that of a proxy. Raises DiskFull or DiskFailed."""
    files = files or PosixFiles()
    path = posixpath.join(data_dir, DIRECTORY)
    missing = []
    try:
        while path and not files.exists(path):
            missing.append(path)
            path = posixpath.dirname(path)
        for directory in reversed(missing):
            files.make_dir(directory)
            files.sync_dir(posixpath.dirname(directory) or ".")
    except OSError as error:
        raise disk_error(path, error) from error
