"""Users, roles and the documents that stand for them, in requests and in the store.

A request's document is read as Go reads JSON: names of fields in any case, unknown ones ignored,
`null` for "not given", whatever follows the first value ignored. Lists distinguish "not
given" (None, shown as `null`) from empty. (admin-api, sections 7.2 to 7.5.)

Must not know: passwords in the clear beyond passing them on, HTTP, the log. Invariant: nothing
here changes a user or a role; what is changed comes back as a new one, or AuthError says why not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from kvraft.errors import CallerError
from kvraft.store.jsontext import escape

ROOT: Final = "root"  # the user that has to exist, and the role that may do everything
GUEST: Final = "guest"  # the role of requests without credentials

RECORDS: Final = b"/2"
USERS: Final = b"/2/users/"
ROLES: Final = b"/2/roles/"
SWITCH: Final = b"/2/enabled"
FIRST_RECORDS: Final = ((b"/2", b""), (b"/2/users", b""), (b"/2/roles", b""), (SWITCH, b"false"))
"""What the first change of all creates, and what these records hold then."""

Names = tuple[str, ...]


class AuthError(CallerError):
    """Refused; `status` is the one of HTTP, the text is shown to the client as it is."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Access(NamedTuple):
    """Patterns of the keys that may be read and written."""

    read: Names | None = None
    write: Names | None = None

    @property
    def given(self) -> bool:
        """Whether there is any pattern."""
        return bool(self.read or self.write)


class Role(NamedTuple):
    """A named set of permissions; an empty grant or revoke stays where it was created with one."""

    name: str
    permissions: Access = Access()
    grant: Access | None = None
    revoke: Access | None = None

    @property
    def changes(self) -> bool:
        """Whether this, as a request, asks for a change of a role that exists."""
        return any(access is not None and access.given for access in (self.grant, self.revoke))


class User(NamedTuple):
    """A user; `password` is the hash, or in a request the password itself."""

    name: str
    password: str = ""
    roles: Names | None = None
    grant: Names | None = None
    revoke: Names | None = None

    @property
    def changes(self) -> bool:
        """Whether this, as a request, asks for a change of the roles."""
        return bool(self.grant or self.revoke)


ROOT_ROLE: Final = Role(ROOT, Access(("/*",), ("/*",)))
GUEST_ROLE: Final = Role(GUEST, Access(("/*",), ("/*",)))
"""What enabling creates where there is no role of this name."""


# --- names of records ------------------------------------------------------------------------


def user_record(name: str) -> bytes:
    """Where a user is kept."""
    return USERS + name.encode("utf-8", "surrogateescape")


def role_record(name: str) -> bytes:
    """Where a role is kept."""
    return ROLES + name.encode("utf-8", "surrogateescape")


# --- reading documents -----------------------------------------------------------------------

