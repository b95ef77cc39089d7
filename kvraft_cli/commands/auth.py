"""`kvraftctl auth`: enable, disable. (etcdctl reference, section 8.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft_cli import adminapi
from kvraft_cli.errors import Failure
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags


def enable(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Ask for credentials from now on."""
    return _switch(context, arguments, on=True)


def disable(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Ask for credentials no more."""
    return _switch(context, arguments, on=False)


def _switch(context: Context, arguments: Sequence[str], *, on: bool) -> int:
    if arguments:
        raise Failure("No arguments accepted\n", BAD_ARGUMENTS)
    with adminapi.bare_failures():
        adminapi.switch_auth(adminapi.auth_session(context), on=on)
    context.stdout.write(f"Authentication {'Enabled' if on else 'Disabled'}\n")
    return SUCCESS
