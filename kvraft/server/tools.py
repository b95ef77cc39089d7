"""`kvraft backup`, `kvraft verify`, `kvraft restore`: what operators run beside the members.

Exit codes: 0 done, 1 failed or damaged, 2 the command line cannot be read. What was asked for goes
to stdout; what went wrong, and what to do about it, to stderr.
"""

from __future__ import annotations

import argparse
import getpass
import ssl
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NoReturn

from kvraft.errors import KvraftError
from kvraft.server import config as configuration
from kvraft.server import restoring
from kvraft.server.backup import (
    Directory,
    backup_directory,
    backup_file,
    open_directory,
    patiently,
)
from kvraft.server.download import DownloadFailed, Source, download
from kvraft.server.ids import format_id
from kvraft.server.replay import Census, census_of, last_index
from kvraft.storage import PosixFiles, Storage, survey
from kvraft.storage.backups import BackupInfo
from kvraft.store.errors import CorruptSnapshot

_DEFAULT_ENDPOINT: Final = "http://127.0.0.1:2379"
_MIB: Final = 1 << 20

_BACKUP: Final = """\
Copy everything a cluster holds into one file, or a data directory into another one.

  of a running cluster, with every write that was acknowledged before:
    kvraft backup --endpoint http://10.0.0.1:2379 --out /backup/monday.backup
    kvraft backup --endpoint https://10.0.0.1:2379 --cacert ca.pem --user root --out m.backup
  of a member that cannot reach the others any more, what it has:
    kvraft backup --endpoint http://10.0.0.1:2379 --local --out m.backup
  of the files of a member, running or stopped:
    kvraft backup --data-dir /var/lib/kvraft --out m.backup
  of a data directory under new ids, as etcdctl does; to be started with --force-new-cluster:
    kvraft backup --data-dir /var/lib/kvraft --backup-dir /backup/kvraft
"""
_VERIFY: Final = """\
Read a backup, a snapshot file or a whole data directory, prove every byte of it, and say what it
holds. Changes nothing; the member may be running.

    kvraft verify /backup/monday.backup
    kvraft verify /var/lib/kvraft --wal-dir /ssd/wal
"""
_RESTORE: Final = """\
Make the data directory of a new cluster out of a backup. Keys, their indices and TTLs, users and
roles are kept. The ids are new, so that nothing of the old cluster is taken for a part of it.

Run it once for each member, with the same file and the same flags but for --name,
--initial-advertise-peer-urls and --data-dir; then start the members with these flags.

    kvraft restore monday.backup --data-dir /var/lib/kvraft

    kvraft restore monday.backup --data-dir /var/lib/kvraft --name a \\
        --initial-cluster a=http://10.0.0.1:2380,b=http://10.0.0.2:2380,c=http://10.0.0.3:2380 \\
        --initial-advertise-peer-urls http://10.0.0.1:2380
"""


def backup(argv: list[str]) -> int:
    """`kvraft backup`."""
    parser = _parser("backup", _BACKUP)
    parser.add_argument("--endpoint", help=f"member to ask (default {_DEFAULT_ENDPOINT})")
    parser.add_argument("--user", default="", help="NAME[:PASSWORD]; asked for if left out")
    parser.add_argument("--cacert", help="CA that signed the member's certificate")
    parser.add_argument("--cert", help="own certificate, if members ask for one")
    parser.add_argument("--key", help="its key")
    parser.add_argument("--local", action="store_true", help="do not ask the other members")
    parser.add_argument("--data-dir", help="copy this data directory instead")
    parser.add_argument("--wal-dir", help="its log, if that is elsewhere")
    parser.add_argument("--out", metavar="FILE", help="file to write")
    parser.add_argument("--backup-dir", help="data directory to write")
    parser.add_argument("--backup-wal-dir", help="its log, if that is to be elsewhere")
    options = parser.parse_args(argv)
    if options.endpoint and options.data_dir:
        parser.error("give either --endpoint or --data-dir")
    if bool(options.out) == bool(options.backup_dir):
        parser.error("give either --out FILE or --backup-dir DIR")
    if options.backup_dir and not options.data_dir:
        parser.error("--backup-dir needs --data-dir")
    if options.data_dir is None:
        return _guarded(lambda: _backup_online(options))
    if options.backup_dir:
        return _guarded(lambda: _backup_directory(options))
    return _guarded(lambda: _backup_offline(options))


