"""Members, users and roles over the wire: the requests of etcdctl, and the answers to them.

Each function is one request; failures carry the bare text that the commands print. Knows neither
endpoints nor retries: those are the session's. Source: admin-api.md, etcdctl.md
sections 7 and 8.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from kvraft_cli.errors import RequestError, bare_failure
from kvraft_cli.gojson import syntax_error
from kvraft_cli.http import JSON
from kvraft_cli.output import go_string

if TYPE_CHECKING:
    from kvraft_cli.context import Context
    from kvraft_cli.http import Reply
    from kvraft_cli.session import Session

_MEMBERS: Final = "/v2/members"
_USERS: Final = "/v2/auth/users"
_ROLES: Final = "/v2/auth/roles"
_SWITCH: Final = "/v2/auth/enable"


class AdminError(RequestError):
    """The server refused, or cannot be understood; the text is for the user."""


@contextmanager
def bare_failures() -> Iterator[None]:
    """What a request runs into within the block ends the command with its bare text."""
    try:
        yield
    except RequestError as error:
        raise bare_failure(error) from error


class Member(NamedTuple):
    """One member as the cluster lists it; one without a name has not been started."""

    id: str
    name: str
    peer_urls: Sequence[str]
    client_urls: Sequence[str]


class Role(NamedTuple):
    """What a role lets its users do with keys."""

    name: str
    read: Sequence[str]
    write: Sequence[str]


# --- members --------------------------------------------------------------------------------


def members(api: Session, *, limited: bool = True) -> list[Member]:
    """All members, in the order of the server; within the total time if that is `limited`."""
    document = _document(_expect(api.request("GET", _MEMBERS, limited=limited), (200,)))
    return [_member(item) for item in _list(document, "members")]


def leader(api: Session) -> Member:
    """The member that leads."""
    return _member(_document(_expect(api.request("GET", f"{_MEMBERS}/leader"), (200,))))


def add_member(api: Session, peer_urls: Iterable[str]) -> Member:
    """Add a member that has not been started; gives it with its new id."""
    document = {"peerURLs": list(peer_urls)}
    answer = _expect(_send(api, "POST", _MEMBERS, document), (201, 409))
    if answer.status != 201:
        raise _refusal(answer)
    return _member(_document(answer))


def update_member(api: Session, member_id: str, peer_urls: Iterable[str]) -> None:
    """Give a member other peer URLs."""
    document = {"peerURLs": list(peer_urls)}
    answer = _expect(_send(api, "PUT", _path(_MEMBERS, member_id), document), (204, 404, 409))
    if answer.status != 204:
        raise _refusal(answer)


def remove_member(api: Session, member_id: str) -> None:
    """Remove a member; one that is gone already counts as removed."""
    _expect(api.request("DELETE", _path(_MEMBERS, member_id)), (204, 410))


# --- users ----------------------------------------------------------------------------------


def users(api: Session) -> list[str]:
    """The names of all users."""
    document = _document(_granted(api.request("GET", _USERS)))
    return [_text(item, "user") for item in _list(document, "users")]


def user_roles(api: Session, name: str) -> tuple[str, list[str]]:
    """A user's name and the names of its roles."""
    document = _document(_granted(api.request("GET", _path(_USERS, name))))
    return _text(document, "user"), [_text(item, "role") for item in _list(document, "roles")]


def put_user(
    api: Session,
    name: str,
    *,
    password: str = "",
    grant: Sequence[str] = (),
    revoke: Sequence[str] = (),
) -> None:
    """Add a user, change a password, grant or revoke roles, depending on what is given."""
    document: dict[str, object] = {"user": name}
    if password:
        document["password"] = password
    document["roles"] = None
    if grant:
        document["grant"] = list(grant)
    if revoke:
        document["revoke"] = list(revoke)
    _granted(_send(api, "PUT", _path(_USERS, name), document), (200, 201))


def remove_user(api: Session, name: str) -> None:
    """Remove a user."""
    _granted(api.request("DELETE", _path(_USERS, name)))


# --- roles ----------------------------------------------------------------------------------


