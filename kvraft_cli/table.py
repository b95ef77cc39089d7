"""All commands: names, summaries, flags, and where the code of each is.

Pure data. The code of a command is imported when it is run, so that a `get` does not pay for
`backup`. The order is that of the help. (etcdctl reference, sections 1.1 and 1.3.)
"""

from __future__ import annotations

import sys
from typing import Final, NamedTuple

from kvraft_cli.flags import BOOL, DURATION, INT, LIST, STRING, Flag

# Linked as etcdctl, for scripts that call it so, its texts name the command that was typed.
PROGRAM: Final = "etcdctl" if sys.argv[0].rpartition("/")[2] == "etcdctl" else "kvraftctl"
VERSION: Final = "2.3.8"  # the etcdctl that the commands are compatible with
SUMMARY: Final = "the command line client of a v2 key-value store"


class Command(NamedTuple):
    """One command. `run` names its function: `module:function` under `kvraft_cli.commands`.

    That is called as `function(context, flags, arguments)` and returns the exit code.
    """

    name: str
    run: str
    summary: str
    arguments: str
    flags: tuple[Flag, ...] = ()
    description: str = ""


class Group(NamedTuple):
    """A command that consists of subcommands."""

    name: str
    summary: str
    commands: tuple[Command, ...]


HELP: Final = Flag(("help", "h"), BOOL, "show help")
GLOBAL_FLAGS: Final = (
    Flag(("debug",), BOOL, "print each request as a cURL command"),
    Flag(("no-sync",), BOOL, "do not ask the cluster for its endpoints before the request"),
    Flag(("output", "o"), STRING, "print answers as `simple`, `extended` or `json`", "simple"),
    Flag(("discovery-srv", "D"), STRING, "domain whose SRV records name the endpoints"),
    Flag(("peers", "C"), STRING, "the oldest name of --endpoints"),
    Flag(("endpoint",), STRING, "an older name of --endpoints"),
    Flag(
        ("endpoints",),
        STRING,
        "client URLs of the cluster, separated by commas"
        ' (default: "http://127.0.0.1:2379,http://127.0.0.1:4001")',
    ),
    Flag(("cert-file",), STRING, "certificate that identifies this client to HTTPS servers"),
    Flag(("key-file",), STRING, "key of that certificate"),
    Flag(("ca-file",), STRING, "CA certificates that HTTPS servers are verified with"),
    Flag(("username", "u"), STRING, "name[:password]; asks for a password that is left out"),
    Flag(("timeout",), DURATION, "time for one request until its answer begins", "1s"),
    Flag(("total-timeout",), DURATION, "time for a whole command (watches have none)", "5s"),
    HELP,
    Flag(("version", "v"), BOOL, "print the version"),
)

_TTL = Flag(("ttl",), INT, "seconds until the key goes away", "0")
_DIR_TTL = Flag(("ttl",), INT, "seconds until the directory goes away", "0")
_SORT = Flag(("sort",), BOOL, "print in order of the names")
_QUORUM = Flag(("quorum",), BOOL, "read what a majority agrees on")
_AFTER_INDEX = Flag(("after-index",), INT, "begin with the changes after this index", "0")
_RECURSIVE_WATCH = Flag(("recursive",), BOOL, "also watch everything below the key")
_ROLES = Flag(("roles",), LIST, "a role; repeat the flag for more")
_NONE = " "

_SET_DESCRIPTION = (
    "Sets a key to a value, whatever it was before. A value that begins with a dash\n"
    "   is taken for a flag; write two dashes before the key to prevent that:\n"
    "   $ set -- <key> <value>"
)


def _permission_flags(verb: str) -> tuple[Flag, ...]:
    return (
        Flag(("path",), STRING, "the key, or a prefix that ends in *"),
        Flag(("read",), BOOL, f"{verb} reading"),
        Flag(("write",), BOOL, f"{verb} writing"),
        Flag(("readwrite",), BOOL, f"{verb} reading and writing"),
    )


MEMBER: Final = Group(
    "member",
    "list, add, remove and update members",
    (
        Command("list", "member:list_", "list the members of the cluster", _NONE),
        Command("add", "member:add", "announce a new member to the cluster", "<name> <peerURL>"),
        Command("remove", "member:remove", "remove a member from the cluster", "<memberID>"),
        Command("update", "member:update", "change a member's addresses", "<memberID> <peerURLs>"),
    ),
)
USER: Final = Group(
    "user",
    "list, add, change and remove users",
    (
        Command("add", "user:add", "add a user", "<user>"),
        Command("get", "user:get", "show a user and the roles it has", "<user>"),
        Command("list", "user:list_", "list all users", "<user>"),
        Command("remove", "user:remove", "remove a user", "<user>"),
        Command("grant", "user:grant", "give roles to a user", "<user>", (_ROLES,)),
        Command("revoke", "user:revoke", "take roles from a user", "<user>", (_ROLES,)),
        Command("passwd", "user:passwd", "change a user's password", "<user>"),
    ),
)
ROLE: Final = Group(
    "role",
    "list, add, change and remove roles",
    (
        Command("add", "role:add", "add a role", "<role> "),
        Command("get", "role:get", "show what a role permits", "<role>"),
        Command("list", "role:list_", "list all roles", _NONE),
        Command("remove", "role:remove", "remove a role", "<role>"),
        Command(
            "grant", "role:grant", "permit a path to a role", "<role>", _permission_flags("permit")
        ),
        Command(
            "revoke",
            "role:revoke",
            "no longer permit a path to a role",
            "<role>",
            _permission_flags("no longer permit"),
        ),
    ),
)
AUTH: Final = Group(
    "auth",
    "switch authentication on and off",
    (
        Command("enable", "auth:enable", "switch authentication on", _NONE),
        Command("disable", "auth:disable", "switch authentication off", _NONE),
    ),
)

