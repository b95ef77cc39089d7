"""Examining a data directory before a start: whose it is, whether it is usable, how fast it syncs.

Reads, and writes to one file that has no name by then: nothing of it is left, whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from kvraft import limits
from kvraft.errors import StorageError
from kvraft.proxy import state as proxy_state
from kvraft.server.findings import Finding, error, ok, warning
from kvraft.server.ids import format_id
from kvraft.server.modes import Mode, lock_held
from kvraft.storage import PosixFiles, Storage, survey
from kvraft.storage.datadir import Paths
from kvraft.storage.files import DIRECTORY_MODE, parent

if TYPE_CHECKING:
    from kvraft.server.config import ServerConfig

_SYNCS: Final = 50
_BLOCK: Final = b"\xa5" * 4096
_FINE_MS: Final = 10.0
"""A 99th percentile that nobody notices; what the etcd manuals ask of a disk."""
_PROBE: Final = ".kvraft-check.tmp"
_OTHERS: Final = 0o077
_MOUNTS: Final = "/proc/self/mountinfo"
_IN_MEMORY: Final = frozenset(("tmpfs", "ramfs"))
_OVER_NETWORK: Final = frozenset(("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs"))
_LAYERED: Final = frozenset(("overlay", "aufs"))


def check_disk(
    config: ServerConfig, mode: Mode, own_uid: int, timer: Callable[[], float] = time.perf_counter
) -> Iterator[Finding]:
    """Everything about the directories of these settings."""
    files = PosixFiles()
    paths = Paths.of(config.data_dir, config.wal_dir)
    yield from _content(files, config, mode, paths)
    yield from _modes(files, paths, own_uid)
    places = dict.fromkeys((paths.data, paths.wal) if config.wal_dir else (paths.data,))
    for place in places:
        there = _existing(files, place)
        if there != place:
            yield ok(f"{place} does not exist and will be created in {there}.")
        if not files.may_write(there):
            yield error(
                f"This user may not create files in {there}; give the directory to the user that "
                "runs kvraft, or name another with --data-dir."
            )
            continue
        yield from _space(files, there)
        yield from _file_system(files, there)
        if mode is not Mode.PROXY:
            yield from _speed(files, there, config.heartbeat_ms, timer)


def _existing(files: PosixFiles, path: str) -> str:
    """The directory itself, or the nearest one above that exists."""
    while not files.exists(path):
        path = parent(path)
    return path


# --- what is in it ----------------------------------------------------------------------


def _content(
    files: PosixFiles, config: ServerConfig, mode: Mode, paths: Paths
) -> Iterator[Finding]:
    try:
        if mode is Mode.PROXY:
            saved = proxy_state.load(config.data_dir)
            urls = " ".join(saved or ())
            yield ok(f"{paths.data} belongs to a proxy that knows the members {urls or '-'}.")
        elif Storage.exists(files, config.data_dir, config.wal_dir):
            lock = lock_held(files, config.data_dir, config.wal_dir)
            if lock:
                yield error(
                    f"Another process works on {paths.data} (it holds {lock}); stop it first, or "
                    "name another --data-dir."
                )
            yield from _member(files, config, paths)
        else:
            yield ok(f"There is no member in {paths.data} yet: a start makes a new one.")
    except StorageError as problem:
        yield error(f"The data directory cannot be used: {problem}.")


def _member(files: PosixFiles, config: ServerConfig, paths: Paths) -> Iterator[Finding]:
    found = survey.survey(files, config.data_dir, config.wal_dir)
    recovered = found.recovered
    own, cluster = (format_id(i) for i in recovered.identity)
    yield ok(
        f"{paths.data} belongs to member {own} of cluster {cluster}, at commit index "
        f"{recovered.hard_state.commit}; {found.segments} log segments, {found.snapshots} "
        "snapshots. It will be restarted; flags about founding a cluster have no effect."
    )
    for text in found.problems:
        yield warning(f"There is damage that a start would get around: {text}.")
    for text in [*found.remarks, *recovered.repaired]:
        yield warning(f"{text}.")
    newest = max(files.modified_s(f"{paths.wal}/{name}") for name in files.list_dir(paths.wal))
    if newest > time.time() + limits.CLOCK_BACKWARD_S:
        yield warning(
            "The clock of this machine is behind the newest file of the log, so it was set back "
            "or has not been set yet: check that the time service runs."
        )


def _modes(files: PosixFiles, paths: Paths, own_uid: int) -> Iterator[Finding]:
    for path in dict.fromkeys(paths):
        if not files.exists(path):
            continue
        mode = files.mode(path)
        if mode & _OTHERS:
            yield error(
                f"{path} has mode {mode:04o}, which lets other users in; run: "
                f"chmod {DIRECTORY_MODE:o} {path}"
            )
        owner = files.owner(path)
        if owner != own_uid:
            yield warning(
                f"{path} belongs to user {owner}, and this is user {own_uid}: files made now could "
                "not be read when kvraft runs as the other one."
            )


# --- what it stands on ------------------------------------------------------------------


def _space(files: PosixFiles, path: str) -> Iterator[Finding]:
    free = files.free_bytes(path)
    text = f"{free / 2**30:.1f} GiB are free in {path}"
    if free < limits.DISK_TOO_FULL_BYTES:
        yield error(f"Only {text}; the log needs at least a segment of 64 MB: make room.")
    elif free < limits.DISK_NEARLY_FULL_BYTES:
        yield warning(f"Only {text}; a full disk stops all writes: make room.")
    else:
        yield ok(f"{text}.")


def _file_system(files: PosixFiles, path: str) -> Iterator[Finding]:
    kind = _kind_of_file_system(files, path)
    if kind in _IN_MEMORY:
        yield warning(
            f"{path} is on {kind}, in memory: everything is gone when the machine restarts. Only "
            "for trying things out."
        )
    elif kind in _OVER_NETWORK or kind.startswith("fuse"):
        yield warning(
            f"{path} is on {kind}: locks and syncs over a network may promise more than they keep; "
            "use a local disk."
        )
    elif kind in _LAYERED:
        yield warning(
            f"{path} is on {kind}, inside of a container's image: it goes when the container goes; "
            "mount a volume there."
        )
    elif kind:
        yield ok(f"{path} is on {kind}.")


def _kind_of_file_system(files: PosixFiles, path: str) -> str:
    """The type of the mount that a path lies in; empty where the system does not tell."""
    try:
        lines = files.read(_MOUNTS).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    wanted = files.real_path(path)
    found, kind = "", ""
    for line in lines:
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - ext4 /dev/sda1 rw; proc(5)
        front, _dash, back = line.partition(" - ")
        point = front.split()[4].replace("\\040", " ")
        inside = point == "/" or wanted == point or wanted.startswith(point + "/")
        if inside and len(point) >= len(found):
            found, kind = point, back.split()[0]
    return kind


# --- how fast it is ---------------------------------------------------------------------


def _speed(
    files: PosixFiles, directory: str, heartbeat_ms: int, timer: Callable[[], float]
) -> Iterator[Finding]:
    try:
        times_ms = sorted(_sync_times_ms(files, directory, timer))
    except OSError as problem:
        yield error(f"Writing in {directory} failed: {problem.strerror or problem}.")
        return
    median, worst = times_ms[len(times_ms) // 2], times_ms[-1 - len(times_ms) // 100]
    text = (
        f"Syncing 4 KiB in {directory} takes {median:.1f} ms (median) and {worst:.1f} ms (99 % are "
        f"faster)"
    )
    if worst <= max(_FINE_MS, heartbeat_ms / 10):
        yield ok(f"{text}: fine.")
    elif worst <= heartbeat_ms:
        yield warning(
            f"{text}: slow, each write waits for a sync; a faster disk, or one of its own for the "
            "log (--wal-dir), would help."
        )
    else:
        yield warning(
            f"{text}: too slow for a heartbeat every {heartbeat_ms} ms, leaders will be lost; use "
            "a faster disk, or raise --heartbeat-interval and --election-timeout on all members."
        )


def _sync_times_ms(
    files: PosixFiles, directory: str, timer: Callable[[], float]
) -> Iterator[float]:
    path = f"{directory}/{_PROBE}"
    handle = files.create(path)
    try:
        files.remove(path)  # from now on the file is gone as soon as it is closed
        for _sync in range(_SYNCS):
            begin_s = timer()
            files.write(handle, _BLOCK)
            files.sync(handle)
            yield (timer() - begin_s) * 1000
    finally:
        files.close(handle)


def would_bootstrap(config: ServerConfig) -> bool:
    """Whether a start would found or join a cluster; False also if that cannot be told."""
    try:
        return not Storage.exists(PosixFiles(), config.data_dir, config.wal_dir)
    except StorageError:
        return False
