"""Users, roles and the switch of auth over HTTP: `/v2/auth/...`.

Each request is checked in one order: whether the cluster can do auth yet, the path, the method,
the client's right to administer, the body. (admin-api, sections 7.1, 7.3, 7.4 and 7.5.)
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from kvraft.api.access import BUSY, AccessControl
from kvraft.api.exchange import Exchange
from kvraft.api.response import JSON
from kvraft.api.routes import Router, refuse_method
from kvraft.api.service import Service, Unavailable
from kvraft.auth import model
from kvraft.auth.model import AuthError, Role, User
from kvraft.auth.store import Busy, Problem
from kvraft.limits import AUTH_INLINE_RECORDS, MAX_AUTH_BODY_BYTES

PATH: Final = b"/v2/auth"
NOT_CAPABLE: Final = "Not capable of accessing auth feature during rolling upgrades."
_LIST: Final = (b"GET",)
_ONE: Final = (b"GET", b"PUT", b"DELETE")
_log: Final = logging.getLogger("kvraft.etcdhttp")

Serve = Callable[[Exchange], None]
ServeOne = Callable[[Exchange, str], None]


class AuthRoutes:
    """Serves `/v2/auth/enable`, `/v2/auth/users` and `/v2/auth/roles`."""

    __slots__ = ("_access", "_auth", "_loop", "_service")

    def __init__(self, service: Service, access: AccessControl, loop: AbstractEventLoop) -> None:
        self._service = service
        self._access = access
        self._auth = access.auth
        self._loop = loop

    # --- the order of checks ------------------------------------------------------------

    def switch(self, exchange: Exchange) -> None:
        """Serve `/v2/auth/enable`."""
        if not self._capable(exchange):
            return
        method = exchange.method
        if method not in _ONE:
            refuse_method(exchange, _ONE)
        elif method == b"GET":
            self._access.when_known(exchange, lambda: self._show_switch(exchange))
        else:
            change = self._auth.enable if method == b"PUT" else self._auth.disable
            self._access.require_root(
                exchange, lambda: change(lambda problem: self._changed(exchange, problem))
            )

    def users(self, exchange: Exchange) -> None:
        """Serve `/v2/auth/users` and everything below it."""
        get, put, delete = self._get_user, self._put_user, self._delete_user
        self._serve(exchange, b"/users", self._list_users, get, put, delete)

    def roles(self, exchange: Exchange) -> None:
        """Serve `/v2/auth/roles` and everything below it."""
        get, put, delete = self._get_role, self._put_role, self._delete_role
        self._serve(exchange, b"/roles", self._list_roles, get, put, delete)

    def _serve(
        self,
        exchange: Exchange,
        collection: bytes,
        show_all: Serve,
        get: ServeOne,
        put: ServeOne,
        delete: ServeOne,
    ) -> None:
        if not self._capable(exchange):
            return
        path = exchange.path[len(PATH) + len(collection) :].strip(b"/")
        if b"/" in path:
            exchange.respond_message(400, "Invalid path")
            return
        methods = _ONE if path else _LIST
        method = exchange.method
        if method not in methods:
            refuse_method(exchange, methods)
            return
        name = path.decode("utf-8", "surrogateescape")
        if not name:
            run = partial(show_all, exchange)
        elif method == b"GET":
            run = partial(get, exchange, name)
        else:
            run = partial(put if method == b"PUT" else delete, exchange, name)
        self._access.require_root(exchange, run)

    def _capable(self, exchange: Exchange) -> bool:
        """Whether the cluster has agreed on a version, each of which can do auth."""
        if self._service.cluster_version is None:
            exchange.respond_message(500, NOT_CAPABLE)
            return False
        return True

    # --- reading ------------------------------------------------------------------------

    def _show_switch(self, exchange: Exchange) -> None:
        document = b'{"enabled":true}\n' if self._auth.enabled else b'{"enabled":false}\n'
        self._answer(exchange, 200, document)

    def _list_users(self, exchange: Exchange) -> None:
        self._show_list(exchange, model.users_document)

    def _list_roles(self, exchange: Exchange) -> None:
        self._show_list(exchange, model.roles_document)

    def _show_list(
        self, exchange: Exchange, document: Callable[[Mapping[bytes, bytes]], bytes]
    ) -> None:
        records = self._auth.records()
        if len(records) <= AUTH_INLINE_RECORDS:
            self._answer(exchange, 200, document(records) + b"\n")
            return
        made = self._loop.run_in_executor(None, document, records)
        made.add_done_callback(lambda made: self._answer(exchange, 200, made.result() + b"\n"))

    def _get_user(self, exchange: Exchange, name: str) -> None:
        user = self._auth.user(name)
        if user is None:
            self._refuse(exchange, 404, f"auth: User {name} does not exist.")
            return
        try:
            roles = [self._existing_role(role) for role in user.roles or ()]
        except AuthError as error:
            self._refuse(exchange, error.status, error.text)
        else:
            self._answer(exchange, 200, model.user_json(user, roles) + b"\n")

    def _get_role(self, exchange: Exchange, name: str) -> None:
        try:
            role = self._existing_role(name)
        except AuthError as error:
            self._refuse(exchange, error.status, error.text)
        else:
            self._answer(exchange, 200, model.role_json(role) + b"\n")

    def _existing_role(self, name: str) -> Role:
        role = self._auth.role(name)
        if role is None:
            raise AuthError(404, f"auth: Role {name} does not exist.")
        return role

    # --- changing -----------------------------------------------------------------------

    def _put_user(self, exchange: Exchange, name: str) -> None:
        def put(problem: Problem, user: User | None, created: bool) -> None:
            if user is None:
                self._failed(exchange, problem)
                return
            # As in etcd, a new user that was given its roles is no 201.
            status = 201 if created and not request.roles else 200
            self._answer(exchange, status, model.changed_user_json(user) + b"\n")

        try:
            request = model.requested_user(_body(exchange), name)
        except AuthError as error:
            self._failed(exchange, error)
        else:
            self._auth.put_user(request, put)

    def _put_role(self, exchange: Exchange, name: str) -> None:
        def put(problem: Problem, role: Role | None, created: bool) -> None:
            if role is None:
                self._failed(exchange, problem)
            else:
                self._answer(exchange, 201 if created else 200, model.role_json(role) + b"\n")

        try:
            request = model.requested_role(_body(exchange), name)
        except AuthError as error:
            self._failed(exchange, error)
        else:
            self._auth.put_role(request, put)

    def _delete_user(self, exchange: Exchange, name: str) -> None:
        self._auth.delete_user(name, lambda problem: self._changed(exchange, problem))

    def _delete_role(self, exchange: Exchange, name: str) -> None:
        self._auth.delete_role(name, lambda problem: self._changed(exchange, problem))

    # --- answers ------------------------------------------------------------------------

    def _changed(self, exchange: Exchange, problem: Problem) -> None:
        if problem is None:
            self._answer(exchange, 200, b"")
        else:
            self._failed(exchange, problem)

    def _failed(self, exchange: Exchange, problem: Problem) -> None:
        if isinstance(problem, AuthError):
            self._refuse(exchange, problem.status, problem.text)
        elif isinstance(problem, Busy):
            self._refuse(exchange, 503, BUSY)
        else:
            assert isinstance(problem, Unavailable)
            _log.error("%s", problem.cause)
            self._refuse(exchange, 500, "Internal Server Error")

    def _refuse(self, exchange: Exchange, status: int, text: str) -> None:
        exchange.respond_message(status, text, exchange.port.cluster_header)

    def _answer(self, exchange: Exchange, status: int, body: bytes) -> None:
        exchange.respond(status, JSON + exchange.port.cluster_header, body)


def _body(exchange: Exchange) -> bytes:
    if exchange.body_too_large or len(exchange.body) > MAX_AUTH_BODY_BYTES:
        raise AuthError(413, f"The request body has more than {MAX_AUTH_BODY_BYTES} bytes")
    return exchange.body


def add_auth_routes(
    router: Router, service: Service, access: AccessControl, loop: AbstractEventLoop
) -> None:
    """Enter the routes of this module into a table."""
    routes = AuthRoutes(service, access, loop)
    router.add(PATH + b"/enable", (), routes.switch)
    for collection, serve in ((b"/users", routes.users), (b"/roles", routes.roles)):
        router.add(PATH + collection, (), serve)
        router.add(PATH + collection + b"/", (), serve)
