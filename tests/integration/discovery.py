"""Processes for the discovery tests: services of both kinds, and members that find each other."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.members import KVRAFT, Member, call, free_ports, wait_until

SERVICE: Final = (sys.executable, "-m", "kvraft.discovery")
REFERENCE_SERVICE: Final = ("discovery.etcd.io",)


class DiscoveredMember(Member):
    """A member that is told a discovery URL, or other flags, instead of its cluster."""

    source: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        words = super().arguments()
        for flag in ("--initial-cluster", "--initial-cluster-state"):
            at = words.index(flag)
            del words[at : at + 2]
        return [*words, *self.source]

    def log_text(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_end(self, timeout_s: float = 15) -> int:
        """The status with which the process ends by itself."""
        assert self.process is not None
        status = self.process.wait(timeout_s)
        self.process = None
        return status


class Service:
    """A discovery service as a process."""

    def __init__(self, command: Sequence[str], log_file: Path, port: int | None = None) -> None:
        self.url = f"http://127.0.0.1:{port or free_ports(1)[0]}"
        self._command = [*command, "-a", self.url.removeprefix("http://"), "-h", self.url]
        self._log_file = log_file
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        self._launch()
        wait_until("the discovery service serves", self.healthy)
        return self

    def run(self) -> int | None:
        """For a service that is to end by itself: its status."""
        process, self.process = self._launch(), None
        return process.wait(15)

    def _launch(self) -> subprocess.Popen[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DISC_")}
        with self._log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
            )
        return self.process

    def healthy(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the service ended by itself:\n{self.log_text()}")
        return call(self.url, "GET", "/health", timeout_s=2).status == HTTPStatus.OK

    def new(self, size: int) -> str:
        """A new token's URL."""
        with urllib.request.urlopen(f"{self.url}/new?size={size}", timeout=10) as answer:
            url: str = answer.read().decode()
        assert url.startswith(self.url)
        return url

    def stop(self, *, kill: bool = False) -> int | None:
        """The process's status; None if it was not running."""
        process, self.process = self.process, None
        if process is None:
            return None
        (process.kill if kill else process.terminate)()
        return process.wait(15)

    def log_text(self) -> str:
        return self._log_file.read_text(errors="replace") if self._log_file.exists() else ""


class Lab:
    """What one test has started. A context manager: leaving it ends everything."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.members: list[DiscoveredMember] = []
        self.services: list[Service] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for member in self.members:
            if member.running:
                member.kill()
        for service in self.services:
            service.stop(kill=True)
        if error is not None:
            for member in self.members:
                print(member.log_tail())
            for service in self.services:
                print(service.log_text()[-3000:])

    def service(self, *words: str, command: Sequence[str] = SERVICE) -> Service:
        """A running service; with its own member, unless the words name a store."""
        number = len(self.services)
        options = list(words) or ["--embedded", str(self.directory / f"service{number}.data")]
        made = Service([*command, *options], self.directory / f"service{number}.log")
        self.services.append(made)
        return made.start()

    def member(
        self, url: str, *flags: str, name: str = "", command: Sequence[str] = KVRAFT
    ) -> DiscoveredMember:
        """A member that has been started, and may not serve yet; no URL: flags say it all."""
        ports = free_ports(2)
        made = DiscoveredMember(
            command, name or f"m{len(self.members)}", self.directory, (ports[0], ports[1])
        )
        made.source = ("--discovery", url, *flags) if url else flags
        self.members.append(made)
        made.start()
        return made


def same_cluster(members: Sequence[DiscoveredMember]) -> str:
    """Wait until all serve, check that they are one cluster, and that they share keys; its id."""
    for member in members:
        member.wait_ready()
    listed = []
    for member in members:
        answer = call(member.client_url, "GET", "/v2/members")
        ids = sorted((one["id"], tuple(one["peerURLs"])) for one in answer.body["members"])
        listed.append((answer.headers["x-etcd-cluster-id"], ids))
    assert all(one == listed[0] for one in listed), listed
    assert len(listed[0][1]) == len(members)
    assert call(members[0].client_url, "PUT", "/v2/keys/k", {"value": "v"}).status in (200, 201)
    for member in members:
        got = call(member.client_url, "GET", "/v2/keys/k?quorum=true")
        assert got.body["node"]["value"] == "v"
    cluster_id: str = listed[0][0]
    return cluster_id
