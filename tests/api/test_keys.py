"""From requests on keys to operations, errors and documents (keys-api, sections 4 to 7)."""

from __future__ import annotations

import pytest

from kvraft import limits
from kvraft.api.keys import put_request
from kvraft.api.params import Params
from kvraft.api.service import Unavailable
from kvraft.store.request import Op, Request
from tests.api.wire import Answer, Client, Wire, answer, answers, get, put, request

KEY = b"/v2/keys/a"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        (Params(b"v"), Request(Op.SET, b"/a", b"v")),
        (Params(b"v", 5, True), Request(Op.SET, b"/a", directory=True, ttl_seconds=5)),
        (Params(refresh=True, ttl_seconds=1), Request(Op.SET, b"/a", refresh=True, ttl_seconds=1)),
        (Params(b"v", prev_exist=False), Request(Op.CREATE, b"/a", b"v")),
        (
            Params(prev_exist=False, prev_value=b"x", prev_index=3, refresh=True, ttl_seconds=1),
            Request(Op.CREATE, b"/a", ttl_seconds=1),
        ),
        (
            Params(b"v", prev_exist=False, directory=True),
            Request(Op.CREATE, b"/a", directory=True),
        ),
        (Params(b"v", prev_exist=True, directory=True), Request(Op.UPDATE, b"/a", b"v")),
        (
            Params(b"v", prev_exist=True, prev_index=3),
            Request(Op.COMPARE_AND_SWAP, b"/a", b"v", prev_index=3),
        ),
        (
            Params(b"v", prev_value=b"x", directory=True),
            Request(Op.COMPARE_AND_SWAP, b"/a", b"v", prev_value=b"x"),
        ),
    ],
)
def test_what_a_put_asks_for(params: Params, expected: Request) -> None:
    assert put_request(b"/a", params) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (put(b"/v2/keys/a", b"value=v"), Request(Op.SET, b"/a", b"v")),
        (put(b"/v2/keys/a?prevExist=true", b"value=v"), Request(Op.UPDATE, b"/a", b"v")),
        (put(b"/v2/keys/a/", b"value=%41"), Request(Op.SET, b"/a", b"A")),
        (put(b"/v2/keys/a%2Fb", b"value=v&ttl=0"), Request(Op.SET, b"/a/b", b"v", ttl_seconds=0)),
        (put(b"/v2/keys", b"value=v"), Request(Op.SET, b"/", b"v")),
        (
            request(b"POST", b"/v2/keys/a", b"value=v&dir=true&ttl=3&prevExist=true"),
            Request(Op.CREATE_IN_ORDER, b"/a", directory=True, ttl_seconds=3),
        ),
        (request(b"POST", b"/v2/keys/", b"value=v"), Request(Op.CREATE_IN_ORDER, b"/", b"v")),
        (
            request(b"DELETE", b"/v2/keys/a?recursive=true&dir=true&prevIndex=0"),
            Request(Op.DELETE, b"/a", directory=True, recursive=True),
        ),
        (
            request(b"DELETE", b"/v2/keys/a?prevValue=x&recursive=true"),
            Request(Op.COMPARE_AND_DELETE, b"/a", prev_value=b"x"),
        ),
    ],
)
def test_what_is_proposed(wire: Wire, client: Client, data: bytes, expected: Request) -> None:
    wire.service.held = []
    client.send(data)
    ((proposed, _),) = wire.service.held
    assert proposed == expected


def test_answers_to_writes(client: Client) -> None:
    created = answer(client.ask(put(KEY, b"value=1")))
    assert (created.status, created.headers[b"X-Etcd-Index"]) == (201, b"4")
    again = answer(client.ask(put(KEY, b"value=2")))
    assert (again.status, again.headers[b"X-Etcd-Index"]) == (200, b"5")
    assert b'"prevNode":{"key":"/a","value":"1"' in again.body
    silent = answer(client.ask(put(KEY, b"value=3&noValueOnSuccess=true")))
    assert (silent.status, silent.body) == (200, b'{"action":"set"}\n')
    gone = answer(client.ask(request(b"DELETE", KEY + b"?noValueOnSuccess=true")))
    assert b'"prevNode":{"key":"/a","value":"3"' in gone.body


