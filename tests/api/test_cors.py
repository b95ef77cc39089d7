"""Cross-origin answers, sentence by sentence of the reference."""

from __future__ import annotations

import pytest

from kvraft.api.guards import Guards
from kvraft.store.request import Op, Request
from tests.api.wire import Wire, answer, get, request

KEY = b"/v2/keys/a"
PAGE = b"http://a.example"
METHODS = b"POST, GET, OPTIONS, PUT, DELETE"
HEADERS = b"accept, content-type, authorization"


def wire_for(*origins: str) -> Wire:
    wire = Wire(Guards(cors_origins=origins))
    wire.service.store.apply(Request(Op.SET, b"/a", b"1"))
    return wire


def granted(data: bytes) -> bytes | None:
    """The origin that an answer lets in; all three headers come together, and never Vary."""
    headers = answer(data).headers
    assert b"Vary" not in headers
    names = [name for name in headers if name.startswith(b"Access-Control-")]
    if not names:
        return None
    assert names == [
        b"Access-Control-Allow-Headers",
        b"Access-Control-Allow-Methods",
        b"Access-Control-Allow-Origin",
    ]
    assert headers[b"Access-Control-Allow-Headers"] == HEADERS
    assert headers[b"Access-Control-Allow-Methods"] == METHODS
    return headers[b"Access-Control-Allow-Origin"]


ANSWERS = {
    "found": get(KEY, b"Origin: " + PAGE),
    "not found": get(b"/v2/keys/nothing", b"Origin: " + PAGE),
    "refused parameter": get(KEY + b"?recursive=x", b"Origin: " + PAGE),
    "no route": get(b"/nothing", b"Origin: " + PAGE),
    "no method": request(b"PUT", b"/v2/machines", b"", b"Origin: " + PAGE),
    "moved": get(b"/v2//keys/a", b"Origin: " + PAGE),
    "members": get(b"/v2/members", b"Origin: " + PAGE),
    "statistics": get(b"/v2/stats/store", b"Origin: " + PAGE),
    "version": get(b"/version", b"Origin: " + PAGE),
    "written": request(b"PUT", KEY, b"value=2", b"Origin: " + PAGE),
    "preflight": request(b"OPTIONS", KEY, None, b"Origin: " + PAGE),
    "preflight of nothing": request(b"OPTIONS", b"/nothing", None, b"Origin: " + PAGE),
    "head": request(b"HEAD", KEY, None, b"Origin: " + PAGE),
}


@pytest.mark.parametrize("name", [name for name in ANSWERS if name != "head"])
def test_every_answer_carries_the_headers(name: str) -> None:
    data = ANSWERS[name]
    assert granted(wire_for("http://a.example").client().ask(data)) == PAGE
    assert granted(wire_for("*").client().ask(data)) == b"*"
    assert granted(wire_for("http://b.example", "http://a.example").client().ask(data)) == PAGE


@pytest.mark.parametrize("query", [b"?wait=true", b"?wait=true&stream=true"])
def test_watches_carry_them_at_their_beginning(query: bytes) -> None:
    head = wire_for("*").client().ask(get(KEY + query)).partition(b"\r\n\r\n")[0]
    assert b"Access-Control-Allow-Origin: *" in head.split(b"\r\n")


def test_a_head_carries_them() -> None:
    head = wire_for("*").client().ask(ANSWERS["head"])
    assert b"\r\nAccess-Control-Allow-Origin: *\r\n" in head


def test_with_a_star_they_do_not_depend_on_the_origin() -> None:
    client = wire_for("*").client()
    for asked in (get(KEY), get(KEY), request(b"PUT", KEY, b"value=1"), get(KEY + b"?quorum=true")):
        assert granted(client.ask(asked)) == b"*"


def test_what_one_request_was_granted_the_next_is_not() -> None:
    wire = wire_for("http://a.example")
    client = wire.client()
    for value in (b"short", b"x" * 5000):
        wire.service.store.apply(Request(Op.SET, b"/a", value))
        assert granted(client.ask(get(KEY))) is None
        assert granted(client.ask(get(KEY, b"Origin: " + PAGE))) == PAGE
        assert granted(client.ask(get(KEY))) is None


@pytest.mark.parametrize(
    "origin",
    [b"http://a.example:80", b"https://a.example", b"http://A.example", b"http://a.example/", b""],
)
def test_an_origin_has_to_match_exactly(origin: bytes) -> None:
    client = wire_for("http://a.example").client()
    assert granted(client.ask(get(KEY, b"Origin: " + origin))) is None
    assert granted(client.ask(get(KEY))) is None


def test_options_succeed_without_cors_too() -> None:
    for target in (KEY, b"/nothing", b"/v2/auth/users", b"*", b"/"):
        data = wire_for().client().ask(request(b"OPTIONS", target, None))
        got = answer(data)
        assert (got.status, got.body) == (200, b"")
        assert granted(data) is None
        preflight = request(b"OPTIONS", target, None, b"Origin: " + PAGE)
        assert granted(wire_for().client().ask(preflight)) is None


def test_pages_that_are_not_listed_change_nothing() -> None:
    wire = wire_for("http://a.example")
    client = wire.client()
    for data in (
        request(b"PUT", KEY, b"value=9", b"Origin: http://evil.example"),
        request(b"DELETE", KEY, None, b"Origin: http://evil.example"),
        request(b"POST", KEY, b"value=9", b"Origin: null"),
    ):
        got = client.ask(data)
        assert answer(got).status == 403
        assert granted(got) is None
    assert b'"value":"1"' in client.ask(get(KEY))
