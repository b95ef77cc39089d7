"""Failover, redirects, the synchronisation, and the lines of --debug."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pytest

from kvraft_cli.endpoints import parse_url
from kvraft_cli.errors import ClusterUnavailable, DeadlineExceeded, Failure, NoEndpoints
from kvraft_cli.http import FORM, Transport
from kvraft_cli.session import Session
from tests.cli.stub import Asked, Stub, answer, by_path
from tests.cli.test_http import no_tls

transports: Final[list[Transport]] = []


@pytest.fixture(autouse=True)
def closed_at_the_end() -> Iterator[None]:
    yield
    while transports:
        transports.pop().close()


def session(
    *urls: str,
    timeout_s: float = 5.0,
    total_timeout_s: float | None = 10.0,
    credentials: str | None = None,
    lines: list[str] | None = None,
) -> Session:
    transports.append(Transport(no_tls))
    made = Session(
        transports[-1],
        [],
        timeout_s=timeout_s,
        total_timeout_s=total_timeout_s,
        credentials=credentials,
        report=None if lines is None else lines.append,
    )
    # in the order given: these tests count attempts
    made.endpoints = [parse_url(url) for url in urls]
    return made


def closed_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def unavailable(call: Callable[[], object]) -> list[str]:
    with pytest.raises(ClusterUnavailable) as caught:
        call()
    assert caught.value.text == "client: etcd cluster is unavailable or misconfigured"
    return [error.text for error in caught.value.attempts]


def refused(url: str) -> str:
    return f"dial tcp {url.removeprefix('http://')}: connect: connection refused"


def test_paths_are_cleaned_and_escaped_behind_the_endpoints_own() -> None:
    with Stub(lambda _: answer(200)) as stub:
        api = session(stub.url + "/pre/")
        api.request("GET", "/v2/keys//a b/", query=[("x", "1 2")])
        api.request("PUT", "/v2/keys/../k", b"value=1", FORM)
    first, second = stub.asked
    assert first.target == "/pre/v2/keys/a%20b/?x=1+2"
    assert "content-type" not in first.headers
    assert "content-length" not in first.headers
    assert (second.target, second.body) == ("/pre/v2/k", b"value=1")
    assert second.headers["content-type"] == FORM


def test_the_next_endpoint_is_asked_until_one_answers() -> None:
    dead = closed_url()
    with Stub(lambda _: answer(500)) as ill, Stub(lambda _: answer(404, "no")) as well:
        api = session(dead, ill.url, well.url)
        assert api.request("GET", "/x").body == b"no"
        # and stays the one that is asked
        assert api.request("GET", "/x").body == b"no"
    assert len(ill.asked) == 1
    assert len(well.asked) == 2


def test_all_attempts_are_told() -> None:
    dead = closed_url()

    def by_turn(asked: Asked) -> bytes:
        return answer(int(asked.target.removeprefix("/")))

    with Stub(by_turn) as stub:
        for status, text in (
            (500, f"client: etcd member {stub.url} has no leader"),
            (503, f"client: etcd member {stub.url} has no leader"),
            (504, f"client: etcd member {stub.url} returns server error [Gateway Timeout]"),
            (599, f"client: etcd member {stub.url} returns server error []"),
        ):
            api = session(dead, stub.url)
            with pytest.raises(ClusterUnavailable) as caught:
                api.request("GET", f"/{status}")
            assert [error.text for error in caught.value.attempts] == [refused(dead), text]


def test_the_detail_is_numbered() -> None:
    one, two = closed_url(), closed_url()
    with pytest.raises(ClusterUnavailable) as caught:
        session(one, two).request("GET", "/")
    assert caught.value.detail == (
        "client: etcd cluster is unavailable or misconfigured\n"
        f"error #0: {refused(one)}\nerror #1: {refused(two)}\n"
    )
    assert caught.value.nobody_there


def test_header_timeout_names_the_endpoint() -> None:
    def slow(asked: Asked) -> bytes:
        time.sleep(0.2)
        return answer(200, "late")

    with Stub(slow) as stub:
        api = session(stub.url + "/p", timeout_s=0.05)
        text = f"client: endpoint {stub.url}/p exceeded header timeout"
        assert unavailable(lambda: api.request("GET", "/x")) == [text]
        # watches are not bound by it, and nobody is with 0
        assert api.request("GET", "/x", waits=True).body == b"late"
        api = session(stub.url, timeout_s=0)
        assert api.request("GET", "/x").body == b"late"


def test_the_total_time_ends_the_round() -> None:
    def slow(asked: Asked) -> bytes:
        time.sleep(0.2)
        return answer(200, "late")

    with Stub(slow) as stub:
        api = session(stub.url, stub.url, total_timeout_s=0.05)
        with pytest.raises(DeadlineExceeded):
            api.request("GET", "/x")
        with pytest.raises(DeadlineExceeded):
            api.request("GET", "/x")
        assert len(stub.asked) == 1
        assert api.request("GET", "/x", limited=False).body == b"late"
        api.restart_clock()
        with pytest.raises(DeadlineExceeded):
            api.request("GET", "/x")


def test_no_time_at_all() -> None:
    lines: list[str] = []
    api = session("http://h", total_timeout_s=0, lines=lines)
    with pytest.raises(DeadlineExceeded, match="^context deadline exceeded$"):
        api.request("GET", "/x")
    assert lines == ["cURL Command: curl -X GET http://h/x"]


def test_no_endpoints() -> None:
    with pytest.raises(NoEndpoints, match="^client: no endpoints available$"):
        session().request("GET", "/x")


def test_redirects_keep_method_body_and_credentials() -> None:
    lines: list[str] = []
    with Stub(lambda _: answer(200, "here")) as there:
        location = there.url + "/else%2F?a=b"
        with Stub(lambda _: answer(307, Location=location)) as stub:
            api = session(stub.url, credentials="al:pw", lines=lines)
            assert api.request("PUT", "/x", b"value=1", FORM).body == b"here"
    (asked,) = there.asked
    assert (asked.method, asked.target, asked.body) == ("PUT", "/else%2F?a=b", b"value=1")
    assert asked.headers["authorization"] == "Basic YWw6cHc="
    assert lines == [
        f'cURL Command: curl -X PUT {stub.url}/x -d "value=1"',
        f'cURL Command: curl -X PUT {location} -d "value=1"',
    ]


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (None, "Location header not set"),
        ("/else", 'unsupported protocol scheme ""'),
        ("http://h:x/", "Location header not valid URL: http://h:x/"),
        ("again", "client: too many redirects"),
    ],
)
def test_redirects_that_lead_nowhere(location: str | None, text: str) -> None:
    def redirect(asked: Asked) -> bytes:
        if location is None:
            return answer(307)
        return answer(302, Location=stub.url if location == "again" else location)

    with Stub(redirect) as stub:
        api = session(stub.url)
        assert unavailable(lambda: api.request("GET", "/x")) == [text]
    assert len(stub.asked) == (11 if location == "again" else 1)


def members(*urls: Sequence[str]) -> bytes:
    import json

    listed = [{"id": str(n), "name": "n", "clientURLs": list(u)} for n, u in enumerate(urls)]
    return answer(200, json.dumps({"members": listed}))


def test_the_members_urls_replace_the_given_ones() -> None:
    lines: list[str] = []
    with Stub(
        by_path({"/v2/members": members(["http://a:1", "http://b:2"], ["http://c"])})
    ) as stub:
        api = session(stub.url, lines=lines)
        api.synchronise()
        api.announce()
    assert sorted(map(str, api.endpoints)) == ["http://a:1", "http://b:2", "http://c"]
    after = list(map(str, api.endpoints))
    assert lines == [
        f"start to sync cluster using endpoints({stub.url})",
        f"cURL Command: curl -X GET {stub.url}/v2/members",
        f"got endpoints({','.join(after)}) after sync",
        f"Cluster-Endpoints: {', '.join(after)}",
    ]


def synchronised(*urls: str, **options: float) -> tuple[str, int]:
    with pytest.raises(Failure) as caught:
        session(*urls, **options).synchronise()  # type: ignore[arg-type]
    return caught.value.text, caught.value.code


def test_nobody_there_to_synchronise_with() -> None:
    dead = closed_url()
    text = "Error:  client: etcd cluster is unavailable or misconfigured\n"
    assert synchronised(dead) == (f"{text}error #0: {refused(dead)}\n\n", 2)


@pytest.mark.parametrize("listed", [[], [[]]])
def test_members_without_client_urls(listed: list[list[str]]) -> None:
    with Stub(by_path({"/v2/members": members(*listed)})) as stub:
        text, code = synchronised(stub.url)
    assert code == 4
    assert text == (
        "etcd cluster has no published client endpoints.\n"
        "Try '--no-sync' if you want to access non-published client endpoints"
        f"({stub.url}).\nError:  client: no endpoints available\n"
    )


@pytest.mark.parametrize(
    "bad",
    [
        answer(404, "no"),
        answer(500),
        answer(200, "<html>"),
        answer(200, "[]"),
        answer(200, '{"members": [1]}'),
        answer(200, '{"members": [{"clientURLs": ["http://h:x"]}]}'),
    ],
)
def test_old_servers_list_their_members_elsewhere(bad: bytes) -> None:
    dead = closed_url()
    peers = answer(200, "http://a:1, http://b:2")
    with Stub(by_path({"/v2/members": bad, "/v2/peers": peers})) as stub:
        api = session(dead, stub.url)
        api.synchronise()
    assert sorted(map(str, api.endpoints)) == ["http://a:1", "http://b:2"]


def test_whoever_answers_neither_leaves_an_empty_endpoint() -> None:
    with Stub(by_path({})) as stub:
        api = session(stub.url)
        api.synchronise()
    assert unavailable(lambda: api.request("GET", "/x")) == ['unsupported protocol scheme ""']


def test_a_scheme_that_nobody_speaks() -> None:
    assert synchronised("localhost:2379") == (
        'Error:  unsupported protocol scheme "localhost"\n',
        4,
    )


def test_no_time_to_synchronise() -> None:
    with Stub(by_path({})) as stub:
        told = synchronised(stub.url, total_timeout_s=0)
    assert told == ("Error:  context deadline exceeded\n", 4)


def test_the_debug_line_of_an_empty_body_and_of_odd_bytes() -> None:
    lines: list[str] = []
    dead = closed_url()
    api = session(dead, lines=lines)
    unavailable(lambda: api.request("PUT", "/d", b""))
    unavailable(lambda: api.request("PUT", "/d", b'{"a": "\xff\n"}'))
    assert lines == [
        f'cURL Command: curl -X PUT {dead}/d -d ""',
        f'cURL Command: curl -X PUT {dead}/d -d "{{\\"a\\": \\"\\xff\\n\\"}}"',
    ]


def test_endpoints_come_in_random_order() -> None:
    urls = [parse_url(f"http://h{number}") for number in range(10)]
    orders = {tuple(Session(Transport(no_tls), urls).endpoints) for _ in range(20)}
    assert len(orders) > 1
    assert all(sorted(order) == sorted(urls) for order in orders)
