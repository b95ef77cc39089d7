"""A real etcd and kvraft, asked the same random things about members, give the same answers.

Debian's etcd is a later version than the reference, so what is known to differ is not asked for
or not compared: `unix` URLs, parameters of a Content-Type, the texts of JSON errors. Each cluster
has three members that run, and never more than two that do not, so that it keeps its quorum.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import urllib.parse
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from benchmarks.members import ETCD, KVRAFT, Cluster

pytestmark = [pytest.mark.realetcd, pytest.mark.timeout(180)]

STEPS: Final = 300
MAX_STRANGERS: Final = 2  # with three that run: still a majority
TYPE: Final = "application/json"
BAD_URLS: Final = (
    "ftp://127.0.0.1:1",
    "127.0.0.1:1",
    "http://127.0.0.1",
    "http://127.0.0.1:1/",
    "http://127.0.0.1:1/x",
    "http://[::1]",
    "http://\u00e9<&>",
    "",
    " ",
)
BAD_BODIES: Final = ("", "[]", "1", '{"peerURLs":"x"}', '{"peerURLs":[1]}', "{", '"', "\ufeff{}")
EMPTY_BODIES: Final = ("null", "{}", '{"peerURLs":[]}', '{"peerURLs":null}', ' {"name":"x"}\n')
ODD_IDS: Final = ("1", "0", "00ab", "ABC", "zzz", "0x1", "1/2", "f" * 16, "f" * 17, "%C3%A9", "-1")
JSON_ERRORS: Final = re.compile(r"json: |invalid character|unexpected end")


class Request(NamedTuple):
    """What both are asked; `{new0}` stands for the id of the first member that was added."""

    method: str
    path: str
    body: str | None = None
    content_type: str | None = None


class Draw:
    """Draws requests, knowing which of the members that were added are still there."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._urls = 0
        self.added = 0
        self.strangers: dict[str, list[str]] = {}  # by their names in requests
        self.removed: list[str] = []

    def request(self) -> Request:
        kind = self._rng.random()
        if kind < 0.3:
            return self._reading()
        if kind < 0.6:
            return Request("POST", "/v2/members" + self._suffix(), *self._document())
        if kind < 0.85:
            path = f"/v2/members/{self._id([])}"  # etcd answers 500 where it means "removed"
            return Request("PUT", path, *self._document())
        return Request("DELETE", f"/v2/members/{self._id(self.removed)}")

    def _reading(self) -> Request:
        methods = ("GET", "GET", "GET", "HEAD", "OPTIONS", "PATCH", "PUT", "DELETE")
        paths = ("", "", "/", "/leader", "/leader/", "/x", "/1", "//", "/../members")
        method = self._rng.choice(methods)
        if method in ("PUT", "DELETE"):
            return Request(method, "/v2/members" + self._rng.choice(("", "/")))
        return Request(method, "/v2/members" + self._rng.choice(paths))

    def _suffix(self) -> str:
        return self._rng.choice(("", "", "/", "/x/y", "/leader"))

    def _id(self, removed: list[str]) -> str:
        known = [*self.strangers, *removed]
        if not known or self._rng.random() < 0.3:
            return self._rng.choice(ODD_IDS)
        return self._rng.choice(("", "00")) + self._rng.choice(known)

    def _document(self) -> tuple[str, str | None]:
        rng = self._rng
        content_type = (
            rng.choice(("text/plain", None, "Application/JSON")) if rng.random() < 0.1 else TYPE
        )
        kind = rng.random()
        if kind < 0.15:
            return rng.choice(BAD_BODIES), content_type
        if kind < 0.3:
            return rng.choice(EMPTY_BODIES), content_type
        urls = self._new_urls()
        if kind < 0.5:
            urls.append(rng.choice(BAD_URLS))
        elif self.strangers and kind < 0.65:
            urls.append(rng.choice(rng.choice(list(self.strangers.values()))))
        elif len(self.strangers) == MAX_STRANGERS:
            urls.append("{peer0}")
        rng.shuffle(urls)
        field = rng.choice(("peerURLs", "peerURLs", "PEERURLS"))
        return json.dumps({field: urls}), content_type

    def _new_urls(self) -> list[str]:
        self._urls += 2
        first = 100 + self._urls
        urls = [f"http://127.0.0.1:{first}", f" https://host.invalid:{first + 1} "]
        return urls[: self._rng.choice((1, 1, 2))]

    def note(self, request: Request, status: int) -> None:
        """Learn what has come of a request."""
        if status not in (201, 204):
            return
        name = request.path.removeprefix("/v2/members/").removeprefix("00")
        if request.method == "DELETE":
            del self.strangers[name]
            self.removed.append(name)
            return
        if status == 201:
            name = f"{{new{self.added}}}"
            self.added += 1
        assert request.body is not None
        (urls,) = json.loads(request.body).values()
        self.strangers[name] = [url.strip() for url in urls]


