"""`kvraftctl role`: add, get, list, remove, grant, revoke. (etcdctl reference, section 8.)"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from kvraft_cli import adminapi
from kvraft_cli.errors import Failure, RequestError
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags


def list_(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """The names, one per line."""
    if arguments:
        raise Failure("No arguments accepted\n", BAD_ARGUMENTS)
    with adminapi.bare_failures():
        names = adminapi.roles(adminapi.auth_session(context))
    context.stdout.write("".join(f"{name}\n" for name in names))
    return SUCCESS


def add(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Add a role that permits nothing yet."""
    name = _single(arguments)
    api = adminapi.auth_session(context)
    try:
        adminapi.role(api, name)
    except RequestError:
        pass  # whatever it was, the attempt to add will meet it again, and is what was asked for
    else:
        raise Failure(f"Role {name} already exists\n", BAD_ARGUMENTS)
    with adminapi.bare_failures():
        adminapi.add_role(api, name)
    context.stdout.write(f"Role {name} created\n")
    return SUCCESS


def get(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """What a role permits."""
    name = _single(arguments)
    with adminapi.bare_failures():
        role = adminapi.role(adminapi.auth_session(context), name)
    lines = [f"Role: {role.name}", "KV Read:", *(f"\t{path}" for path in role.read)]
    lines += ["KV Write:", *(f"\t{path}" for path in role.write)]
    context.stdout.write("".join(f"{line}\n" for line in lines))
    return SUCCESS


def remove(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Remove a role."""
    name = _single(arguments)
    with adminapi.bare_failures():
        adminapi.remove_role(adminapi.auth_session(context), name)
    context.stdout.write(f"Role {name} removed\n")
    return SUCCESS


def grant(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Permit a path to a role."""
    return _change(context, flags, arguments, "grant")


def revoke(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """No longer permit a path to a role."""
    return _change(context, flags, arguments, "revoke")


def _change(context: Context, flags: Flags, arguments: Sequence[str], change: str) -> int:
    path = flags.string("path")
    if not path:
        raise Failure("No path specified; please use `-path`\n", BAD_ARGUMENTS)
    if path != (clean := canonical(path)):
        raise Failure(f"Not canonical path; please use `-path={clean}`\n", BAD_ARGUMENTS)
    kinds = [kind for kind in ("read", "write", "readwrite") if flags.boolean(kind)]
    if len(kinds) != 1:
        raise Failure("Please specify exactly one of -read, -write or -readwrite\n", BAD_ARGUMENTS)
    name = _single(arguments)
    api = adminapi.auth_session(context)
    read, write = kinds[0].startswith("read"), kinds[0].endswith("write")
    with adminapi.bare_failures():
        adminapi.role(api, name)
        adminapi.change_role(api, name, change, path, read=read, write=write)
    context.stdout.write(f"Role {name} updated\n")
    return SUCCESS


def canonical(path: str) -> str:
    """The path as keys have it: a leading slash, nothing empty, `.` or `..`; a trailing slash
    stays."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return clean + "/" if path.endswith("/") and clean != "/" else clean


def _single(arguments: Sequence[str]) -> str:
    if len(arguments) != 1:
        raise Failure("Please provide a role name\n", BAD_ARGUMENTS)
    return arguments[0]