def roles(api: Session) -> list[str]:
    """The names of all roles."""
    # the one listing whose refusals are not read: `unexpected status code 401`
    document = _document(_expect(api.request("GET", _ROLES), (200,)))
    return [_text(item, "role") for item in _list(document, "roles")]


def role(api: Session, name: str) -> Role:
    """One role."""
    document = _document(_granted(api.request("GET", _path(_ROLES, name))))
    permissions = document.get("permissions")
    paths = permissions.get("kv") if isinstance(permissions, dict) else None
    if not isinstance(paths, dict):
        paths = {}
    read, write = ([str(path) for path in _list(paths, kind)] for kind in ("read", "write"))
    return Role(_text(document, "role"), read, write)


def add_role(api: Session, name: str) -> None:
    """Add a role that permits nothing yet."""
    _granted(_send(api, "PUT", _path(_ROLES, name), _role(name)), (200, 201))


def change_role(
    api: Session, name: str, change: str, path: str, *, read: bool, write: bool
) -> None:
    """Grant or revoke (`change`) what is asked for on one path."""
    paths = {"read": [path] if read else None, "write": [path] if write else None}
    document = {**_role(name), change: {"kv": paths}}
    _granted(_send(api, "PUT", _path(_ROLES, name), document), (200, 201))


def remove_role(api: Session, name: str) -> None:
    """Remove a role."""
    _granted(api.request("DELETE", _path(_ROLES, name)))


def auth_session(context: Context) -> Session:
    """The cluster, for the requests on users, roles and the switch.

    With --debug they name the endpoints once more than others; Failure as `Context.api`.
    """
    session = context.api
    session.announce()
    return session


def switch_auth(api: Session, *, on: bool) -> None:
    """Ask for credentials from now on, or no more."""
    _granted(api.request("PUT" if on else "DELETE", _SWITCH), (200, 201))


# --- documents ------------------------------------------------------------------------------


def to_json(value: object) -> str:
    """A document of texts, lists and nulls as Go writes it."""
    if value is None:
        return "null"
    if isinstance(value, dict):
        fields = (f"{go_string(name)}:{to_json(field)}" for name, field in value.items())
        return "{" + ",".join(fields) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(to_json, value)) + "]"
    return go_string(str(value))


def _send(api: Session, method: str, path: str, document: object) -> Reply:
    return api.request(method, path, to_json(document).encode("utf-8", "surrogateescape"), JSON)


def _role(name: str) -> dict[str, object]:
    return {"role": name, "permissions": {"kv": {"read": None, "write": None}}}


def _path(parent: str, name: str) -> str:
    """The path of something by its name, which is cleaned like any path."""
    return posixpath.normpath(f"{parent}/{name}")


def _expect(answer: Reply, statuses: Collection[int]) -> Reply:
    if answer.status not in statuses:
        raise AdminError(f"unexpected status code {answer.status}")
    return answer


def _granted(answer: Reply, statuses: Collection[int] = (200,)) -> Reply:
    """An answer of the auth API; a refusal says in its body why."""
    if answer.status not in statuses:
        raise _refusal(answer)
    return answer


def _refusal(answer: Reply) -> AdminError:
    return AdminError(_text(_document(answer), "message"))


def _document(answer: Reply) -> dict[str, Any]:
    text = answer.body.decode("utf-8", "replace")
    reason = syntax_error(text)
    if reason is not None:
        raise AdminError(reason)
    document = json.loads(text)
    return document if isinstance(document, dict) else {}


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    items = document.get(name)
    return items if isinstance(items, list) else []


def _text(document: Any, name: str) -> str:
    """A text field; servers before 2.1 listed bare names instead of documents."""
    if isinstance(document, dict):
        document = document.get(name)
    return document if isinstance(document, str) else ""


def _member(document: Any) -> Member:
    fields = document if isinstance(document, dict) else {}
    urls = ([str(url) for url in _list(fields, name)] for name in ("peerURLs", "clientURLs"))
    return Member(_text(fields, "id"), _text(fields, "name"), *urls)
