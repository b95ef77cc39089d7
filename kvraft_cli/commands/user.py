"""`kvraftctl user`: add, get, list, remove, grant, revoke, passwd. (etcdctl reference, section 8.)

The user is looked up first where the answer to the change itself would not tell what is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft_cli import adminapi
from kvraft_cli.errors import Failure, RequestError
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS
from kvraft_cli.prompts import ask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags
    from kvraft_cli.session import Session


def list_(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """The names, one per line."""
    if arguments:
        raise Failure("No arguments accepted\n", BAD_ARGUMENTS)
    with adminapi.bare_failures():
        names = adminapi.users(adminapi.auth_session(context))
    context.stdout.write("".join(f"{name}\n" for name in names))
    return SUCCESS


def add(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Add a user; the password stands behind a colon, or is asked for."""
    name, colon, password = _single(arguments).partition(":")
    api = adminapi.auth_session(context)
    try:
        adminapi.user_roles(api, name)
    except RequestError:
        pass  # whatever it was, the attempt to add will meet it again, and is what was asked for
    else:
        raise Failure(f"User {name} already exists\n", BAD_ARGUMENTS)
    if not colon:
        password = _ask(context, api)
    with adminapi.bare_failures():
        adminapi.put_user(api, name, password=password)
    context.stdout.write(f"User {name} created\n")
    return SUCCESS


def get(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """A user's name and roles."""
    name = _single(arguments)
    with adminapi.bare_failures():
        name, roles = adminapi.user_roles(adminapi.auth_session(context), name)
    # the original has one space too many for each role, and scripts compare bytes
    context.stdout.write(f"User: {name}\nRoles: {' ' * len(roles)}{' '.join(roles)}\n")
    return SUCCESS


def remove(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Remove a user."""
    name = _single(arguments)
    with adminapi.bare_failures():
        adminapi.remove_user(adminapi.auth_session(context), name)
    context.stdout.write(f"User {name} removed\n")
    return SUCCESS


def passwd(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Change a password; the new one is asked for."""
    name = _single(arguments)
    api = adminapi.auth_session(context)
    with adminapi.bare_failures():
        adminapi.user_roles(api, name)
        password = _ask(context, api)
        adminapi.put_user(api, name, password=password)
    context.stdout.write("Password updated\n")
    return SUCCESS


def grant(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Give roles to a user."""
    return _change(context, flags, arguments, granting=True)


def revoke(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Take roles from a user."""
    return _change(context, flags, arguments, granting=False)


def _change(context: Context, flags: Flags, arguments: Sequence[str], *, granting: bool) -> int:
    roles = flags.strings("roles")
    if not roles:
        raise Failure("No roles specified; please use `-roles`\n", BAD_ARGUMENTS)
    name = _single(arguments)
    api = adminapi.auth_session(context)
    with adminapi.bare_failures():
        adminapi.user_roles(api, name)
        adminapi.put_user(
            api, name, grant=roles if granting else (), revoke=() if granting else roles
        )
    context.stdout.write(f"User {name} updated\n")
    return SUCCESS


def _ask(context: Context, api: Session) -> str:
    """The new password; the time that somebody needs to type it does not count."""
    password = ask("New password: ", context.stdin.buffer, context.stdout)
    api.restart_clock()
    return password


def _single(arguments: Sequence[str]) -> str:
    if len(arguments) != 1:
        raise Failure("Please provide a username\n", BAD_ARGUMENTS)
    return arguments[0]
