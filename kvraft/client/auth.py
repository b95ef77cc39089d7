"""Users, roles and the switch of authentication: `client.auth`.

All of it needs the role root once authentication is on. Patterns of permissions are keys, or
prefixes that end in `*`. (admin-api, section 7.)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kvraft.client import answers, requests
from kvraft.client.answers import Answer, understood
from kvraft.client.errors import AuthError
from kvraft.client.requests import Request, name_target

_ENABLE: Final = "/v2/auth/enable"
_USERS: Final = "/v2/auth/users"
_ROLES: Final = "/v2/auth/roles"
_ROUTE: Final = "auth"


class RoleRecord(NamedTuple):
    """A role: the patterns of keys that it may read and write."""

    name: str
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()


class UserRecord(NamedTuple):
    """A user and the names of his roles."""

    name: str
    roles: tuple[str, ...] = ()


class Auth:
    """The auth routes of a client's cluster. Refusals are AuthError, or Unauthorized."""

    def __init__(self, call: Callable[[Request], Awaitable[Answer]]) -> None:
        self._call = call

    async def is_enabled(self) -> bool:
        """Whether requests need credentials."""
        return (await self._read(_ENABLE)).get("enabled") is True

    async def enable(self) -> None:
        """Switch authentication on; there has to be a user root."""
        await self._change("PUT", _ENABLE)

    async def disable(self) -> None:
        """Switch authentication off."""
        await self._change("DELETE", _ENABLE)

    # --- users --------------------------------------------------------------------------

    async def users(self) -> list[UserRecord]:
        """All users in order of their names."""
        return [_user(item) for item in _objects((await self._read(_USERS)).get("users"))]

    async def user(self, name: str) -> UserRecord:
        """One user."""
        return _user(await self._read(name_target(_USERS, name)))

    async def add_user(self, name: str, password: str, roles: Sequence[str] = ()) -> None:
        """Create a user.

        Without `roles` the server takes this for a change of the password if the user exists, so
        that is looked up first; of two who add the same user at the same moment, both succeed.
        """
        document: dict[str, object] = {"user": name, "password": password}
        if roles:
            document["roles"] = _names(roles)
        elif await self._exists(name):
            raise AuthError(0, f"auth: User {name} already exists.")
        await self._change("PUT", name_target(_USERS, name), document)

    async def remove_user(self, name: str) -> None:
        """Delete a user."""
        await self._change("DELETE", name_target(_USERS, name))

    async def set_password(self, name: str, password: str) -> None:
        """Change a password.

        The server would create a user that does not exist, so that is looked up first.
        """
        if not await self._exists(name):
            raise AuthError(0, f"auth: User {name} does not exist.")
        await self._change("PUT", name_target(_USERS, name), {"user": name, "password": password})

    async def grant_roles(self, name: str, roles: Sequence[str]) -> UserRecord:
        """Give a user further roles."""
        document = {"user": name, "grant": _names(roles)}
        return _user(await self._put(name_target(_USERS, name), document))

    async def revoke_roles(self, name: str, roles: Sequence[str]) -> UserRecord:
        """Take roles from a user."""
        document = {"user": name, "revoke": _names(roles)}
        return _user(await self._put(name_target(_USERS, name), document))

    async def _exists(self, name: str) -> bool:
        answer = await self._call(requests.read(name_target(_USERS, name), 404))
        if answer.status == 404:
            return False
        answers.accepted(answer, _ROUTE)
        return True

    # --- roles --------------------------------------------------------------------------

    async def roles(self) -> list[RoleRecord]:
        """All roles in order of their names."""
        return [_role(item) for item in _objects((await self._read(_ROLES)).get("roles"))]

    async def role(self, name: str) -> RoleRecord:
        """One role."""
        return _role(await self._read(name_target(_ROLES, name)))

    async def add_role(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Create a role."""
        document = {"role": name, "permissions": _permissions(read, write)}
        return _role(await self._put(name_target(_ROLES, name), document))

    async def remove_role(self, name: str) -> None:
        """Delete a role; users keep its name."""
        await self._change("DELETE", name_target(_ROLES, name))

    async def grant(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Add patterns to a role."""
        document = {"role": name, "grant": _permissions(read, write)}
        return _role(await self._put(name_target(_ROLES, name), document))

    async def revoke(
        self, name: str, *, read: Sequence[str] = (), write: Sequence[str] = ()
    ) -> RoleRecord:
        """Take patterns from a role."""
        document = {"role": name, "revoke": _permissions(read, write)}
        return _role(await self._put(name_target(_ROLES, name), document))

    # --- calls --------------------------------------------------------------------------

    async def _read(self, target: str) -> dict[str, Any]:
        answer = await self._call(requests.read(target))
        with understood(answer):
            return answers.document_of(answer, _ROUTE)

    async def _change(self, method: str, target: str, document: object = None) -> None:
        answers.accepted(await self._call(requests.change(method, target, document)), _ROUTE)

    async def _put(self, target: str, document: object) -> dict[str, Any]:
        answer = await self._call(requests.change("PUT", target, document))
        with understood(answer, changes=True):
            return answers.document_of(answer, _ROUTE)


def _names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):  # a sequence of letters, for Python
        raise TypeError(f"a sequence of names is needed, not the text {names!r}")
    return list(names)


def _permissions(read: Sequence[str], write: Sequence[str]) -> dict[str, object]:
    return {"kv": {"read": _names(read), "write": _names(write)}}


def _objects(value: object) -> list[Mapping[str, Any]]:
    items = value if isinstance(value, list) else []
    return [item for item in items if isinstance(item, dict)]


def _user(document: Mapping[str, Any]) -> UserRecord:
    """A user; its roles come as names, or as documents."""
    roles = document.get("roles")
    names = [
        str(role.get("role", "") if isinstance(role, dict) else role)
        for role in (roles if isinstance(roles, list) else ())
    ]
    return UserRecord(str(document.get("user", "")), tuple(names))


def _role(document: Mapping[str, Any]) -> RoleRecord:
    kv = _inner(_inner(document, "permissions"), "kv")
    name = str(document.get("role", ""))
    return RoleRecord(name, answers.texts(kv.get("read")), answers.texts(kv.get("write")))


def _inner(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
