"""The members of the cluster, as `/v2/members` shows and changes them; and `/v2/machines`.

Errors are found in this order: the right to change anything, id, content type, JSON, URLs, what
the cluster says to it. Whether URLs are good is the service's business, since the flags follow the
same rules.
(admin-api, sections 2 and 4.)
"""

from __future__ import annotations

import json
from functools import partial
from typing import Final

from kvraft.api.access import require_root
from kvraft.api.exchange import Exchange
from kvraft.api.response import JSON, PLAIN_ERROR, go_json, message
from kvraft.api.routes import METHOD_NOT_ALLOWED, Router, plain_text
from kvraft.api.service import (
    ChangeKind,
    ChangeOutcome,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Service,
    Unavailable,
)
from kvraft.limits import MAX_CHANGE_BYTES

PATH: Final = b"/v2/members"
METHODS: Final = (b"GET", b"POST", b"DELETE", b"PUT")
_TYPE: Final = b"application/json"
_FIELD: Final = "peerurls"
_MAX_ID_DIGITS: Final = 1000  # leading zeros are allowed; more than that is no id
_HEX_DIGITS: Final = frozenset("0123456789abcdefABCDEF")


class BadBody(Exception):
    """A request body is not the JSON document that was expected; the text is for the client."""


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


def parse_member_id(text: str) -> int | None:
    """A member's id as it stands in a path; None if it cannot be one."""
    if not text or len(text) > _MAX_ID_DIGITS or not _HEX_DIGITS.issuperset(text):
        return None
    number = int(text, 16)
    return None if number >> 64 else number


def _refuse_constant(name: str) -> object:
    raise ValueError(name)  # NaN and Infinity, which only Python takes for JSON


_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)


def peer_urls_of(body: bytes) -> tuple[str, ...]:
    """The URLs in the body of a request, unchecked. Raises BadBody.

    As Go reads it: keys in any case, the last one counts, others are ignored, null is nothing.
    """
    if len(body) > MAX_CHANGE_BYTES:
        raise BadBody("http: request body too large")
    try:
        document = _decoder.decode(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise BadBody(_syntax_error(error)) from error
    if document is None:
        return ()
    if not isinstance(document, dict):
        raise BadBody(f"json: cannot unmarshal {_go_type(document)} into a member")
    urls: list[str] = []
    for name, value in document.items():
        if name.lower() != _FIELD:
            continue
        if value is not None and not isinstance(value, list):
            raise BadBody(f"json: cannot unmarshal {_go_type(value)} into peerURLs of a member")
        urls = []
        for url in value or ():
            if url is not None and not isinstance(url, str):
                raise BadBody(f"json: cannot unmarshal {_go_type(url)} into a peer URL")
            urls.append(_whole_characters(url or ""))
    return tuple(urls)


def _whole_characters(text: str) -> str:
    """Half a surrogate pair, which JSON can spell but no answer could carry, becomes U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _syntax_error(error: Exception) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return "invalid character or number, or nested too deeply"
    text = error.doc
    if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
        return "unexpected end of JSON input"
    return f"invalid character {go_json(text[error.pos]).decode()} at position {error.pos}"


def _go_type(value: object) -> str:
    names = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


class MembersRoute:
    """Serves `/v2/members` and everything below it."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, exchange: Exchange) -> None:
        """Serve one request, whose method has been checked."""
        if exchange.method != b"GET":
            require_root(exchange, lambda: self._change(exchange))
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

    def _answer(self, exchange: Exchange, status: int, body: bytes) -> None:
        exchange.respond(status, JSON + exchange.port.cluster_header, body)

    # --- changes -------------------------------------------------------------------------

    def _change(self, exchange: Exchange) -> None:
        member_id = 0
        if exchange.method != b"POST":
            text = exchange.path[len(PATH) :].removeprefix(b"/").decode("utf-8", "surrogateescape")
            if not text:
                headers = PLAIN_ERROR + exchange.port.cluster_header
                exchange.respond(405, headers, METHOD_NOT_ALLOWED)
                return
            parsed = parse_member_id(text)
            if parsed is None:
                self._answer(exchange, 404, message(f"No such member: {text}"))
                return
            member_id = parsed
        if exchange.method == b"DELETE":
            self._submit(exchange, MemberChange(ChangeKind.REMOVE, member_id))
            return
        given = (exchange.content_type or b"").rstrip(b" \t")  # the parser leaves what is behind
        if given != _TYPE:
            reason = f"Bad Content-Type {given.decode('latin-1')}, accept {_TYPE.decode()}"
            self._answer(exchange, 415, message(reason))
            return
        try:
            if exchange.body_too_large:
                raise BadBody("http: request body too large")
            urls = peer_urls_of(exchange.body)
        except BadBody as error:
            self._answer(exchange, 400, message(str(error)))
            return
        kind = ChangeKind.ADD if exchange.method == b"POST" else ChangeKind.UPDATE
        self._submit(exchange, MemberChange(kind, member_id, urls))

    def _submit(self, exchange: Exchange, change: MemberChange) -> None:
        self._service.change_membership(change, partial(self._changed, exchange, change))

    def _changed(self, exchange: Exchange, change: MemberChange, outcome: ChangeOutcome) -> None:
        if isinstance(outcome, MemberChangeError):
            self._answer(exchange, *_refusal(change, outcome))
        elif isinstance(outcome, Unavailable):
            self._answer(exchange, *_INTERNAL)
        elif change.kind is ChangeKind.ADD and outcome is not None:
            self._answer(exchange, 201, member_json(outcome) + b"\n")
        else:
            exchange.respond(204, exchange.port.cluster_header, b"")


_INTERNAL: Final = (500, message("Internal Server Error"))


def _refusal(change: MemberChange, error: MemberChangeError) -> tuple[int, bytes]:
    """Status and body of a refused change."""
    reason = error.reason
    if reason is ChangeRefusal.BAD_URLS:
        return 400, message(error.text)
    if reason is ChangeRefusal.ID_EXISTS:
        return 409, message("etcdserver: ID exists")
    if reason is ChangeRefusal.URL_EXISTS:
        return 409, message("etcdserver: peerURL exists")
    if reason is ChangeRefusal.UNKNOWN_MEMBER:
        return 404, message(f"No such member: {change.member_id:x}")
    if reason is ChangeRefusal.REMOVED_MEMBER:
        return 410, message(f"Member permanently removed: {change.member_id:x}")
    return _INTERNAL


def add_member_routes(router: Router, service: Service) -> None:
    """Enter the routes of this module into a table."""
    route = MembersRoute(service)
    router.add(PATH, METHODS, route)
    router.add(PATH + b"/", METHODS, route)
    router.add(b"/v2/machines", (b"GET", b"HEAD"), route.machines)
