"""Why a first start by discovery or DNS ended, with the lines that tell the operator.

    DiscoveryError        `lines` is exactly what is logged before the process exits with status 1
    +-- ClusterFull       others hold all the places; the caller may become a proxy instead
    +-- DuplicateId       these peer URLs have been registered under this token before
    +-- DiscoveryFailed   anything else; `text` says what
    +-- SrvFailed         the records in DNS do not make a cluster with this member

The texts and levels are those of etcd 2.3 (discovery reference, sections 4 and 9).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from kvraft.errors import KvraftError
from kvraft.server.logs import LogLine

FULL: Final = "discovery: cluster is full"


class DiscoveryError(KvraftError):
    """The first members of the cluster could not be found out."""

    def __init__(self, text: str, lines: Iterable[LogLine]) -> None:
        super().__init__(text)
        self.text = text
        self.lines = tuple(lines)


class ClusterFull(DiscoveryError):
    """The token has as many registrations as it has places, and this member's is none of them."""

    def __init__(self, url: str) -> None:
        super().__init__(FULL, failure(url, FULL))


class DuplicateId(DiscoveryError):
    """A member with the same peer URLs has registered under this token."""

    def __init__(self, url: str, name: str, data_dir: str) -> None:
        text = f'member "{name}" has previously registered with discovery service token ({url}).'
        dirs = f"given data dir ({data_dir})."
        super().__init__(
            text,
            (
                _error(text),
                _error(f"But etcd could not find valid cluster configuration in the {dirs}"),
                _info("Please check the given data dir path if the previous bootstrap succeeded"),
                _info("or use a new discovery token if the previous bootstrap failed."),
            ),
        )


class DiscoveryFailed(DiscoveryError):
    """The service could not be used, or what it holds makes no cluster."""


class SrvFailed(DiscoveryError):
    """DNS holds no cluster that this member belongs to."""

    def __init__(self, text: str, before: Iterable[LogLine] = ()) -> None:
        last = LogLine(logging.CRITICAL, "etcdmain", f"error setting up initial cluster: {text}")
        super().__init__(text, (*before, last))


def failed_to_join(url: str, text: str) -> DiscoveryFailed:
    """The usual end of a member's attempt: the reason, and what to do."""
    return DiscoveryFailed(text, failure(url, text))


def fatal(text: str) -> DiscoveryFailed:
    """An end that one line explains."""
    return DiscoveryFailed(text, (LogLine(logging.CRITICAL, "etcdmain", text),))


def duplicate_name(url: str) -> DiscoveryFailed:
    """Two of the registrations name the same member."""
    text = f"member with duplicated name has registered with discovery service token({url})."
    advice = "please do not reuse the discovery token and generate a new one to bootstrap the"
    return DiscoveryFailed(
        text,
        (
            _error(text),
            _error("please check (cURL) the discovery token for more information."),
            _error(f"{advice} cluster."),
        ),
    )


def failure(url: str, text: str) -> tuple[LogLine, ...]:
    """The lines of a failed attempt to join by a token."""
    return (
        _error(f"failed to join discovery cluster ({text})"),
        _info(f"discovery token {url} was used, but failed to bootstrap the cluster."),
        _info("please generate a new discovery token and try to bootstrap again."),
    )


def _error(text: str) -> LogLine:
    return LogLine(logging.ERROR, "etcdmain", text)


def _info(text: str) -> LogLine:
    return LogLine(logging.INFO, "etcdmain", text)
