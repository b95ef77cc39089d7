"""What answers mean: who may be believed, and what is made of their bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvraft.client import answers, errors
from kvraft.client.answers import Answer, Unreadable, Verdict, judge
from kvraft.client.model import KeyNode, WatchEvent

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                "action node prevNode key value ttl nodes dir expiration errorCode message cause "
                "index createdIndex modifiedIndex members id".split()
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)
BODIES = st.one_of(st.binary(max_size=60), JSON.map(lambda value: json.dumps(value).encode()))


def error(code: int, cause: str = "", message: str = "m") -> bytes:
    return json.dumps({"errorCode": code, "message": message, "cause": cause, "index": 9}).encode()


@pytest.mark.parametrize(
    ("status", "body", "verdict"),
    [
        (200, b"{}", Verdict.ANSWERED),
        (201, b"", Verdict.ANSWERED),
        (404, error(100), Verdict.ANSWERED),
        (412, error(101), Verdict.ANSWERED),
        (400, error(401), Verdict.ANSWERED),
        (401, error(110), Verdict.ANSWERED),
        (409, b'{"message":"etcdserver: peerURL exists"}', Verdict.ANSWERED),
        (403, b"The host name x is not one of this member's", Verdict.ANSWERED),
        (404, b"404 page not found\n", Verdict.ANSWERED),
        (413, b"<html>", Verdict.ANSWERED),
        (500, error(300, "etcdserver: request timed out"), Verdict.UNCLEAR),
        (
            500,
            error(300, "etcdserver: request timed out, possibly due to connection lost"),
            Verdict.UNCLEAR,
        ),
        (500, error(300, "etcdserver: server stopped"), Verdict.UNCLEAR),
        (500, error(300, "etcdserver: request cancelled"), Verdict.UNCLEAR),
        (500, error(300, "etcdserver: no leader"), Verdict.UNCLEAR),
        (500, error(301, "During Leader Election"), Verdict.UNCLEAR),
        (500, error(300, "etcdserver: too many requests"), Verdict.NOT_DONE),
        (
            500,
            error(300, "etcdserver: no space left on the device of the data directory"),
            Verdict.NOT_DONE,
        ),
        (
            503,
            error(300, "too many passwords are being checked or changed; try again"),
            Verdict.NOT_DONE,
        ),
        (503, b"too many connections or unfinished requests", Verdict.NOT_DONE),
        (
            503,
            b'{"message":"proxy: zero endpoints currently available"}',
            Verdict.NOT_DONE,
        ),
        (429, b"", Verdict.NOT_DONE),
        (
            502,
            b'{"message":"proxy: unable to get response from 3 endpoint(s)"}',
            Verdict.UNCLEAR,
        ),
        (500, b'{"message":"Internal Server Error"}', Verdict.UNCLEAR),
        (502, b"<html>bad gateway</html>", Verdict.UNCLEAR),
        (503, b"", Verdict.UNCLEAR),
        (504, b"", Verdict.UNCLEAR),
        (408, b"", Verdict.UNCLEAR),
        (304, b"", Verdict.UNCLEAR),
        # A value that looks like such words proves nothing: only the cause of a raft error does.
        (500, error(500, "etcdserver: too many requests"), Verdict.UNCLEAR),
    ],
)
def test_what_an_answer_says_about_its_request(status: int, body: bytes, verdict: Verdict) -> None:
    assert judge(status, body)[0] is verdict


def test_some_failures_are_answers_on_their_route() -> None:
    assert judge(503, b'{"message":"During election"}', frozenset((503,)))[0] is Verdict.ANSWERED


@given(st.integers(100, 599), BODIES)
def test_judging_never_fails(status: int, body: bytes) -> None:
    verdict, text = judge(status, body)
    assert (verdict is Verdict.ANSWERED) or text


@given(st.integers(300, 599), BODIES, st.sampled_from(["", "auth", "members"]))
def test_a_refusal_is_always_an_error_with_a_text(status: int, body: bytes, route: str) -> None:
    refused = answers.refusal(Answer(status, {}, body), route)
    assert isinstance(refused, errors.EtcdError)
    assert str(refused)


@settings(max_examples=60)
@given(BODIES)
def test_whatever_comes_is_read_or_called_unreadable(body: bytes) -> None:
    answer = Answer(200, {"X-Etcd-Index": "x"}, body)
    for read in (answers.result_of, answers.document_of):
        try:
            read(answer)
        except Unreadable:
            pass
    try:
        answers.event_of(body)
    except Unreadable:
        pass
    try:
        answers.members_of(answers.document_of(answer))
    except Unreadable:
        pass
    answers.is_healthy(answer)


NODES = st.recursive(
    st.builds(KeyNode, st.text(), st.text(), st.just(False), st.integers(0), st.integers(0)),
    lambda children: st.builds(
        KeyNode,
        st.text(),
        st.none(),
        st.just(True),
        st.integers(0),
        st.integers(0),
        st.one_of(st.none(), st.integers()),
        st.none(),
        st.lists(children, max_size=3).map(tuple),
    ),
    max_leaves=8,
)


def document(node: KeyNode) -> dict[str, Any]:
    fields: dict[str, Any] = {"key": node.key, "value": node.value, "dir": node.dir}
    fields |= {"ttl": node.ttl, "modifiedIndex": node.modified_index}
    fields |= {"createdIndex": node.created_index}
    fields["nodes"] = [document(child) for child in node.nodes]
    return {name: value for name, value in fields.items() if value is not None and value != []}


@settings(max_examples=40)
@given(NODES, st.one_of(st.none(), NODES), st.text(min_size=1))
def test_trees_come_out_as_they_were(node: KeyNode, previous: KeyNode | None, action: str) -> None:
    body: dict[str, Any] = {"action": action, "node": document(node)}
    if previous is not None:
        body["prevNode"] = document(previous)
    headers = {"X-Etcd-Index": "12", "X-Raft-Index": "34", "X-Raft-Term": "5"}
    result = answers.result_of(Answer(201, headers, json.dumps(body).encode()))
    assert (result.action, result.node, result.prev_node) == (action, node, previous)
    assert (result.etcd_index, result.raft_index, result.raft_term) == (12, 34, 5)
    assert result.created
    event = answers.event_of(json.dumps(body).encode())
    assert event == WatchEvent(action, node, previous, node.modified_index)


def test_the_root_has_a_name() -> None:
    empty = answers.result_of(Answer(200, {}, b'{"action":"get","node":{"dir":true}}\n'))
    assert empty.node == KeyNode("/", dir=True)


def test_a_tree_may_be_as_deep_as_keys_are() -> None:
    text = b'{"key":"/x","dir":true}'
    for _ in range(128):
        text = b'{"key":"/x","dir":true,"nodes":[%b]}' % text
    result = answers.result_of(Answer(200, {}, b'{"action":"get","node":%b}' % text))
    assert len(list(result.node.walk())) == 129


def test_deeper_nonsense_is_refused() -> None:
    with pytest.raises(Unreadable):
        answers.result_of(Answer(200, {}, b"[" * 100_000))


def test_errors_are_named_after_their_codes() -> None:
    names = {
        100: errors.KeyNotFound,
        105: errors.KeyExists,
        110: errors.Unauthorized,
        201: errors.ValueRequired,
        202: errors.InvalidRequest,
        212: errors.InvalidRequest,
        401: errors.EventIndexCleared,
        999: errors.EtcdError,
    }
    for code, kind in names.items():
        refused = answers.refusal(Answer(400, {}, error(code, "why", "what")))
        assert type(refused) is kind
        assert (refused.code, refused.message, refused.cause, refused.index) == (
            code,
            "what",
            "why",
            9,
        )
        assert str(refused) == f"{code}: what (why) [9]"


def test_routes_have_errors_of_their_own() -> None:
    body = b'{"message":"auth: User bob does not exist."}'
    assert type(answers.refusal(Answer(404, {}, body), "auth")) is errors.AuthError
    assert type(answers.refusal(Answer(409, {}, body), "members")) is errors.MembershipError
    insufficient = answers.refusal(Answer(401, {}, b'{"message":"Insufficient credentials"}'))
    assert type(insufficient) is errors.Unauthorized


def test_a_server_without_the_v2_api_is_told_as_such() -> None:
    refused = answers.refusal(Answer(404, {}, b"404 page not found\n"))
    assert "--enable-v2" in str(refused)


def test_pages_for_browsers_are_not_repeated() -> None:
    assert judge(502, b"<html>long page</html>") == (Verdict.UNCLEAR, "status 502")
    assert judge(502, b"bad luck\nmore") == (Verdict.UNCLEAR, "status 502: bad luck")


def test_health_in_both_spellings() -> None:
    for body in (b'{"health": "true"}', b'{"health": true}'):
        assert answers.is_healthy(Answer(200, {}, body))
    for status, body in ((503, b'{"health": "true"}'), (200, b'{"health": "false"}'), (200, b"")):
        assert not answers.is_healthy(Answer(status, {}, body))


def test_members() -> None:
    text = (
        b'{"members":[{"id":"7924593a81a969fd","name":"n1","peerURLs":["http://127.0.0.1:1"],'
        b'"clientURLs":null}]}\n'
    )
    (member,) = answers.members_of(answers.document_of(Answer(200, {}, text)))
    assert member == ("7924593a81a969fd", "n1", ("http://127.0.0.1:1",), ())
