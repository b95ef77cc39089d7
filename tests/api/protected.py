"""A member with users and roles, and requests with credentials."""

from __future__ import annotations

import base64

import bcrypt

from kvraft.auth import model
from kvraft.auth.model import Access, Role, User
from kvraft.store.request import Op, Request
from tests.api.fakes import FakeService
from tests.api.wire import Answer, Client, Wire, answers, request

PASSWORD = "p"
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4, prefix=b"2a")).decode()
"""Cheap to check; everybody's password here, for tests that make no users of their own."""
REFUSED = (
    b'{"errorCode":110,"message":"The request requires user authentication",'
    b'"cause":"Insufficient credentials","index":0}\n'
)
INSUFFICIENT = b'{"message":"Insufficient credentials"}'


def basic(credentials: str) -> bytes:
    """The header of a user and a password."""
    return b"Authorization: Basic " + base64.b64encode(credentials.encode("utf-8", "ignore"))


ROOT = basic("root:p")


def put_record(service: FakeService, name: bytes, value: bytes) -> None:
    service.store.apply(Request(Op.PUT_RECORD, name, value))


def put_user(service: FakeService, name: str, *roles: str) -> None:
    user = User(name, HASH, roles)
    put_record(service, model.user_record(name), model.user_record_json(user))


def put_role(
    service: FakeService, name: str, read: tuple[str, ...] = (), write: tuple[str, ...] = ()
) -> None:
    role = Role(name, Access(read, write))
    put_record(service, model.role_record(name), model.role_json(role))


def drop_role(service: FakeService, name: str) -> None:
    service.store.apply(Request(Op.DELETE_RECORD, model.role_record(name)))


def protect(service: FakeService, on: bool = True) -> None:
    """Switch auth; a user root exists, a role guest does not."""
    for name, value in model.FIRST_RECORDS:
        put_record(service, name, value)
    put_user(service, "root", "root")
    put_record(service, model.SWITCH, b"true" if on else b"false")


def ask(
    wire: Wire,
    method: bytes,
    target: bytes,
    body: bytes | None = None,
    *headers: bytes,
    client: Client | None = None,
) -> Answer:
    """One request, and its answer once the threads have finished."""
    client = client or wire.client()
    client.send(request(method, target, body, *headers))
    wire.loop.run()
    (only,) = answers(client.take(), [0] if method == b"HEAD" else [])
    return only