class Server:
    """One of the two clusters, with names for what is different in each."""

    def __init__(self, cluster: Cluster) -> None:
        target = urllib.parse.urlsplit(cluster.leader().client_url)
        assert target.hostname is not None
        self._connection = http.client.HTTPConnection(target.hostname, target.port, timeout=20)
        self._names: dict[str, str] = {}  # of the cluster's own ids and URLs
        self._own: dict[str, str] = {}
        for number, member in enumerate(cluster.members):
            self._learn(f"{{peer{number}}}", member.peer_url)
            self._learn(f"{{client{number}}}", member.client_url)
        members = json.loads(self._raw(Request("GET", "/v2/members"))[2])["members"]
        for member in members:
            self._learn(f"{{{member['name']}}}", member["id"])
        self._added = 0

    def _learn(self, name: str, own: str) -> None:
        self._names[own] = name
        self._own[name] = own

    def close(self) -> None:
        self._connection.close()

    def _raw(self, request: Request) -> tuple[int, dict[str, str | None], bytes]:
        headers = {} if request.content_type is None else {"Content-Type": request.content_type}
        path, body = request.path, request.body
        for name, own in self._own.items():
            path = path.replace(name, own)
            body = body.replace(name, own) if body is not None else None
        encoded = body.encode() if body is not None else None
        self._connection.request(request.method, path, encoded, headers)
        response = self._connection.getresponse()
        fields = {
            name: response.headers.get(name)
            for name in ("Content-Type", "Allow", "Location", "X-Content-Type-Options")
        }
        fields["cluster"] = str("X-Etcd-Cluster-Id" in response.headers)
        return response.status, fields, response.read()

    def ask(self, request: Request) -> tuple[int, dict[str, str | None], object]:
        status, fields, body = self._raw(request)
        if status == 201:
            self._learn(f"{{new{self._added}}}", json.loads(body)["id"])
            self._added += 1
        return status, fields, self._comparable(body)

    def _comparable(self, body: bytes) -> object:
        text = body.decode()
        if JSON_ERRORS.search(text):
            return "bad JSON"
        for own, name in self._names.items():
            text = text.replace(own, name)
        text = text.replace("http, https, unix, or unixs", "http or https")
        text = text.replace("membership: ", "etcdserver: ")
        if text.startswith('{"members":['):
            # by ids, which the two do not have in common
            members: list[Any] = json.loads(text)["members"]
            return sorted(members, key=lambda member: str(member["id"]))
        if text.startswith('{"id":"{m'):
            return re.sub(r"\d", "n", text)  # whoever leads
        return text


def test_random_changes_get_the_same_answers(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with SEED={seed}")
    draw = Draw(random.Random(seed))
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    with (
        Cluster(KVRAFT, 3, tmp_path / "ours") as ours,
        Cluster(ETCD, 3, tmp_path / "theirs") as theirs,
    ):
        for cluster in (ours, theirs):
            for member in cluster.members:
                member.extra_flags = ("--strict-reconfig-check=false",)
        servers = [Server(cluster.start()) for cluster in (ours, theirs)]
        try:
            for step in range(int(os.environ.get("STEPS", STEPS))):
                request = draw.request()
                answers = [server.ask(request) for server in servers]
                assert answers[0] == answers[1], f"SEED={seed}, step {step}: {request}"
                draw.note(request, answers[0][0])
        finally:
            for server in servers:
                server.close()
    assert draw.added
    assert draw.removed