@pytest.mark.parametrize(
    ("data", "status", "code", "index"),
    [
        (get(b"/v2/keys/none"), 404, 100, b"6"),
        (get(b"/v2/keys/file/x"), 400, 104, b"6"),
        (put(b"/v2/keys/file", b"value=x&prevValue=y"), 412, 101, b"6"),
        (put(b"/v2/keys/dir", b"value=x"), 403, 102, b"6"),
        (put(b"/v2/keys/file", b"prevExist=false"), 412, 105, b"6"),
        (put(b"/v2/keys/", b"value=x"), 400, 107, b"6"),
        (request(b"DELETE", b"/v2/keys/dir?dir=true"), 403, 108, b"6"),
        (put(b"/v2/keys" + b"/a" * 129, b"value=x"), 400, 209, b"6"),
        (get(b"/v2/keys/file?sorted=x"), 400, 209, b"0"),
        (put(b"/v2/keys/file", b"ttl=x"), 400, 202, b"0"),
    ],
)
def test_errors(client: Client, data: bytes, status: int, code: int, index: bytes) -> None:
    client.ask(put(b"/v2/keys/file", b"value=1"))
    client.ask(put(b"/v2/keys/dir/x", b"value=1"))
    client.ask(put(b"/v2/keys/dir/y", b"value=1"))
    refused = answer(client.ask(data))
    assert refused.status == status
    assert refused.body.startswith(b'{"errorCode":%d,"message":"' % code)
    assert refused.body.endswith(b',"index":%b}\n' % index)
    assert refused.headers[b"X-Etcd-Index"] == index
    assert b"X-Etcd-Cluster-Id" in refused.headers
    assert b"X-Raft-Index" not in refused.headers


def test_errors_of_the_cluster(wire: Wire, client: Client) -> None:
    wire.service.unavailable = Unavailable("etcdserver: request timed out")
    for data in (put(KEY, b"value=1"), get(KEY + b"?quorum=true")):
        refused = answer(client.ask(data))
        assert refused.status == 500
        assert refused.body == (
            b'{"errorCode":300,"message":"Raft Internal Error",'
            b'"cause":"etcdserver: request timed out","index":0}\n'
        )
    assert answer(client.ask(get(KEY))).status == 404, "a plain read needs nobody"


def test_quorum_reads_wait_for_the_barrier(wire: Wire, client: Client) -> None:
    wire.service.held_barriers = []
    client.send(get(KEY + b"?quorum=true&wait=true"))
    assert client.take() == b""
    wire.service.commit(Request(Op.SET, b"/a", b"1"), lambda _: None)
    (done,) = wire.service.held_barriers
    done(None)
    assert b'"value":"1"' in answer(client.take()).body
    client.send(request(b"HEAD", KEY + b"?quorum=true"))
    (head,) = answers(client.take(), heads=[0])
    assert head.status == 200, "HEAD reads locally all the same"


def test_every_valid_request_looks_at_the_auth_switch(wire: Wire, client: Client) -> None:
    stats = wire.service.store.stats
    before = stats.gets_fail
    client.ask(put(KEY, b"value=1") + put(KEY + b"?dir=0", b"value=1") + get(KEY))
    client.ask(get(KEY + b"?sorted=1") + request(b"DELETE", KEY) + request(b"POST", KEY, b""))
    client.ask(get(KEY + b"?wait=true"))
    assert stats.gets_fail == before + 7
    other = wire.client()
    other.ask(put(KEY, b"ttl=x") + get(KEY + b"?dir") + request(b"PATCH", KEY))
    assert stats.gets_fail == before + 7