def verify(argv: list[str]) -> int:
    """`kvraft verify`."""
    parser = _parser("verify", _VERIFY)
    parser.add_argument("path", metavar="FILE|DIR")
    parser.add_argument("--wal-dir", help="the log of the data directory, if that is elsewhere")
    options = parser.parse_args(argv)
    if PosixFiles().is_dir(options.path):
        return _guarded(lambda: _verify_directory(options.path, options.wal_dir))
    return _guarded(lambda: _verify_file(options.path))


def restore(argv: list[str]) -> int:
    """`kvraft restore`."""
    parser = _parser("restore", _RESTORE)
    parser.add_argument("file", metavar="FILE", help="a backup, or a member's snapshot file")
    parser.add_argument("--data-dir", required=True, help="directory to make")
    parser.add_argument("--wal-dir", help="directory for the log, if it is to be elsewhere")
    given = (
        ("name", "name of this member (default: default)"),
        ("initial-cluster", "all members: NAME=PEER-URL,..."),
        ("initial-cluster-token", "sets clusters apart that are restored from one file"),
        ("initial-advertise-peer-urls", "peer URLs of this member"),
    )
    for name, text in given:
        parser.add_argument(f"--{name}", help=text)
    options = parser.parse_args(argv)
    values = vars(options)
    words = [
        f"--{name}={values[name.replace('-', '_')]}"
        for name in ("data-dir", *(name for name, _ in given))
        if values[name.replace("-", "_")] is not None
    ]
    # The flags mean what they mean to a member, and are refused in its words.
    config = configuration.parse(words, {})
    if isinstance(config, configuration.Exit):
        return configuration.report(config, sys.stdout, sys.stderr)
    refusal = configuration.check_new_cluster(config)
    if refusal is not None:
        return configuration.report(refusal, sys.stdout, sys.stderr)
    settings = config
    return _guarded(lambda: _restore(options, settings))


COMMANDS: Final[dict[str, Callable[[list[str]], int]]] = {
    "backup": backup,
    "restore": restore,
    "verify": verify,
}


# --- backup ---------------------------------------------------------------------------------


def _backup_online(options: argparse.Namespace) -> int:
    context: ssl.SSLContext | None = None
    try:
        if options.cacert or options.cert:
            context = ssl.create_default_context(cafile=options.cacert)
        if context is not None and options.cert:
            context.load_cert_chain(options.cert, options.key)
    except OSError as error:
        return _failed(f"cannot use the certificate files: {error.strerror or error}")
    user = options.user
    if user and ":" not in user:
        user = f"{user}:{getpass.getpass(f'Password of {user}: ')}"
    endpoints = (options.endpoint or _DEFAULT_ENDPOINT).split(",")
    shown = sys.stderr.isatty()

    def progress(total: int, took_s: float) -> None:
        if shown:
            rate = total / _MIB / max(took_s, 0.001)
            sys.stderr.write(f"\rreceived {total / _MIB:.1f} MiB ({rate:.1f} MiB/s) ")
            sys.stderr.flush()

    source = Source([url.rstrip("/") for url in endpoints], user, context, options.local)
    try:
        info = download(PosixFiles(), source, options.out, progress)
    finally:
        if shown:
            sys.stderr.write("\n")
    _say(f"saved {options.out}: etcd index {info.etcd_index}, raft index {info.meta.index}")
    return 0


def _backup_offline(options: argparse.Namespace) -> int:
    found = backup_file(PosixFiles(), options.data_dir, options.wal_dir, options.out)
    replica = found.replica
    _say(
        f"saved {options.out}: etcd index {replica.store.index}, raft index {replica.applied_index}"
    )
    if found.left_out:
        _say(f"left out {_not_certain(found)}")
    return 0


def _backup_directory(options: argparse.Namespace) -> int:
    identity = backup_directory(
        PosixFiles(),
        options.data_dir,
        options.wal_dir,
        options.backup_dir,
        options.backup_wal_dir,
    )
    member, cluster = (format_id(number) for number in identity)
    _say(f"saved {options.backup_dir}: member {member} of cluster {cluster}")
    _say("start it with --force-new-cluster once, then without")
    return 0


def _not_certain(found: Directory) -> str:
    return (
        f"the last {found.left_out} of the log's entries, which this member alone cannot know to be"
        " committed; a backup of the running cluster has them if they are"
    )


# --- verify ---------------------------------------------------------------------------------


