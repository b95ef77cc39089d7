"""Changes of the members over HTTP (admin-api, section 4): the order of errors, and the answers."""

from __future__ import annotations

import json

import pytest

from kvraft import limits
from kvraft.api.members import BadBody, parse_member_id, peer_urls_of
from kvraft.api.service import (
    ChangeKind,
    ChangeOutcome,
    ChangeRefusal,
    MemberChange,
    MemberChangeError,
    MemberInfo,
    Unavailable,
)
from tests.api.wire import Answer, Client, Wire, answer, request

JSON_TYPE = b"Content-Type: application/json"
ADDED = MemberInfo(0xB0B, "", ("http://a:1", "http://b:2"), ())
URLS = b'{"peerURLs":["http://b:2","http://a:1"]}'


def ask(client: Client, method: bytes, rest: bytes = b"", body: bytes | None = URLS) -> Answer:
    return answer(client.ask(request(method, b"/v2/members" + rest, body, JSON_TYPE)))


def told(found: Answer) -> str:
    assert b"X-Etcd-Cluster-Id" in found.headers
    assert found.headers[b"Content-Type"] == b"application/json"
    text: str = json.loads(found.body)["message"]
    return text


@pytest.mark.parametrize("path", [b"", b"/", b"/whatever/else"])
def test_adding(wire: Wire, client: Client, path: bytes) -> None:
    wire.service.change_outcome = ADDED
    added = ask(client, b"POST", path)
    assert added.status == 201
    assert added.body == (
        b'{"id":"b0b","name":"","peerURLs":["http://a:1","http://b:2"],"clientURLs":[]}\n'
    )
    assert wire.service.changes == [MemberChange(ChangeKind.ADD, 0, ("http://b:2", "http://a:1"))]


def test_updating_and_removing(wire: Wire, client: Client) -> None:
    wire.service.change_outcome = ADDED
    for method, body in ((b"PUT", URLS), (b"DELETE", None)):
        done = ask(client, method, b"/00B0b", body)
        assert (done.status, done.body) == (204, b"")
        assert b"Content-Type" not in done.headers
        assert b"X-Etcd-Cluster-Id" in done.headers
    assert wire.service.changes == [
        MemberChange(ChangeKind.UPDATE, 0xB0B, ("http://b:2", "http://a:1")),
        MemberChange(ChangeKind.REMOVE, 0xB0B),
    ]


@pytest.mark.parametrize("method", [b"PUT", b"DELETE"])
def test_without_an_id(client: Client, method: bytes) -> None:
    for path in (b"", b"/"):
        nameless = ask(client, method, path)
        assert (nameless.status, nameless.body) == (405, b"Method Not Allowed\n")
        assert b"Allow" not in nameless.headers
        assert b"X-Etcd-Cluster-Id" in nameless.headers


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (b"/zzz", "zzz"),
        (b"/0x1", "0x1"),
        (b"/1/2", "1/2"),
        (b"/ab/", "ab/"),
        (b"/11112222333344445", "11112222333344445"),
        (b"/%C3%A9", "\u00e9"),
        (b"/%FF", "\ufffd"),
    ],
)
def test_what_is_no_id(wire: Wire, client: Client, path: bytes, text: str) -> None:
    for method in (b"PUT", b"DELETE"):
        missing = ask(client, method, path, b"not even JSON")
        assert (missing.status, told(missing)) == (404, f"No such member: {text}")
    assert not wire.service.changes


@pytest.mark.parametrize(
    "given", [None, b"application/json; charset=utf-8", b"Application/JSON", b"text/plain"]
)
def test_content_types(wire: Wire, client: Client, given: bytes | None) -> None:
    head = b"Content-Type: " + given if given is not None else b"X-Nothing: 1"
    raw = request(b"POST", b"/v2/members", URLS, head)
    if given is None:
        raw = raw.replace(b"Content-Type: application/x-www-form-urlencoded\r\n", b"")
    refused = answer(client.ask(raw))
    shown = (given or b"").decode()
    assert (refused.status, told(refused)) == (
        415,
        f"Bad Content-Type {shown}, accept application/json",
    )
    assert not wire.service.changes


def test_blanks_behind_a_content_type_do_not_count(wire: Wire, client: Client) -> None:
    wire.service.change_outcome = ADDED
    raw = request(b"POST", b"/v2/members", URLS, JSON_TYPE + b" \t ")
    assert answer(client.ask(raw)).status == 201


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"peerURLs":["http://a',
        b"nonsense",
        b"[]",
        b"1",
        b'{"peerURLs":"http://a:1"}',
        b'{"peerURLs":[1]}',
        b'{"peerURLs":{}}',
        b"\xff\xfe",
        b"\xef\xbb\xbf" + URLS,
        URLS.decode().encode("utf-16"),
        b'{"more":NaN,' + URLS[1:],
        b'{"more":-Infinity,' + URLS[1:],
        b"[" * 60_000,
        b'{"peerURLs":[%b]}' % (b"1" * 5000),
        b" " * (limits.MAX_CHANGE_BYTES + 1),
    ],
)
def test_bad_documents(wire: Wire, client: Client, body: bytes) -> None:
    refused = ask(client, b"POST", b"", body)
    assert refused.status == 400
    assert told(refused)
    assert not wire.service.changes
    if body in (b"", b"{", b'{"peerURLs":["http://a'):
        assert told(refused) == "unexpected end of JSON input"


@pytest.mark.parametrize(
    ("body", "urls"),
    [
        (b"null", ()),
        (b"{}", ()),
        (b'{"peerURLs":null}', ()),
        (b'{"PeerUrls":["x"],"other":[1,{}]}', ("x",)),
        (b'{"peerurls":["x"],"PEERURLS":["y"]}', ("y",)),
        (b'{"peerURLs":["a",null]}', ("a", "")),
        (b'{"peerURLs":["\\ud800"]}', ("\ufffd",)),
        (b'{"peerURLs":["\xff"]}', ("\ufffd",)),
    ],
)
def test_documents(body: bytes, urls: tuple[str, ...]) -> None:
    assert peer_urls_of(body) == urls


def test_no_document_breaks_the_reader() -> None:
    for cut in range(len(URLS)):
        with pytest.raises(BadBody):
            peer_urls_of(URLS[:cut])


@pytest.mark.parametrize(
    ("text", "number"),
    [("1", 1), ("00aB", 0xAB), ("f" * 16, 2**64 - 1), ("1" + "0" * 16, None), ("", None)],
)
def test_ids(text: str, number: int | None) -> None:
    assert parse_member_id(text) == number


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (MemberChangeError(ChangeRefusal.BAD_URLS, "no valid URLs given"), 400, None),
        (MemberChangeError(ChangeRefusal.ID_EXISTS), 409, "etcdserver: ID exists"),
        (MemberChangeError(ChangeRefusal.URL_EXISTS), 409, "etcdserver: peerURL exists"),
        (MemberChangeError(ChangeRefusal.UNKNOWN_MEMBER), 404, "No such member: ab"),
        (
            MemberChangeError(ChangeRefusal.REMOVED_MEMBER),
            410,
            "Member permanently removed: ab",
        ),
        (MemberChangeError(ChangeRefusal.NOT_SAFE, "secret"), 500, "Internal Server Error"),
        (Unavailable("etcdserver: request timed out"), 500, "Internal Server Error"),
    ],
)
def test_refusals(
    wire: Wire, client: Client, outcome: ChangeOutcome, status: int, text: str | None
) -> None:
    wire.service.change_outcome = outcome
    refused = ask(client, b"PUT", b"/00AB")
    assert (refused.status, told(refused)) == (status, text or "no valid URLs given")