def test_nothing_is_served_before_the_member_has_caught_up(wire: Wire, client: Client) -> None:
    wire.service.ready = False
    series = [client, *(wire.client() for _ in range(5))]
    kinds = [
        get(KEY),
        get(KEY + b"?quorum=true"),
        put(KEY, b"value=1"),
        put(KEY, b"value=1&ttl=100"),
        request(b"HEAD", KEY),
        get(KEY + b"?wait=true&waitIndex=4"),
    ]
    for each, data in zip(series, kinds, strict=True):
        assert each.ask(data) == b""
    assert answer(wire.client().ask(get(b"/version"))).status == 200
    assert answer(wire.client().ask(get(KEY + b"?dir=x"))).status == 400
    wire.loop.advance(1)
    assert [each.take() for each in series] == [b""] * 6
    wire.service.ready = True
    wire.loop.advance(0.1)
    received = [each.take() for each in series]
    status = [int(data.split(b" ")[1]) for data in received]
    assert status == [404, 404, 201, 200, 200, 200]


def test_waiting_for_the_start_ends(wire: Wire, client: Client) -> None:
    wire.service.ready = False
    client.send(get(KEY))
    wire.loop.advance(limits.START_WAIT_S + 1)
    refused = answer(client.take())
    assert refused.status == 500
    assert b"etcdserver: request timed out" in refused.body


def test_waiting_for_the_start_is_bounded(
    wire: Wire, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvraft.api.gate.MAX_WAITING_FOR_START", 1)
    wire.service.ready = False
    client.send(get(KEY))
    assert answer(wire.client().ask(get(KEY))).status == 500


def _large_directory(wire: Wire) -> int:
    count = limits.GET_INLINE_NODES + 500
    for number in range(count):
        wire.service.store.apply(Request(Op.SET, b"/d/%05d" % (count - number), b"v"))
    return count


def test_long_listings_are_streamed(wire: Wire, client: Client) -> None:
    count = _large_directory(wire)
    client.send(get(b"/v2/keys/d?sorted=true") + get(b"/version"))
    client.connection.pause_writing()
    client.connection.pause_writing()
    assert wire.loop.run() <= 2, "one slice may already have been on its way, and its turn"
    wire.service.store.apply(Request(Op.SET, b"/d/new", b"v"))
    client.connection.resume_writing()
    assert wire.loop.run() > 1
    listing, version = answers(client.take())
    assert listing.headers[b"X-Etcd-Index"] == b"%d" % (3 + count)
    assert listing.body.count(b'"value"') == count
    assert b"/d/new" not in listing.body
    assert version.status == 200


def test_long_listings_to_clients_of_other_kinds(wire: Wire, client: Client) -> None:
    count = _large_directory(wire)
    (head,) = answers(client.ask(request(b"HEAD", b"/v2/keys/d")), heads=[0])
    assert not {b"Content-Length", b"Transfer-Encoding"} & head.headers.keys()
    old = wire.client()
    old.send(b"GET /v2/keys/d HTTP/1.0\r\n\r\n")
    wire.loop.run()
    assert old.take().count(b'"value"') == count
    assert old.transport.closed
    departed = wire.client()
    departed.send(get(b"/v2/keys/d"))
    departed.hang_up()
    wire.loop.run()
    assert wire.service.store._pictures.oldest_epoch() > wire.service.store._pictures.epoch


def test_reads_keep_the_remaining_ttl(wire: Wire, client: Client) -> None:
    def ttl(read: Answer) -> bytes:
        return read.body.partition(b'"ttl":')[2].partition(b",")[0]

    client.ask(put(KEY, b"value=1&ttl=100"))
    wire.loop.advance(30)
    assert ttl(answer(client.ask(get(KEY)))) == b"70"
    assert ttl(answer(client.ask(get(KEY + b"?recursive=true")))) == b"70"