def _verify_file(path: str) -> int:
    proved = restoring.prove(PosixFiles(), path)
    info = proved.info
    rows = [("cluster id", format_id(info.cluster_id))]
    if info.created_unix_s is not None:
        made = datetime.fromtimestamp(info.created_unix_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        rows.append(("made by member", f"{format_id(info.member_id)}, {made}, {info.program}"))
    rows += [
        ("raft index", f"{info.meta.index} of term {info.meta.term}"),
        ("etcd index", str(proved.etcd_index)),
        ("members", _ids(info)),
        *_census_rows(proved.census),
    ]
    kind = "backup" if info.created_unix_s is not None else "snapshot"
    _say(f"{kind} {path}")
    _table(rows)
    _say("whole and readable")
    return 0


def _verify_directory(path: str, wal_dir: str | None) -> int:
    files = PosixFiles()
    found = patiently(lambda: survey.survey(files, path, wal_dir))
    state = open_directory(files, path, wal_dir)
    recovered, replica = state.recovered, state.replica
    member, cluster = (format_id(number) for number in recovered.identity)
    meta = recovered.snapshot
    hard = recovered.hard_state
    _say(f"data directory {path}")
    _table(
        [
            ("cluster id", cluster),
            ("member id", member),
            ("term", f"{hard.term}, voted for {format_id(hard.vote) if hard.vote else 'nobody'}"),
            ("log", f"ends at {last_index(recovered)}, {found.segments} segments"),
            ("committed", f"up to {replica.applied_index} of term {replica.applied_term}"),
            ("snapshots", f"{found.snapshots}, in use: {'none' if meta is None else meta.index}"),
            ("etcd index", str(replica.store.index)),
            ("members", ", ".join(map(format_id, replica.members)) or "none"),
            *_census_rows(census_of(replica.store)),
        ]
    )
    for remark in found.remarks:
        _say(f"note: {remark}")
    if state.left_out:
        _say(f"note: not counted are {_not_certain(state)}")
    if not found.problems:
        _say("whole and readable")
        return 0
    for problem in found.problems:
        _complain(f"damaged: {problem}")
    return _failed(
        "the member can start, but has lost a reserve. Make a backup of the running cluster now;"
        f" then etcdctl member remove {member}, empty {path}, and add the member again"
    )


def _census_rows(census: Census) -> list[tuple[str, str]]:
    return [
        ("keys", str(census.keys)),
        ("directories", str(census.directories)),
        ("with a TTL", str(census.with_ttl)),
        ("digest", census.digest.hex()),
    ]


def _ids(info: BackupInfo) -> str:
    voters, learners = info.meta.membership
    return ", ".join([*map(format_id, voters), *(f"{format_id(i)} (learner)" for i in learners)])


# --- restore --------------------------------------------------------------------------------


def _restore(options: argparse.Namespace, config: configuration.ServerConfig) -> int:
    files = PosixFiles()
    if Storage.exists(files, options.data_dir, options.wal_dir):
        return _failed(f"{options.data_dir} holds a member already; give another --data-dir")
    proved = restoring.prove(files, options.file)
    founding = restoring.restored_cluster(
        proved, config.initial_cluster, config.initial_cluster_token, config.name
    )
    restoring.restore(files, options.file, proved, founding, options.data_dir, options.wal_dir)
    member, cluster = (format_id(number) for number in founding.identity)
    _say(f"restored {options.data_dir}: member {member} of the new cluster {cluster}")
    _table(
        [
            ("keys", f"{proved.census.keys}, etcd index {proved.etcd_index}"),
            ("before", f"cluster {format_id(proved.info.cluster_id)}"),
            *(
                ("member", f"{format_id(info.id)} {info.name} {','.join(info.peer_urls)}")
                for info in founding.members
            ),
        ]
    )
    others = [info.name for info in founding.members if info.name != config.name]
    if others:
        _say(f"restore the same file with the same --initial-cluster as {', '.join(others)}, too")
    return 0


# --- saying things --------------------------------------------------------------------------


def _guarded(run: Callable[[], int]) -> int:
    """Run a command; whatever the files or the network do becomes one line and exit code 1."""
    try:
        return run()
    except (KvraftError, CorruptSnapshot, DownloadFailed) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "))
    except KeyboardInterrupt:
        return _failed("interrupted")


def _parser(command: str, text: str) -> argparse.ArgumentParser:
    summary, _, examples = text.partition("\n\n")
    return _Parser(
        prog=f"kvraft {command}",
        description=summary,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


class _Parser(argparse.ArgumentParser):
    """Refuses with what to run for help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _table(rows: Sequence[tuple[str, str]]) -> None:
    for name, value in rows:
        _say(f"  {name:<15} {value}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")


def _complain(text: str) -> None:
    sys.stderr.write(text + "\n")


def _failed(text: str) -> int:
    _complain(f"kvraft: {text}")
    return 1
