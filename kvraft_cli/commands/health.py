"""`kvraftctl cluster-health`: what each member says of itself. (etcdctl reference, section 6.)

The members are those that the given endpoints list; there is no synchronisation before, so that it
works on a cluster of which only one endpoint is left.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from kvraft.limits import CTL_HEALTH_TIMEOUT_S
from kvraft_cli import adminapi
from kvraft_cli.commands.watch import end_on_interrupt
from kvraft_cli.errors import ConfigError, Failure, RequestError, TransportError, command_failure
from kvraft_cli.exitcodes import SERVER_ERROR, SUCCESS, UNHEALTHY
from kvraft_cli.gojson import syntax_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kvraft_cli.adminapi import Member
    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags

_PAUSE_S: Final = 10


def run(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """The command; with --forever it ends by being interrupted only."""
    try:
        members = adminapi.members(context.unsynced_api, limited=False)
    except ConfigError as error:
        raise Failure(f"Error:  {error.message}\n", SERVER_ERROR) from error
    except RequestError as error:
        context.stdout.write("cluster may be unhealthy: failed to list members\n")
        raise command_failure(error) from error
    if not flags.boolean("forever"):
        return SUCCESS if _round(context, members) else UNHEALTHY
    end_on_interrupt()
    while True:
        _round(context, members)
        context.stdout.write(f"\nnext check after {_PAUSE_S} second...\n\n")
        context.stdout.flush()
        time.sleep(_PAUSE_S)


def _round(context: Context, members: Sequence[Member]) -> bool:
    """Ask all members; one healthy member makes a healthy cluster."""
    healthy = [_check(context, member) for member in members]
    well = any(healthy)
    context.stdout.write(f"cluster is {'healthy' if well else 'unhealthy'}\n")
    return well


def _check(context: Context, member: Member) -> bool:
    """Print what one member says, or why it does not; whether it is healthy."""
    say = context.stdout.write
    for url in member.client_urls:
        try:
            healthy = judge(_ask(context, f"{url}/health"))
        except (RequestError, ValueError) as error:
            say(f"failed to check the health of member {member.id} on {url}: {error}\n")
            continue
        word = "healthy" if healthy else "unhealthy"
        say(f"member {member.id} is {word}: got {word} result from {url}\n")
        return healthy
    if member.client_urls:
        urls = " ".join(member.client_urls)
        say(f"member {member.id} is unreachable: [{urls}] are all unreachable\n")
    else:
        say(f"member {member.id} is unreachable: no available published client urls\n")
    return False


def _ask(context: Context, url: str) -> bytes:
    try:
        return context.fetch(url, timeout_s=CTL_HEALTH_TIMEOUT_S).body
    except TransportError as error:
        raise TransportError(f"Get {url}: {error}") from error


def judge(body: bytes) -> bool:
    """Whether an answer means health: true, as a word or as a boolean. ValueError if it is no
    JSON."""
    text = body.decode("utf-8", "replace")
    reason = syntax_error(text)
    if reason is not None:
        raise ValueError(reason)
    document = json.loads(text)
    health = document.get("health") if isinstance(document, dict) else None
    return health is True or health == "true"
