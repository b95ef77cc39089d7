"""Users and roles: what requests mean, row by row (admin-api, sections 7.2 to 7.5)."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.auth import model
from kvraft.auth.model import Access, AuthError, Role, User

HASH = "$2a$10$new"


def refusal(error: pytest.ExceptionInfo[AuthError]) -> tuple[int, str]:
    return error.value.status, error.value.text


def put_user(old: User | None, document: str, name: str = "u") -> User:
    return model.put_user(old, model.requested_user(document.encode(), name), HASH)


def put_role(old: Role | None, document: str, name: str = "r") -> Role:
    return model.put_role(old, model.requested_role(document.encode(), name))


# --- documents that clients send -----------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"[]",
        b'"u"',
        b"1",
        b"true",
        b"{",
        b'{"user":1}',
        b'{"user":"u","password":[]}',
        b'{"user":"u","roles":"r"}',
        b'{"user":"u","roles":[1]}',
        b'{"user":"u","grant":{}}',
        b'{"user":NaN}',
        b'{"user":"u",}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_user(body: bytes) -> None:
    with pytest.raises(AuthError) as error:
        model.requested_user(body, "u")
    assert refusal(error) == (400, "Invalid JSON in request body.")


@pytest.mark.parametrize(
    "body",
    [
        b'{"role":"r","permissions":[]}',
        b'{"role":"r","permissions":{"kv":[]}}',
        b'{"role":"r","permissions":{"kv":{"read":"/a"}}}',
        b'{"role":"r","grant":{"kv":{"write":[{}]}}}',
        b'{"role":"r","revoke":"x"}',
    ],
)
def test_what_is_no_role(body: bytes) -> None:
    with pytest.raises(AuthError) as error:
        model.requested_role(body, "r")
    assert refusal(error) == (400, "Invalid JSON in request body.")


def test_documents_are_read_as_go_reads_them() -> None:
    user = model.parse_user(b' \n{"USER":"a","PassWord":"p","more":[{}],"roles":null} and so on')
    assert user == User("a", "p")
    assert model.parse_user(b"null") == User("")
    assert model.parse_user(b'{"user":"a","user":"b","User":"c"}').name == "c"
    assert model.parse_user(b'{"user":"a\\ud800b\xff"}').name == "a\ufffdb\ufffd"
    assert model.parse_user(b'{"user":"a","roles":[null]}').roles == ("",)
    role = model.parse_role(b'{"role":"r","Permissions":{"KV":{"read":["/a"],"write":null}}}')
    assert role == Role("r", Access(("/a",), None))
    assert model.parse_role(b'{"role":"r","grant":{"kv":null}}').grant == Access()


def test_repeated_fields_are_read_as_go_reads_them() -> None:
    assert model.parse_user(b'{"user":"a","user":null,"password":"p","PASSWORD":null}') == User(
        "a", "p"
    )
    assert model.parse_user(b'{"user":"a","roles":["r"],"roles":null}').roles is None
    role = model.parse_role(
        b'{"role":"r","permissions":{"kv":{"read":["/a","/b"]}},'
        b'"Permissions":{"kv":{"write":["/c"],"read":["/d"]},"kv":null},"permissions":null,'
        b'"grant":{"kv":{"read":["/x"]}},"grant":{"kv":{"write":["/y"]}},'
        b'"revoke":{"kv":{}},"revoke":null}'
    )
    assert role == Role("r", Access(("/d",), ("/c",)), Access(("/x",), ("/y",)), None)


@pytest.mark.parametrize("body", [b"{}", b"null", b'{"user":"x"}', b'{"user":""}', b'{"user":"U"}'])
def test_the_name_of_a_user_stands_in_both_places(body: bytes) -> None:
    with pytest.raises(AuthError) as error:
        model.requested_user(body, "u")
    assert refusal(error) == (400, "User JSON name does not match the name in the URL")


def test_the_name_of_a_role_stands_in_both_places() -> None:
    with pytest.raises(AuthError) as error:
        model.requested_role(b'{"role":"x"}', "r")
    assert refusal(error) == (400, "Role JSON name does not match the name in the URL")


# --- users (7.4) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "roles"),
    [
        ('{"user":"u","password":"p"}', None),
        ('{"user":"u","password":"p","roles":[]}', ()),
        ('{"user":"u","password":"p","grant":[],"revoke":[]}', None),
        ('{"user":"u","password":"p","roles":["z","r"]}', ("z", "r")),
        ('{"user":"u","password":"p","roles":["z","z"],"grant":[]}', ("z", "z")),
    ],
)
def test_user_is_created(document: str, roles: tuple[str, ...] | None) -> None:
    assert put_user(None, document) == User("u", HASH, roles)


def test_user_root_is_created_with_its_role() -> None:
    assert put_user(None, '{"user":"root","password":"p"}', "root").roles == ("root",)
    request = '{"user":"root","password":"p","roles":["b","a"]}'
    assert put_user(None, request, "root").roles == ("b", "a", "root")
    request = '{"user":"root","password":"p","roles":["root","a"]}'
    assert put_user(None, request, "root").roles == ("root", "a")


@pytest.mark.parametrize(
    ("document", "roles"),
    [
        ('{"user":"u","password":"p"}', ("r1", "r2")),
        ('{"user":"u","grant":["a","b"]}', ("a", "b", "r1", "r2")),
        ('{"user":"u","revoke":["r1"]}', ("r2",)),
        ('{"user":"u","revoke":["r2","r1"]}', ()),
        ('{"user":"u","grant":["a"],"revoke":["r1"]}', ("a", "r2")),
        ('{"user":"u","grant":["a"],"roles":[]}', ("a", "r1", "r2")),
        ('{"user":"u","grant":["a"],"revoke":["a"],"password":"p"}', ("r1", "r2")),
    ],
)
def test_user_is_changed(document: str, roles: tuple[str, ...]) -> None:
    changed = put_user(User("u", "old", ("r1", "r2")), document)
    password = HASH if "password" in document else "old"
    assert changed == User("u", password, roles)


NOT_UPDATED = "auth: User not updated. Use grant/revoke/password to update the user."
EMPTY = "auth: Cannot create user u with an empty password"


@pytest.mark.parametrize(
    ("exists", "document", "status", "text"),
    [
        (False, '{"user":"u"}', 400, EMPTY),
        (False, '{"user":"u","roles":["a"]}', 400, EMPTY),
        (True, '{"user":"u","roles":["a"]}', 400, EMPTY),
        (True, '{"user":"u","roles":["a"],"password":"p"}', 409, "auth: User u already exists."),
        (False, '{"user":"u","grant":["a"]}', 404, "auth: User u does not exist."),
        (False, '{"user":"u","grant":["a"],"password":"p"}', 404, "auth: User u does not exist."),
        (False, '{"user":"u","revoke":["a"]}', 404, "auth: User u does not exist."),
        (True, '{"user":"u"}', 400, NOT_UPDATED),
        (True, '{"user":"u","roles":[]}', 400, NOT_UPDATED),
        (True, '{"user":"u","grant":[],"revoke":[]}', 400, NOT_UPDATED),
        (True, '{"user":"u","grant":["x"],"revoke":["x"]}', 400, NOT_UPDATED),
        (
            True,
            '{"user":"u","grant":["a","r1"]}',
            409,
            "auth: Granting duplicate role r1 for user u",
        ),
        (True, '{"user":"u","grant":["a","a"]}', 409, "auth: Granting duplicate role a for user u"),
        (True, '{"user":"u","revoke":["zz"]}', 409, "auth: Revoking ungranted role zz for user u"),
        (
            True,
            '{"user":"u","roles":["a"],"grant":["b"]}',
            400,
            "User JSON contains both roles and grant/revoke",
        ),
        (
            False,
            '{"user":"u","roles":["a"],"revoke":["b"],"password":"p"}',
            400,
            "User JSON contains both roles and grant/revoke",
        ),
    ],
)
def test_user_is_refused(exists: bool, document: str, status: int, text: str) -> None:
    old = User("u", "old", ("r1", "r2")) if exists else None
    with pytest.raises(AuthError) as error:
        put_user(old, document)
    assert refusal(error) == (status, text)


def test_the_first_update_of_a_user_without_roles_changes_null_to_a_list() -> None:
    assert put_user(User("u", "old", None), '{"user":"u"}') == User("u", "old", ())


# --- roles (7.5) -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        '{"role":"r","permissions":{"kv":{"read":null,"write":null}}}',
        '{"role":"r","permissions":{"kv":{"read":["/x","/a/*"],"write":["/b"]}}}',
        '{"role":"r","permissions":{"kv":{"read":["noslash"],"write":[]}}}',
        (
            '{"role":"r","permissions":{"kv":{"read":[],"write":[]}},"grant":'
            '{"kv":{"read":[],"write":[]}}}'
        ),
    ],
)
def test_role_is_created_as_it_was_sent(document: str) -> None:
    assert model.role_json(put_role(None, document)).decode() == document


def test_role_is_created_from_as_little_as_its_name() -> None:
    assert put_role(None, '{"role":"r"}') == Role("r", Access(None, None))
    request = '{"role":"r","permissions":{"kv":{"read":["/x"]}},"revoke":{}}'
    assert put_role(None, request) == Role("r", Access(("/x",), None), None, Access())


OLD_ROLE = Role("r", Access(("/a/*", "/b"), None))


@pytest.mark.parametrize(
    ("document", "read", "write"),
    [
        ('{"role":"r","grant":{"kv":{"read":["/0"]}}}', ("/0", "/a/*", "/b"), ()),
        ('{"role":"r","grant":{"kv":{"write":["/w"]}}}', ("/a/*", "/b"), ("/w",)),
        ('{"role":"r","revoke":{"kv":{"read":["/b","/none"]}}}', ("/a/*",), ()),
        (
            '{"role":"r","grant":{"kv":{"read":["/c"]}},"revoke":{"kv":{"read":["/b"]}}}',
            ("/a/*", "/c"),
            (),
        ),
        ('{"role":"r","revoke":{"kv":{"write":["/none"]}}}', ("/a/*", "/b"), ()),
    ],
)
def test_role_is_changed(document: str, read: tuple[str, ...], write: tuple[str, ...]) -> None:
    assert put_role(OLD_ROLE, document) == Role("r", Access(read, write))


ROLE_NOT_UPDATED = "auth: Role not updated. Use grant/revoke to update the role."
ROOT_ROLE = "auth: Cannot modify role root: is root role."
BOTH = "Role JSON contains both permissions and grant/revoke"


@pytest.mark.parametrize(
    ("old", "document", "status", "text"),
    [
        (OLD_ROLE, '{"role":"r"}', 409, "auth: Role r already exists."),
        (
            OLD_ROLE,
            '{"role":"r","permissions":{"kv":{"read":["/z"]}},"grant":{}}',
            409,
            "auth: Role r already exists.",
        ),
        (
            None,
            '{"role":"r","grant":{"kv":{"read":["/a"]}}}',
            404,
            "auth: Role r does not exist.",
        ),
        (
            OLD_ROLE,
            '{"role":"r","grant":{"kv":{"read":["/b"],"write":["/w"]}}}',
            409,
            "auth: Granting duplicate read permission /b",
        ),
        (
            OLD_ROLE,
            '{"role":"r","grant":{"kv":{"write":["/w","/w"]}}}',
            409,
            "auth: Granting duplicate write permission /w",
        ),
        (
            Role("r", Access(("/a",), ())),
            '{"role":"r","revoke":{"kv":{"read":["/none"]}}}',
            400,
            ROLE_NOT_UPDATED,
        ),
        (
            Role("r", Access(("/a",), ())),
            '{"role":"r","grant":{"kv":{"read":["/b"]}},"revoke":{"kv":{"read":["/b"]}}}',
            400,
            ROLE_NOT_UPDATED,
        ),
        (
            OLD_ROLE,
            '{"role":"r","permissions":{"kv":{"read":["/a"]}},"grant":{"kv":{"read":["/b"]}}}',
            400,
            BOTH,
        ),
        (
            None,
            '{"role":"r","permissions":{"kv":{"read":[""]}}}',
            400,
            "Role JSON contains an empty permission pattern",
        ),
        (
            OLD_ROLE,
            '{"role":"r","grant":{"kv":{"write":["/a",""]}}}',
            400,
            "Role JSON contains an empty permission pattern",
        ),
    ],
)
def test_role_is_refused(old: Role | None, document: str, status: int, text: str) -> None:
    with pytest.raises(AuthError) as error:
        put_role(old, document)
    assert refusal(error) == (status, text)


@pytest.mark.parametrize(
    "document", ['{"role":"root"}', '{"role":"root","grant":{"kv":{"read":["/a"]}}}']
)
def test_role_root_cannot_be_touched(document: str) -> None:
    with pytest.raises(AuthError) as error:
        put_role(None, document, "root")
    assert refusal(error) == (403, ROOT_ROLE)


# --- what is stored and shown ------------------------------------------------------------------

NAMES = st.none() | st.lists(st.text(max_size=5), max_size=4).map(tuple)
ACCESS = st.builds(Access, NAMES, NAMES)


@given(st.builds(Role, st.text(min_size=1), ACCESS, st.none() | ACCESS, st.none() | ACCESS))
def test_roles_come_back_from_their_records(role: Role) -> None:
    document = model.role_json(role)
    if role.name != model.ROOT:
        assert model.stored_role(role.name, document) == role
    assert json.loads(document)["permissions"]["kv"].keys() == {"read", "write"}


@given(st.builds(User, st.text(min_size=1), st.text(), NAMES))
def test_users_come_back_from_their_records(user: User) -> None:
    stored = model.stored_user(user.name, model.user_record_json(user))
    assert stored == model.with_root_role(user._replace(grant=None, revoke=None))


def test_unreadable_records_are_nobody() -> None:
    assert model.stored_user("u", b"[1]") is None
    assert model.stored_role("r", b"") is None
    assert model.stored_role("root", b"whatever") == model.ROOT_ROLE


def test_lists_are_sorted_and_expand_roles() -> None:
    records = {b"/0/version": b"2.3.0", b"/2": b"", b"/2/users": b"", b"/2/enabled": b"true"}
    assert model.users_document(records) == b'{"users":null}'
    root = b'{"role":"root","permissions":{"kv":{"read":["/*"],"write":["/*"]}}}'
    assert model.roles_document(records) == b'{"roles":[%b]}' % root
    role = Role("r", Access(("/a<",), None))
    for user in (User("b", "h", ("gone", "r")), User("a", "h", None), User("root", "h", ())):
        records[model.user_record(user.name)] = model.user_record_json(user)
    for name in ("r", "\xe9", "z"):
        records[model.role_record(name)] = model.role_json(role._replace(name=name))
    shown = rb'{"role":"r","permissions":{"kv":{"read":["/a\u003c"],"write":null}}}'
    assert model.users_document(records) == (
        b'{"users":[{"user":"a"},{"user":"b","roles":[%b]},{"user":"root","roles":[%b]}]}'
    ) % (shown, root)
    names = [role["role"] for role in json.loads(model.roles_document(records))["roles"]]
    assert names == ["r", "root", "z", "\xe9"]
