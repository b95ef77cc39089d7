"""A real etcd and kvraft, given the same random writes and reads, give the same answers.

The recorded cases pin down what somebody thought of; this looks for what nobody did. Debian's
etcd is a later version than the reference, so what is known to differ between the two (keys-api,
section 14) is not asked for here.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import urllib.parse
from pathlib import Path
from typing import Any, Final

import pytest

from benchmarks.members import ETCD, FORM, KVRAFT, Cluster

pytestmark = [pytest.mark.realetcd, pytest.mark.timeout(180)]

STEPS: Final = 1500
NAMES: Final = ("a", "b", "c", "_hidden", "ä", "with space")
VALUES: Final = ("", "1", "2", "<&>", 'quo"te\\', "tab\there", "\u2028", "x" * 300, "y" * 3000)
FLAGS: Final = ("true", "false", "1", "T", "maybe", "")
PARAMETERS: Final = ("recursive", "sorted", "quorum", "dir", "stream", "refresh")

IN_ORDER: Final = re.compile(r"\d{20}$")

Request = tuple[str, str, dict[str, str] | None]


def random_path(rng: random.Random) -> str:
    depth = rng.choice((0, 1, 1, 1, 2, 2, 3))
    return "/v2/keys/" + "/".join(urllib.parse.quote(rng.choice(NAMES)) for _ in range(depth))


def random_query(rng: random.Random) -> str:
    query = {
        name: rng.choice(FLAGS) if rng.random() < 0.15 else rng.choice(("true", "false"))
        for name in PARAMETERS
        if rng.random() < 0.2
    }
    return "?" + urllib.parse.urlencode(query) if query else ""


def random_form(rng: random.Random, index: int) -> dict[str, str]:
    form = {}
    if rng.random() < 0.8:
        form["value"] = rng.choice(VALUES)
    if rng.random() < 0.15:
        form["ttl"] = rng.choice(("500", "1000", "", "-1", "soon"))
    if rng.random() < 0.2:
        form["prevValue"] = rng.choice(VALUES)
    if rng.random() < 0.1:
        form["prevIndex"] = str(index - rng.randrange(4))
    if rng.random() < 0.2:
        form["prevExist"] = rng.choice(FLAGS)
    if rng.random() < 0.1:
        form["dir"] = rng.choice(FLAGS)
    return form


def random_request(rng: random.Random, index: int) -> Request:
    method = rng.choices(("PUT", "GET", "DELETE", "POST", "HEAD"), (10, 6, 4, 2, 1))[0]
    path = random_path(rng)
    if method in ("PUT", "POST"):
        return method, path + random_query(rng), random_form(rng, index)
    query = random_query(rng)
    if method == "DELETE" and rng.random() < 0.3:
        compare = {"prevValue": rng.choice(VALUES)}
        if rng.random() < 0.3:
            compare = {"prevIndex": str(index - rng.randrange(4))}
        query += ("&" if query else "?") + urllib.parse.urlencode(compare)
    return method, path + query, None


class Server:
    """One of the two, over one kept connection, with indices counted from its own start."""

    def __init__(self, cluster: Cluster) -> None:
        target = urllib.parse.urlsplit(cluster.members[0].client_url)
        assert target.hostname is not None
        self.connection = http.client.HTTPConnection(target.hostname, target.port, timeout=20)
        self.base = 0
        self.base = int(self.ask(("GET", "/v2/keys/", None))["headers"]["X-Etcd-Index"])

    def ask(self, request: Request) -> dict[str, Any]:
        method, path, form = request
        headers = {} if form is None else {"Content-Type": FORM}
        body = None if form is None else urllib.parse.urlencode(form)
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        raw = response.read().decode()
        fields = {
            name: response.headers.get(name) for name in ("Content-Type", "Allow", "X-Etcd-Index")
        }
        if fields["X-Etcd-Index"] is not None and fields["X-Etcd-Index"] != "0":
            fields["X-Etcd-Index"] = str(int(fields["X-Etcd-Index"]) - self.base)
        try:
            document = self.comparable(json.loads(raw))
        except ValueError:
            document = raw
        return {"status": response.status, "headers": fields, "body": document}

    def comparable(self, part: Any) -> Any:
        """Without what depends on the clock, and with indices counted from the start."""
        if isinstance(part, list):
            return [self.comparable(item) for item in part]
        if not isinstance(part, dict):
            return part
        result = {}
        for name, value in part.items():
            if name in ("modifiedIndex", "createdIndex", "index") and value != 0:
                result[name] = value - self.base
            elif name == "key":
                result[name] = IN_ORDER.sub(self.comparable_key, value)
            elif name == "cause" and "!=" in value and value.endswith("]"):
                result[name] = self.comparable_cause(value)
            elif name == "expiration":
                result[name] = "some time"
            elif name == "ttl":
                result[name] = round(value / 100)  # the two were not asked at the same moment
            elif name == "nodes":
                # unsorted listings come in no particular order
                result[name] = sorted(self.comparable(value), key=lambda node: str(node["key"]))
            else:
                result[name] = self.comparable(value)
        return result

    def comparable_key(self, name: re.Match[str]) -> str:
        """The name of a key made in order is an index."""
        return f"{int(name[0]) - self.base:020}"

    def comparable_cause(self, cause: str) -> str:
        """An index that was asked for and the one found: `[7 != 9]`."""
        asked, _, found = cause.strip("[]").partition(" != ")
        if asked.isdigit() and found.isdigit() and int(found) >= self.base:
            return f"[{int(asked) - self.base} != {int(found) - self.base}]"
        return cause


def test_random_requests_get_the_same_answers(tmp_path: Path) -> None:
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"repeat with SEED={seed}")
    rng = random.Random(seed)
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    with (
        Cluster(KVRAFT, 1, tmp_path / "ours") as ours,
        Cluster(ETCD, 1, tmp_path / "theirs") as theirs,
    ):
        servers = [Server(cluster.start()) for cluster in (ours, theirs)]
        try:
            index = 0
            for step in range(STEPS):
                state = rng.getstate()
                answers = []
                for server in servers:
                    # indices in requests are those of the server that is asked
                    rng.setstate(state)
                    answers.append(server.ask(random_request(rng, index + server.base)))
                rng.setstate(state)
                request = random_request(rng, index)
                assert answers[0] == answers[1], f"SEED={seed}, step {step}: {request}"
                index = max(index, int(answers[0]["headers"]["X-Etcd-Index"] or 0))
        finally:
            for server in servers:
                server.connection.close()
