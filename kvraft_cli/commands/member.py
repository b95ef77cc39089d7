"""`kvraftctl member`: list, add, remove, update. (etcdctl reference, section 7.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft.server.quoting import quote
from kvraft.server.urls import UrlError, parse_urls
from kvraft_cli import adminapi
from kvraft_cli.adminapi import Member
from kvraft_cli.errors import Failure, RequestError
from kvraft_cli.exitcodes import BAD_ARGUMENTS, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kvraft_cli.context import Context
    from kvraft_cli.flags import Flags

_DOCUMENTATION = (
    "https://github.com/coreos/etcd/blob/master/Documentation/runtime-configuration.md"
    "#remove-a-member"
)
_UPDATE_ARGUMENTS = (
    "Provide an ID and a list of comma separated peerURL"
    " (0xabcd http://example.com,http://example1.com)"
)


def list_(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """One line for each member."""
    _check(not arguments, "No arguments accepted")
    api = context.api
    with adminapi.bare_failures():
        members = adminapi.members(api)
    try:
        leader_id = adminapi.leader(api).id
    except RequestError as error:
        raise _failure(f"Failed to get leader:  {error.text}\n", error) from error
    context.stdout.write("".join(_line(member, leader_id) for member in members))
    return SUCCESS


def add(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Announce a new member, and print the settings that it is to be started with."""
    _check(len(arguments) == 2, "Provide a name and a single member peerURL")
    name, url = arguments
    api = context.api
    with adminapi.bare_failures():
        new = adminapi.add_member(api, _urls([url]))
        context.stdout.write(f"Added member named {name} with ID {new.id} to cluster\n")
        members = adminapi.members(api)
    context.stdout.write(_settings(name, new.id, members))
    return SUCCESS


def update(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Give a member other peer URLs."""
    _check(len(arguments) == 2, _UPDATE_ARGUMENTS)
    member_id, urls = arguments
    api = context.api
    with adminapi.bare_failures():
        adminapi.update_member(api, member_id, _urls(urls.split(",")))
    context.stdout.write(f"Updated member with ID {member_id} in cluster\n")
    return SUCCESS


def remove(context: Context, flags: Flags, arguments: Sequence[str]) -> int:
    """Remove a member by its id; a name is answered with the id that it stands for."""
    _check(len(arguments) == 1, "Provide a single member ID")
    [member_id] = arguments
    api = context.api
    try:
        members = adminapi.members(api)
    except RequestError as error:
        text = f"Error while verifying ID against known members: {error.text}\n"
        raise _failure(text, error) from error
    namesakes = "".join(_meant(member) for member in members if member.name == member_id)
    if all(member.id != member_id for member in members):
        raise Failure(
            f"{namesakes}Couldn't find a member in the cluster with an ID of {member_id}.\n",
            BAD_ARGUMENTS,
        )
    context.stderr.write(namesakes)
    try:
        adminapi.remove_member(api, member_id)
    except RequestError as error:
        # the original forgets the line end here, and scripts compare bytes
        text = f"Received an error trying to remove member {member_id}: {error.text}"
        raise _failure(text, error) from error
    context.stdout.write(f"Removed member {member_id} from cluster\n")
    return SUCCESS


# --- inside ---------------------------------------------------------------------------------


def _check(condition: bool, text: str) -> None:
    """Refuse arguments before anything is sent."""
    if not condition:
        raise Failure(text + "\n", BAD_ARGUMENTS)


def _urls(texts: Iterable[str]) -> tuple[str, ...]:
    try:
        return parse_urls(texts)
    except UrlError as error:
        raise Failure(f"{error}\n", BAD_ARGUMENTS) from error


def _failure(text: str, reason: RequestError) -> Failure:
    return Failure(text, BAD_ARGUMENTS, reason)


def _line(member: Member, leader_id: str) -> str:
    peer_urls = ",".join(member.peer_urls)
    if not member.name:
        return f"{member.id}[unstarted]: peerURLs={peer_urls}\n"
    client_urls = ",".join(member.client_urls)
    leads = "true" if member.id == leader_id else "false"
    return (
        f"{member.id}: name={member.name} peerURLs={peer_urls}"
        f" clientURLs={client_urls} isLeader={leads}\n"
    )


def _settings(name: str, new_id: str, members: Iterable[Member]) -> str:
    """The variables that the new member is started with, for a shell to read."""
    cluster = ",".join(
        f"{name if member.id == new_id else member.name}={url}"
        for member in members
        for url in member.peer_urls
    )
    return (
        f"\nETCD_NAME={quote(name)}\n"
        f"ETCD_INITIAL_CLUSTER={quote(cluster)}\n"
        'ETCD_INITIAL_CLUSTER_STATE="existing"\n'
    )


def _meant(member: Member) -> str:
    return (
        f"Found a member named {member.name}; if this is correct, please use its ID, eg:\n"
        f"\tetcdctl member remove {member.id}\n"
        f"For more details, read the documentation at {_DOCUMENTATION}\n\n"
    )
