"""Backups over HTTP: streamed as fast as the client reads, bounded in number, let go of."""

from __future__ import annotations

import pytest

from kvraft.api.service import Unavailable
from kvraft.limits import MAX_BACKUPS
from kvraft.store.request import Op, Request
from tests.api.wire import Client, Wire, answer, answers, get, request

PATH = b"/v2/admin/backup"
WHOLE = b"head" + b"x" * 100_000 + b"end"


def ask(wire: Wire, client: Client, data: bytes) -> bytes:
    client.send(data)
    wire.loop.run()
    return client.take()


@pytest.mark.parametrize("query", [b"", b"?quorum=true", b"?quorum=false"])
def test_a_backup_is_streamed(wire: Wire, client: Client, query: bytes) -> None:
    found = answer(ask(wire, client, get(PATH + query)))
    assert (found.status, found.body) == (200, WHOLE)
    assert found.headers[b"Content-Type"] == b"application/octet-stream"
    assert found.headers[b"Content-Disposition"] == b'attachment; filename="x.backup"'
    assert found.headers[b"X-Etcd-Cluster-Id"] == b"7e27652122e8b2ae"
    assert found.headers[b"X-Etcd-Index"] == b"%d" % wire.service.store.index
    assert (found.headers[b"X-Raft-Index"], found.headers[b"X-Raft-Term"]) == (b"17", b"3")
    assert [backup.closed for backup in wire.service.backups] == [1]
    assert answer(ask(wire, client, get(b"/version"))).status == 200


def test_an_old_client_gets_bare_bytes_and_an_end(wire: Wire, client: Client) -> None:
    data = ask(wire, client, get(PATH).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert data.partition(b"\r\n\r\n")[2] == WHOLE
    assert client.over


def test_nothing_is_taken_while_the_client_does_not_read(wire: Wire, client: Client) -> None:
    client.send(get(PATH))
    wire.loop.run(2)
    (backup,) = wire.service.backups
    client.connection.pause_writing()
    wire.loop.run()
    assert backup.taken == 1
    client.connection.resume_writing()
    wire.loop.run()
    assert answer(client.take()).body == WHOLE


def test_hanging_up_lets_go_of_the_view(wire: Wire, client: Client) -> None:
    client.send(get(PATH))
    wire.loop.run(2)
    client.hang_up()
    wire.loop.run()
    (backup,) = wire.service.backups
    assert (backup.closed, backup.taken) == (1, 1)


def test_the_number_at_a_time_is_bounded(wire: Wire) -> None:
    clients = [wire.client() for _ in range(MAX_BACKUPS + 1)]
    for client in clients:
        client.send(get(PATH))
        client.connection.pause_writing()
    refused = answer(clients[-1].take())
    assert refused.status == 503
    assert b"2 backups are being sent already" in refused.body
    assert refused.headers[b"Retry-After"] == b"5"
    clients[0].hang_up()
    assert answer(ask(wire, wire.client(), get(PATH))).body == WHOLE


def test_head_and_methods(wire: Wire, client: Client) -> None:
    (head,) = answers(ask(wire, client, request(b"HEAD", PATH)), [0])
    assert head.headers[b"X-Raft-Index"] == b"17"
    assert [backup.closed for backup in wire.service.backups] == [1]
    refused = answer(ask(wire, client, request(b"PUT", PATH)))
    assert (refused.status, refused.headers[b"Allow"]) == (405, b"GET,HEAD")


def test_a_quorum_backup_waits_for_the_cluster(wire: Wire, client: Client) -> None:
    wire.service.held_barriers = []
    assert ask(wire, client, get(PATH + b"?quorum=true")) == b""
    assert wire.service.backups == []
    wire.service.held_barriers[0](None)
    wire.loop.run()
    assert answer(client.take()).body == WHOLE
    wire.service.held_barriers = None
    wire.service.unavailable = Unavailable("etcdserver: request timed out")
    refused = answer(ask(wire, client, get(PATH + b"?quorum=true")))
    assert (refused.status, refused.body) == (503, b'{"message":"etcdserver: request timed out"}')


def test_a_member_that_has_not_caught_up_sends_it_later(wire: Wire, client: Client) -> None:
    wire.service.ready = False
    assert ask(wire, client, get(PATH)) == b""
    wire.service.ready = True
    wire.loop.advance(0.2)
    assert answer(client.take()).body == WHOLE


def test_with_auth_a_backup_is_for_root(wire: Wire, client: Client) -> None:
    wire.service.store.apply(Request(Op.PUT_RECORD, b"/2/enabled", b"true"))
    assert answer(ask(wire, client, get(PATH))).status == 401
    assert wire.service.backups == []


def test_parameters_are_those_of_the_keys(wire: Wire, client: Client) -> None:
    assert answer(ask(wire, client, get(PATH + b"?quorum=x"))).status == 400