_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_NULLABLE: Final = frozenset(("roles", "grant", "revoke", "read", "write"))
_BAD_JSON: Final = "Invalid JSON in request body."


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields of an object as Go fills a structure with them, one after the other.

    An object adds to one of the same name before it; null takes back only what can be absent.
    """
    fields: dict[str, Any] = {}
    for name, value in pairs:
        folded = name.lower()
        before = fields.get(folded)
        if value is None and folded not in _NULLABLE:
            value = before
        elif isinstance(value, dict) and isinstance(before, dict):
            value = _fields([*before.items(), *value.items()])
        fields[folded] = value
    return fields


_decoder: Final = json.JSONDecoder(object_pairs_hook=_fields, parse_constant=_refuse_constant)


def _document(body: bytes) -> dict[str, Any]:
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        document, _ = _decoder.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise AuthError(400, _BAD_JSON) from error
    return _object(document)


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise AuthError(400, _BAD_JSON)
    return value


def _string(value: Any) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise AuthError(400, _BAD_JSON)
    return _LONE_SURROGATE.sub("\ufffd", value)


def _strings(value: Any) -> Names | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise AuthError(400, _BAD_JSON)
    return tuple(_string(item) for item in value)


def _access(value: Any) -> Access:
    patterns = _object(_object(value).get("kv"))
    return Access(_strings(patterns.get("read")), _strings(patterns.get("write")))


def _optional_access(value: Any) -> Access | None:
    return None if value is None else _access(value)


def parse_user(body: bytes) -> User:
    """Read the document of a user. Raises AuthError."""
    document = _document(body)
    return User(
        _string(document.get("user")),
        _string(document.get("password")),
        _strings(document.get("roles")),
        _strings(document.get("grant")),
        _strings(document.get("revoke")),
    )


def parse_role(body: bytes) -> Role:
    """Read the document of a role. Raises AuthError."""
    document = _document(body)
    return Role(
        _string(document.get("role")),
        _access(document.get("permissions")),
        _optional_access(document.get("grant")),
        _optional_access(document.get("revoke")),
    )


def requested_user(body: bytes, name: str) -> User:
    """Read a request about the user of that name. Raises AuthError."""
    request = parse_user(body)
    if not request.name or request.name != name:
        raise AuthError(400, "User JSON name does not match the name in the URL")
    if request.roles and request.changes:
        raise AuthError(400, "User JSON contains both roles and grant/revoke")
    return request


def requested_role(body: bytes, name: str) -> Role:
    """Read a request about the role of that name. Raises AuthError.

    An empty pattern has no meaning; in the original it makes later requests crash.
    """
    request = parse_role(body)
    if not request.name or request.name != name:
        raise AuthError(400, "Role JSON name does not match the name in the URL")
    if request.changes and request.permissions.given:
        raise AuthError(400, "Role JSON contains both permissions and grant/revoke")
    for access in (request.permissions, request.grant):
        if access is not None and ("" in (access.read or ()) or "" in (access.write or ())):
            raise AuthError(400, "Role JSON contains an empty permission pattern")
    return request


def stored_user(name: str, record: bytes | None) -> User | None:
    """The user that a record describes; one that cannot be read is no user."""
    if record is None:
        return None
    try:
        user = parse_user(record)
    except AuthError:
        return None
    return with_root_role(user._replace(name=name, grant=None, revoke=None))


def stored_role(name: str, record: bytes | None) -> Role | None:
    """The role that a record describes; the role root is built in."""
    if name == ROOT:
        return ROOT_ROLE
    if record is None:
        return None
    try:
        return parse_role(record)._replace(name=name)
    except AuthError:
        return None


def with_root_role(user: User) -> User:
    """The user root has the role root, whatever is written."""
    roles = user.roles or ()
    if user.name != ROOT or ROOT in roles:
        return user
    return user._replace(roles=(*roles, ROOT))


# --- changing --------------------------------------------------------------------------------


def put_user(old: User | None, request: User, password_hash: str) -> User:
    """The user after a request; `password_hash` is that of the password in it. Raises AuthError."""
    name = request.name
    creates = old is None and not request.changes
    if (creates or request.roles) and not request.password:
        raise AuthError(400, f"auth: Cannot create user {name} with an empty password")
    if old is not None and request.roles:
        raise AuthError(409, f"auth: User {name} already exists.")
    if creates:
        return with_root_role(User(name, password_hash, request.roles))
    if old is None:
        raise AuthError(404, f"auth: User {name} does not exist.")
    roles = set(old.roles or ())
    for role in request.grant or ():
        if role in roles:
            raise AuthError(409, f"auth: Granting duplicate role {role} for user {name}")
        roles.add(role)
    for role in request.revoke or ():
        if role not in roles:
            raise AuthError(409, f"auth: Revoking ungranted role {role} for user {name}")
        roles.remove(role)
    new = User(name, password_hash if request.password else old.password, _sorted(roles))
    if new == old:
        raise AuthError(
            400, "auth: User not updated. Use grant/revoke/password to update the user."
        )
    return new


def put_role(old: Role | None, request: Role) -> Role:
    """The role after a request. Raises AuthError."""
    name = request.name
    if name == ROOT:
        raise root_role_is_fixed()
    if not request.changes:
        if old is not None:
            raise AuthError(409, f"auth: Role {name} already exists.")
        return request
    if old is None:
        raise AuthError(404, f"auth: Role {name} does not exist.")
    grant = request.grant or Access()
    revoke = request.revoke or Access()
    had = old.permissions
    read = _granted(had.read, grant.read, "read")
    write = _granted(had.write, grant.write, "write")
    read.difference_update(revoke.read or ())
    write.difference_update(revoke.write or ())
    new = Role(name, Access(_sorted(read), _sorted(write)))
    if new == old:
        raise AuthError(400, "auth: Role not updated. Use grant/revoke to update the role.")
    return new


def _granted(patterns: Names | None, more: Names | None, kind: str) -> set[str]:
    result = set(patterns or ())
    for pattern in more or ():
        if pattern in result:
            raise AuthError(409, f"auth: Granting duplicate {kind} permission {pattern}")
        result.add(pattern)
    return result


def _sorted(names: set[str]) -> Names:
    """In the order of their bytes, as Go sorts strings."""
    return tuple(sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape")))


def root_role_is_fixed() -> AuthError:
    """Why the role root cannot be touched."""
    return AuthError(403, "auth: Cannot modify role root: is root role.")


# --- writing documents -----------------------------------------------------------------------


def _text_json(text: str) -> bytes:
    return b'"%b"' % escape(text.encode("utf-8", "surrogateescape"))


def _names_json(names: Names | None) -> bytes:
    if names is None:
        return b"null"
    return b"[%b]" % b",".join(map(_text_json, names))


def _access_json(access: Access) -> bytes:
    return b'{"kv":{"read":%b,"write":%b}}' % (_names_json(access.read), _names_json(access.write))


def role_json(role: Role) -> bytes:
    """The document of a role: stored, shown and echoed alike."""
    document = b'{"role":%b,"permissions":%b' % (
        _text_json(role.name),
        _access_json(role.permissions),
    )
    if role.grant is not None:
        document += b',"grant":%b' % _access_json(role.grant)
    if role.revoke is not None:
        document += b',"revoke":%b' % _access_json(role.revoke)
    return document + b"}"


def user_record_json(user: User) -> bytes:
    """The document of a user as it is stored."""
    return b'{"user":%b,"password":%b,"roles":%b}' % (
        _text_json(user.name),
        _text_json(user.password),
        _names_json(user.roles),
    )


def changed_user_json(user: User) -> bytes:
    """The answer to a change of a user: its roles by name."""
    return b'{"user":%b,"roles":%b}' % (_text_json(user.name), _names_json(user.roles))


def user_json(user: User, roles: list[Role]) -> bytes:
    """The document of a user as it is shown: with the roles themselves."""
    if not roles:
        return b'{"user":%b}' % _text_json(user.name)
    return b'{"user":%b,"roles":[%b]}' % (_text_json(user.name), b",".join(map(role_json, roles)))


def users_document(records: Mapping[bytes, bytes]) -> bytes:
    """The document of all users; roles that do not exist are left out."""
    roles = {role.name: role for role in _stored_roles(records)}
    documents = []
    for key in sorted(records):
        if key.startswith(USERS):
            name = key[len(USERS) :].decode("utf-8", "surrogateescape")
            user = stored_user(name, records[key])
            if user is not None:
                known = [roles[role] for role in user.roles or () if role in roles]
                documents.append(user_json(user, known))
    return b'{"users":%b}' % (b"[%b]" % b",".join(documents) if documents else b"null")


def roles_document(records: Mapping[bytes, bytes]) -> bytes:
    """The document of all roles."""
    roles = {role_record(role.name): role_json(role) for role in _stored_roles(records)}
    return b'{"roles":[%b]}' % b",".join(document for _, document in sorted(roles.items()))


def _stored_roles(records: Mapping[bytes, bytes]) -> list[Role]:
    roles = [ROOT_ROLE]
    for key, record in records.items():
        if key.startswith(ROLES):
            role = stored_role(key[len(ROLES) :].decode("utf-8", "surrogateescape"), record)
            if role is not None and role.name != ROOT:
                roles.append(role)
    return roles
