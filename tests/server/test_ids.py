"""kvraft/server/ids.py: ids of known clusters, and their text form."""

from __future__ import annotations

import pytest

from kvraft.server.ids import IdError, cluster_id, format_id, member_id, parse_id

KNOWN = [
    (["http://127.0.0.1:32002"], "etcd-cluster", "7924593a81a969fd", "364d374c8332954a"),
    (["http://127.0.0.1:32003"], "etcd-cluster", "18769e83d959fd53", "4a556da019170264"),
    (
        ["http://localhost:2380", "http://localhost:7001"],
        "etcd-cluster",
        "ce2a822cea30bfca",
        "7e27652122e8b2ae",
    ),
]


@pytest.mark.parametrize(("urls", "token", "member", "cluster"), KNOWN)
def test_known_clusters_of_one(urls: list[str], token: str, member: str, cluster: str) -> None:
    number = member_id(urls, token)
    assert format_id(number) == member
    assert format_id(cluster_id([number])) == cluster


def test_known_cluster_of_three() -> None:
    ports = (32002, 32004, 32006)
    members = [member_id([f"http://127.0.0.1:{port}"], "tok") for port in ports]
    assert [format_id(m) for m in members] == [
        "65a1d2776716209c",
        "ecfef4015f44c063",
        "2a88f13791d20e2c",
    ]
    assert format_id(cluster_id(members)) == "9347edb9a6f1209f"
    assert cluster_id(reversed(members)) == cluster_id(members)


def test_order_of_urls_does_not_matter() -> None:
    urls = ["http://localhost:7001", "http://localhost:2380"]
    assert member_id(urls, "etcd-cluster") == member_id(urls[::-1], "etcd-cluster")


def test_time_makes_another_member_of_the_same_address() -> None:
    urls = ["http://127.0.0.1:32002"]
    ids = {member_id(urls, ""), member_id(urls, "", 0), member_id(urls, "", 1)}
    assert len(ids) == 3


def test_a_name_that_is_not_utf_8_still_has_an_id() -> None:
    assert member_id(["http://\udcff:1"], "t") != 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("ab", 0xAB), ("00AB", 0xAB), ("0" * 20 + "1", 1), ("f" * 16, 2**64 - 1)],
)
def test_parse(text: str, number: int) -> None:
    assert parse_id(text) == number
    assert parse_id(format_id(number)) == number


@pytest.mark.parametrize("text", ["", "zzz", "0x1", "-1", "+1", "1_0", " 1", "1" + "0" * 16, "١"])
def test_parse_refuses(text: str) -> None:
    with pytest.raises(IdError):
        parse_id(text)
