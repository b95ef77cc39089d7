"""`kvraftctl user`, `role` and `auth`: the order of checks, the prompts, who is asked what."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Ran, kvraftctl
from tests.cli.test_member import Cluster

AL = "/v2/auth/users/al"
R = "/v2/auth/roles/r"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    made.put("GET", AL, 200, {"user": "al", "roles": [{"role": "r1"}, {"role": "r2"}]})
    made.put("PUT", AL, 200, {"user": "al"})
    made.put("GET", R, 200, {"role": "r", "permissions": {"kv": {"read": ["/a"], "write": []}}})
    made.put("PUT", R, 200, {"role": "r"})
    with made.stub:
        yield made


def refused(text: str) -> Ran:
    return Ran(1, "", text + "\n")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("user list x", "No arguments accepted"),
        ("user add", "Please provide a username"),
        ("user add a b", "Please provide a username"),
        ("user get", "Please provide a username"),
        ("user remove", "Please provide a username"),
        ("user passwd a b", "Please provide a username"),
        ("user grant", "No roles specified; please use `-roles`"),
        ("user revoke a b", "No roles specified; please use `-roles`"),
        ("user grant --roles r", "Please provide a username"),
        ("role list x", "No arguments accepted"),
        ("role add", "Please provide a role name"),
        ("role get a b", "Please provide a role name"),
        ("role remove", "Please provide a role name"),
        ("role grant", "No path specified; please use `-path`"),
        ("role revoke --read", "No path specified; please use `-path`"),
        ("role grant --path a", "Not canonical path; please use `-path=/a`"),
        ("role grant --path /a//b/ r", "Not canonical path; please use `-path=/a/b/`"),
        ("role grant --path /a/.. r", "Not canonical path; please use `-path=/`"),
        ("role grant --path /a", "Please specify exactly one of -read, -write or -readwrite"),
        (
            "role grant --path /a --read --readwrite",
            "Please specify exactly one of -read, -write or -readwrite",
        ),
        ("role revoke --path /a/ --read", "Please provide a role name"),
        ("auth enable x", "No arguments accepted"),
        ("auth disable x", "No arguments accepted"),
    ],
)
def test_arguments_are_checked_in_order_and_before_anybody_is_asked(words: str, text: str) -> None:
    dead = ("--endpoints", "http://127.0.0.1:1")
    assert kvraftctl(*dead, *words.split()) == refused(text)


def test_user_get_has_a_space_more_for_each_role(cluster: Cluster) -> None:
    assert cluster.ctl("user", "get", "al") == Ran(0, "User: al\nRoles:   r1 r2\n", "")
    cluster.put("GET", AL, 200, {"user": "al"})
    assert cluster.ctl("user", "get", "al") == Ran(0, "User: al\nRoles: \n", "")


def test_listings(cluster: Cluster) -> None:
    cluster.put("GET", "/v2/auth/users", 200, {"users": [{"user": "a"}, {"user": "b"}]})
    cluster.put("GET", "/v2/auth/roles", 200, {"roles": [{"role": "r"}, {"role": "root"}]})
    assert cluster.ctl("user", "list") == Ran(0, "a\nb\n", "")
    assert cluster.ctl("role", "list") == Ran(0, "r\nroot\n", "")
    cluster.put("GET", "/v2/auth/users", 200, {"users": None})
    assert cluster.ctl("user", "list") == Ran(0, "", "")


def test_refusals_are_read_but_for_the_list_of_roles(cluster: Cluster) -> None:
    for path in (AL, R, "/v2/auth/users", "/v2/auth/roles"):
        cluster.put("GET", path, 401, {"message": "Insufficient credentials"})
    cluster.put("PUT", "/v2/auth/enable", 409, {"message": "auth: already enabled"})
    assert cluster.ctl("user", "list") == refused("Insufficient credentials")
    assert cluster.ctl("user", "get", "al") == refused("Insufficient credentials")
    assert cluster.ctl("role", "get", "r") == refused("Insufficient credentials")
    assert cluster.ctl("role", "list") == refused("unexpected status code 401")
    assert cluster.ctl("auth", "enable") == refused("auth: already enabled")
    # a page that is no refusal of ours
    assert cluster.ctl("auth", "disable") == refused("invalid character 'p' after top-level value")


def test_an_existing_user_is_not_asked_for_a_password(cluster: Cluster) -> None:
    assert cluster.ctl("user", "add", "al", typed=b"pw\n") == refused("User al already exists")
    assert cluster.ctl("user", "add", "al:pw") == refused("User al already exists")
    assert {asked.method for asked in cluster.stub.asked} == {"GET"}


def test_a_new_user(cluster: Cluster) -> None:
    cluster.put("GET", AL, 404, {"message": "auth: User al does not exist."})
    cluster.put("PUT", AL, 201, {"user": "al", "roles": None})
    done = cluster.ctl("user", "add", "al", typed=b" pw \nmore\n")
    assert done == Ran(0, "New password: \nUser al created\n", "")
    assert json.loads(cluster.stub.asked[-1].body) == {
        "user": "al",
        "password": "pw",
        "roles": None,
    }
    assert cluster.ctl("user", "add", "al:a:<b>").out == "User al created\n"
    assert cluster.stub.asked[-1].body == (
        b'{"user":"al","password":"a:\\u003cb\\u003e","roles":null}'
    )


def test_a_new_password(cluster: Cluster) -> None:
    done = cluster.ctl("user", "passwd", "al", typed=b"new\n")
    assert done == Ran(0, "New password: \nPassword updated\n", "")
    assert cluster.stub.asked[-1].body == b'{"user":"al","password":"new","roles":null}'
    cluster.put("GET", AL, 404, {"message": "auth: User al does not exist."})
    assert cluster.ctl("user", "passwd", "al") == refused("auth: User al does not exist.")


def test_roles_come_and_go(cluster: Cluster) -> None:
    roles = ("--roles", "r1", "-roles", "r2,r3")
    assert cluster.ctl("user", "grant", "al", *roles) == Ran(0, "User al updated\n", "")
    assert cluster.stub.asked[-1].body == b'{"user":"al","roles":null,"grant":["r1","r2,r3"]}'
    assert cluster.ctl("user", "revoke", "al", *roles) == Ran(0, "User al updated\n", "")
    assert cluster.stub.asked[-1].body == b'{"user":"al","roles":null,"revoke":["r1","r2,r3"]}'
    cluster.put("PUT", AL, 409, {"message": "auth: Granting duplicate role r1 for user al"})
    expected = refused("auth: Granting duplicate role r1 for user al")
    assert cluster.ctl("user", "grant", "al", *roles) == expected


@pytest.mark.parametrize(
    ("kind", "paths"),
    [
        ("read", {"read": ["/a/*"], "write": None}),
        ("write", {"read": None, "write": ["/a/*"]}),
        ("readwrite", {"read": ["/a/*"], "write": ["/a/*"]}),
    ],
)
@pytest.mark.parametrize("verb", ["grant", "revoke"])
def test_permissions_come_and_go(cluster: Cluster, verb: str, kind: str, paths: object) -> None:
    done = cluster.ctl("role", verb, "r", "--path", "/a/*", f"--{kind}")
    assert done == Ran(0, "Role r updated\n", "")
    nothing = {"kv": {"read": None, "write": None}}
    assert json.loads(cluster.stub.asked[-1].body) == {
        "role": "r",
        "permissions": nothing,
        verb: {"kv": paths},
    }
    cluster.put("GET", R, 404, {"message": "auth: Role r does not exist."})
    done = cluster.ctl("role", verb, "r", "--path", "/a", f"--{kind}")
    assert done == refused("auth: Role r does not exist.")


def test_role_get_and_add(cluster: Cluster) -> None:
    assert cluster.ctl("role", "get", "r") == Ran(0, "Role: r\nKV Read:\n\t/a\nKV Write:\n", "")
    assert cluster.ctl("role", "add", "r") == refused("Role r already exists")
    cluster.put("GET", R, 404, {"message": "auth: Role r does not exist."})
    cluster.put("PUT", R, 201, {"role": "r"})
    assert cluster.ctl("role", "add", "r") == Ran(0, "Role r created\n", "")
    assert json.loads(cluster.stub.asked[-1].body) == {
        "role": "r",
        "permissions": {"kv": {"read": None, "write": None}},
    }


def test_removals(cluster: Cluster) -> None:
    cluster.put("DELETE", AL, 200)
    cluster.put("DELETE", R, 404, {"message": "auth: Role r doesn't exist."})
    assert cluster.ctl("user", "remove", "al") == Ran(0, "User al removed\n", "")
    assert cluster.ctl("role", "remove", "r") == refused("auth: Role r doesn't exist.")


@pytest.mark.parametrize(
    ("name", "path"),
    [("a b", "a%20b"), ("ä", "%C3%A4"), ("../roles/r", "../roles/r"), ("x/", "x")],
)
def test_names_become_paths(cluster: Cluster, name: str, path: str) -> None:
    cluster.ctl("user", "get", name)
    expected = "/v2/auth/roles/r" if path.startswith("..") else f"/v2/auth/users/{path}"
    assert cluster.stub.asked[-1].target == expected


def test_credentials_are_sent_and_asked_for(cluster: Cluster) -> None:
    cluster.put("PUT", "/v2/auth/enable", 200)
    done = cluster.ctl("-u", "root", "auth", "enable", typed=b"pw\n")
    assert done == Ran(0, "Password: \nAuthentication Enabled\n", "")
    assert cluster.stub.asked[-1].headers["authorization"] == "Basic cm9vdDpwdw=="
    # both at once: each prompt takes its line
    cluster.put("GET", AL, 404, {"message": "auth: User al does not exist."})
    done = cluster.ctl("-u", "root", "user", "add", "al", typed=b"pw\nsecret\n")
    assert done.out == "Password: \nNew password: \nUser al created\n"
    assert json.loads(cluster.stub.asked[-1].body)["password"] == "secret"
