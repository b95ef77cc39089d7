"""The members of the cluster, as `/v2/members` and `/v2/machines` show them.

Reading only; what changes the membership is not available at run time and says so.
(admin-api, sections 2 and 4.)
"""

from __future__ import annotations

from typing import Final

from kvraft.api.exchange import Exchange
from kvraft.api.response import JSON, PLAIN_ERROR, go_json, message
from kvraft.api.routes import METHOD_NOT_ALLOWED, Router, plain_text
from kvraft.api.service import MemberInfo, Service

PATH: Final = b"/v2/members"
METHODS: Final = (b"GET", b"POST", b"DELETE", b"PUT")
_NO_CHANGES: Final = "membership cannot be changed while the cluster runs"


def member_json(member: MemberInfo) -> bytes:
    """The document of one member."""
    return go_json(
        {
            "id": f"{member.id:x}",
            "name": member.name,
            "peerURLs": member.peer_urls,
            "clientURLs": member.client_urls,
        }
    )


class MembersRoute:
    """Serves `/v2/members` and everything below it."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request, whose method has been checked."""
        rest = exchange.path[len(PATH) :].strip(b"/")
        if exchange.method != b"GET":
            self._refuse_change(exchange, rest)
        elif exchange.path in (PATH, PATH + b"/"):
            self._list(exchange)
        elif exchange.path == PATH + b"/leader":
            self._leader(exchange)
        else:
            self._answer(exchange, 404, message("Not found"))

    def machines(self, exchange: Exchange) -> None:
        """Serve `/v2/machines`: all client URLs."""
        urls = sorted(url for member in self._service.members() for url in member.client_urls)
        plain_text(exchange, ", ".join(urls).encode())

    def _list(self, exchange: Exchange) -> None:
        members = sorted(self._service.members())
        body = b'{"members":[%b]}\n' % b",".join(member_json(member) for member in members)
        self._answer(exchange, 200, body)

    def _leader(self, exchange: Exchange) -> None:
        leader = self._service.leader()
        if leader is None:
            self._answer(exchange, 503, message("During election"))
        else:
            self._answer(exchange, 200, member_json(leader) + b"\n")

    def _refuse_change(self, exchange: Exchange, member: bytes) -> None:
        if exchange.method != b"POST" and not member:
            headers = PLAIN_ERROR + exchange.port.cluster_header
            exchange.respond(405, headers, METHOD_NOT_ALLOWED)
        else:
            self._answer(exchange, 501, message(_NO_CHANGES))

    def _answer(self, exchange: Exchange, status: int, body: bytes) -> None:
        exchange.respond(status, JSON + exchange.port.cluster_header, body)


def add_member_routes(router: Router, service: Service) -> None:
    """Enter the routes of this module into a table."""
    route = MembersRoute(service)
    router.add(PATH, METHODS, route)
    router.add(PATH + b"/", METHODS, route)
    router.add(b"/v2/machines", (b"GET", b"HEAD"), route.machines)
