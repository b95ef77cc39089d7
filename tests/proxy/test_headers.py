"""What a proxy changes in heads."""

from __future__ import annotations

from kvraft.proxy.headers import for_client, for_member, has_passed

Fields = list[tuple[bytes, bytes]]


def up(fields: Fields, keep_origin: bool = True) -> list[tuple[str, str]]:
    headers = for_member(
        fields, host="m:1", client="10.0.0.9", mark="kvraft-1", keep_origin=keep_origin
    )
    return list(headers.items())


LAST = [("X-Forwarded-For", "10.0.0.9"), ("Via", "1.1 kvraft-1")]


def test_end_to_end_headers_go_along_as_they_are() -> None:
    fields = [(b"Host", b"proxy:2379"), (b"accept", b"*/*"), (b"Authorization", b"Basic eDp5")]
    fields += [(b"X-A", b"1"), (b"X-A", b"2")]
    assert up(fields) == [
        ("Host", "m:1"),
        ("accept", "*/*"),
        ("Authorization", "Basic eDp5"),
        ("X-A", "1"),
        ("X-A", "2"),
        *LAST,
    ]


def test_hop_by_hop_headers_stay_behind() -> None:
    names = "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te "
    names += "trailer trailers transfer-encoding upgrade Content-Length Expect"
    assert up([(name.encode(), b"x") for name in names.split()]) == [("Host", "m:1"), *LAST]


def test_what_connection_names_stays_behind() -> None:
    fields = [(b"Connection", b"close, X-Mine"), (b"x-mine", b"1"), (b"x-yours", b"2")]
    assert up(fields) == [("Host", "m:1"), ("x-yours", "2"), *LAST]


def test_the_client_is_appended_to_those_it_stands_for() -> None:
    fields = [(b"X-Forwarded-For", b"1.1.1.1"), (b"x-forwarded-for", b"2.2.2.2, 3.3.3.3")]
    assert up(fields)[1] == ("X-Forwarded-For", "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.9")


def test_a_judged_origin_stays_behind() -> None:
    fields = [(b"Origin", b"http://x")]
    assert ("Origin", "http://x") in up(fields)
    assert up(fields, keep_origin=False) == [("Host", "m:1"), *LAST]


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert ("X-A", "a\ufffdb") in up([(b"X-A", b"a\xffb")])


def test_the_mark_is_found_among_others() -> None:
    assert has_passed([(b"via", b"1.0 other, 1.1 kvraft-1 (comment)")], "kvraft-1") is False
    assert has_passed([(b"via", b"1.0 other, 1.1 kvraft-1")], "kvraft-1")
    assert has_passed([(b"Via", b"1.1 kvraft-1"), (b"Via", b"1.1 x")], "kvraft-1")
    assert not has_passed([(b"Via", b"1.1 kvraft-12"), (b"X", b"1.1 kvraft-1")], "kvraft-1")
    assert not has_passed([(b"Via", b",, ,")], "kvraft-1")


def test_answers_lose_what_belongs_to_the_connection() -> None:
    fields = [(b"X-Etcd-Index", b"5"), (b"Content-Length", b"3"), (b"Connection", b"close, Foo")]
    fields += [(b"Transfer-Encoding", b"chunked"), (b"Foo", b"1"), (b"Date", b"now")]
    assert list(for_client(fields).items()) == [
        ("X-Etcd-Index", "5"),
        ("Content-Length", "3"),
        ("Date", "now"),
    ]
