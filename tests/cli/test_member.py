"""`kvraftctl member`: what a cluster's answers, good and bad, come to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Ran, kvraftctl
from tests.cli.stub import Asked, Stub, answer

FIRST = {"id": "1a", "name": "n1", "peerURLs": ["http://a:1", "http://a:2"], "clientURLs": ["u"]}
NEW = {"id": "4d", "name": "", "peerURLs": ["http://d:1"], "clientURLs": []}


UPDATE_ARGUMENTS = (
    "Provide an ID and a list of comma separated peerURL"
    " (0xabcd http://example.com,http://example1.com)"
)


class Cluster:
    """Answers by method and path; the member list, unless told otherwise, has one member."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], bytes] = {}
        self.members(FIRST)
        self.put("GET", "/v2/members/leader", 200, FIRST)
        self.stub = Stub(self._answer)

    def put(self, method: str, path: str, status: int, body: object = "") -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.answers[method, path] = answer(status, text)

    def members(self, *members: object) -> None:
        self.put("GET", "/v2/members", 200, {"members": members})

    def ctl(self, *words: str, typed: bytes = b"") -> Ran:
        return kvraftctl("--no-sync", "--endpoints", self.stub.url, *words, typed=typed)

    def _answer(self, asked: Asked) -> bytes:
        return self.answers.get((asked.method, asked.target), answer(404, "404 page not found\n"))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    with made.stub:
        yield made


def test_list_keeps_the_order_of_the_server(cluster: Cluster) -> None:
    cluster.members({**FIRST, "id": "ff"}, NEW, FIRST)
    assert cluster.ctl("member", "list").out == (
        "ff: name=n1 peerURLs=http://a:1,http://a:2 clientURLs=u isLeader=false\n"
        "4d[unstarted]: peerURLs=http://d:1\n"
        "1a: name=n1 peerURLs=http://a:1,http://a:2 clientURLs=u isLeader=true\n"
    )


@pytest.mark.parametrize("body", ["{}", '{"members":null}', '{"members":[]}'])
def test_a_list_without_members_is_empty(cluster: Cluster, body: str) -> None:
    cluster.put("GET", "/v2/members", 200, body)
    assert cluster.ctl("member", "list") == Ran(0, "", "")


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (200, "garbage", "invalid character 'g' looking for beginning of value"),
        (200, "", "unexpected end of JSON input"),
        (403, "", "unexpected status code 403"),
        (500, "", "client: etcd cluster is unavailable or misconfigured"),
    ],
)
def test_a_list_that_cannot_be_had(cluster: Cluster, status: int, body: str, text: str) -> None:
    cluster.put("GET", "/v2/members", status, body)
    assert cluster.ctl("member", "list") == Ran(1, "", text + "\n")
    text = f"Error while verifying ID against known members: {text}\n"
    assert cluster.ctl("member", "remove", "1a") == Ran(1, "", text)


def test_list_without_a_leader(cluster: Cluster) -> None:
    cluster.put("GET", "/v2/members/leader", 200, "x")
    text = "Failed to get leader:  invalid character 'x' looking for beginning of value\n"
    assert cluster.ctl("member", "list") == Ran(1, "", text)


def test_add_quotes_what_a_shell_is_to_read(cluster: Cluster) -> None:
    cluster.put("POST", "/v2/members", 201, NEW)
    cluster.members(FIRST, {**NEW, "name": ""})
    done = cluster.ctl("member", "add", 'in"fra\\3', " http://d:1 ")
    assert done == Ran(
        0,
        'Added member named in"fra\\3 with ID 4d to cluster\n\n'
        'ETCD_NAME="in\\"fra\\\\3"\n'
        'ETCD_INITIAL_CLUSTER="n1=http://a:1,n1=http://a:2,in\\"fra\\\\3=http://d:1"\n'
        'ETCD_INITIAL_CLUSTER_STATE="existing"\n',
        "",
    )
    asked = cluster.stub.asked[0]
    assert (asked.body, asked.headers["content-type"]) == (
        b'{"peerURLs":["http://d:1"]}',
        "application/json",
    )