COMMANDS: Final[tuple[Command | Group, ...]] = (
    Command(
        "backup",
        "backup:run",
        "copy the data directory of a member",
        _NONE,
        (
            Flag(("data-dir",), STRING, "the data directory"),
            Flag(("wal-dir",), STRING, "its log, if that is elsewhere"),
            Flag(("backup-dir",), STRING, "where the copy goes"),
            Flag(("backup-wal-dir",), STRING, "where the copy of the log goes, if elsewhere"),
        ),
    ),
    Command(
        "cluster-health",
        "health:run",
        "ask every member for its health",
        _NONE,
        (Flag(("forever",), BOOL, "ask again every 10 seconds"),),
    ),
    Command(
        "mk",
        "keys:mk",
        "make a key that does not exist yet",
        "<key> <value>",
        (Flag(("in-order",), BOOL, "make a key below <key>, named in order of creation"), _TTL),
    ),
    Command(
        "mkdir", "keys:mkdir", "make a directory that does not exist yet", "<key>", (_DIR_TTL,)
    ),
    Command(
        "rm",
        "keys:rm",
        "remove a key or a directory",
        "<key>",
        (
            Flag(("dir",), BOOL, "remove an empty directory, too"),
            Flag(("recursive",), BOOL, "remove a directory with all that is in it"),
            Flag(("with-value",), STRING, "only if this is the value"),
            Flag(("with-index",), INT, "only if this is the modified index", "0"),
        ),
    ),
    Command("rmdir", "keys:rmdir", "remove a key or an empty directory", "<key>"),
    Command("get", "keys:get", "print the value of a key", "<key>", (_SORT, _QUORUM)),
    Command(
        "ls",
        "keys:ls",
        "list a directory",
        "[key]",
        (
            _SORT,
            Flag(("recursive",), BOOL, "list everything below, too"),
            Flag(("p",), BOOL, "append a slash to directories"),
            _QUORUM,
        ),
    ),
    Command(
        "set",
        "keys:set_",
        "set a key to a value",
        "<key> <value>",
        (
            _TTL,
            Flag(("swap-with-value",), STRING, "only if this is the value before"),
            Flag(("swap-with-index",), INT, "only if this is the modified index before", "0"),
        ),
        _SET_DESCRIPTION,
    ),
    Command(
        "setdir", "keys:setdir", "make a directory, in place of a key too", "<key>", (_DIR_TTL,)
    ),
    Command(
        "update", "keys:update", "change the value of a key that exists", "<key> <value>", (_TTL,)
    ),
    Command(
        "updatedir",
        "keys:updatedir",
        "change the TTL of a directory that exists",
        "<key> <value>",
        (_DIR_TTL,),
    ),
    Command(
        "watch",
        "watch:watch",
        "print changes of a key",
        "<key>",
        (Flag(("forever",), BOOL, "go on after the first change"), _AFTER_INDEX, _RECURSIVE_WATCH),
    ),
    Command(
        "exec-watch",
        "watch:exec_watch",
        "run a command for each change of a key",
        "<key> <command> [args...]",
        (_AFTER_INDEX, _RECURSIVE_WATCH),
    ),
    MEMBER,
    Command(
        "import",
        "importsnap:run",
        "write the keys of an etcd 0.4 snapshot to the cluster",
        _NONE,
        (
            Flag(("snap",), STRING, "the snapshot file"),
            Flag(("hidden",), LIST, "a hidden directory that is wanted, too"),
            Flag(("c",), INT, "how many requests run at the same time", "10"),
        ),
    ),
    USER,
    ROLE,
    AUTH,
)

# Commands that etcdctl does not have, and which its help does not show. Their function is called as
# `function(context, words)`: they read their words themselves, and `--help` is theirs.
OWN: Final[dict[str, str]] = {
    "export": "kvraft_cli.commands.export:main",
    "import-json": "kvraft_cli.commands.importjson:main",
    "diff": "kvraft_cli.commands.diff:main",
    "sync": "kvraft_cli.commands.sync:main",
    "top": "kvraft_cli.commands.top:main",
    "bench": "kvraft_cli.commands.bench:main",
    "completion": "kvraft_cli.commands.completion:main",
}