def test_add_tells_of_the_addition_even_if_the_list_fails_then(cluster: Cluster) -> None:
    cluster.put("POST", "/v2/members", 201, NEW)
    cluster.put("GET", "/v2/members", 403)
    assert cluster.ctl("member", "add", "x", "http://d:1") == Ran(
        1, "Added member named x with ID 4d to cluster\n", "unexpected status code 403\n"
    )


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (409, '{"message":"etcdserver: ID exists"}', "etcdserver: ID exists"),
        (409, "{}", ""),
        (409, "no", "invalid character 'o' in literal null (expecting 'u')"),
        (400, '{"message":"x"}', "unexpected status code 400"),
        (200, json.dumps(NEW), "unexpected status code 200"),
        (201, "no", "invalid character 'o' in literal null (expecting 'u')"),
    ],
)
def test_add_refused(cluster: Cluster, status: int, body: str, text: str) -> None:
    cluster.put("POST", "/v2/members", status, body)
    assert cluster.ctl("member", "add", "x", "http://d:1") == Ran(1, "", text + "\n")


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("ftp://a:1", "URL scheme must be http or https: ftp://a:1"),
        ("http://a", 'URL address does not have the form "host:port": http://a'),
        ("http://a:1/", "URL must not contain a path: http://a:1/"),
        ("http://a:x", 'parse "http://a:x": invalid port ":x" after host'),
        ("a:1", "URL scheme must be http or https: a:1"),
        ("", "URL scheme must be http or https: "),
    ],
)
def test_urls_are_judged_here(cluster: Cluster, url: str, text: str) -> None:
    for words in (("add", "x", url), ("update", "1a", url)):
        refused = cluster.ctl("member", *words)
        assert (refused.code, refused.out) == (1, "")
        assert refused.err.startswith(text)
    assert not [asked for asked in cluster.stub.asked if asked.method in ("POST", "PUT")]


def test_update_takes_several_urls(cluster: Cluster) -> None:
    cluster.put("PUT", "/v2/members/1a", 204)
    done = cluster.ctl("member", "update", "1a", "https://b:2, http://a:1")
    assert done == Ran(0, "Updated member with ID 1a in cluster\n", "")
    assert cluster.stub.asked[-1].body == b'{"peerURLs":["http://a:1","https://b:2"]}'


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (404, '{"message":"No such member: 12"}', "No such member: 12"),
        (409, '{"message":"etcdserver: peerURL exists"}', "etcdserver: peerURL exists"),
        (401, '{"message":"Insufficient credentials"}', "unexpected status code 401"),
        (410, "", "unexpected status code 410"),
    ],
)
def test_update_refused(cluster: Cluster, status: int, body: str, text: str) -> None:
    cluster.put("PUT", "/v2/members/12", status, body)
    assert cluster.ctl("member", "update", "12", "http://a:1") == Ran(1, "", text + "\n")


@pytest.mark.parametrize("status", [204, 410])
def test_remove(cluster: Cluster, status: int) -> None:
    cluster.put("DELETE", "/v2/members/1a", status)
    assert cluster.ctl("member", "remove", "1a") == Ran(0, "Removed member 1a from cluster\n", "")


def test_a_name_is_not_removed(cluster: Cluster) -> None:
    cluster.members(FIRST, {**FIRST, "id": "2b"})
    refused = cluster.ctl("member", "remove", "n1")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err.count("Found a member named n1; if this is correct, please use its ID") == 2
    assert "\tetcdctl member remove 1a\n" in refused.err
    assert refused.err.endswith("Couldn't find a member in the cluster with an ID of n1.\n")
    assert {asked.method for asked in cluster.stub.asked} == {"GET"}


def test_a_member_named_like_the_id_of_another_one(cluster: Cluster) -> None:
    cluster.members({**FIRST, "name": "2b"}, {**FIRST, "id": "2b"})
    cluster.put("DELETE", "/v2/members/2b", 204)
    done = cluster.ctl("member", "remove", "2b")
    assert (done.code, done.out) == (0, "Removed member 2b from cluster\n")
    assert done.err.startswith("Found a member named 2b;")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("list", "x"), "No arguments accepted"),
        (("add",), "Provide a name and a single member peerURL"),
        (("remove",), "Provide a single member ID"),
        (("remove", "1", "2"), "Provide a single member ID"),
        (("update", "1"), UPDATE_ARGUMENTS),
    ],
)
def test_arguments_are_counted_before_anybody_is_asked(words: tuple[str, ...], text: str) -> None:
    dead = ("--endpoints", "http://127.0.0.1:1")
    assert kvraftctl(*dead, "member", *words) == Ran(1, "", text + "\n")
