"""Hosts of their own for members: what is cut, what is not, and that nothing is left."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from jepsen_like.faults import namespaces, probes
from jepsen_like.faults.namespaces import Namespaces
from tests.faults.hosts import client_socket, socket_on, stream

pytestmark = pytest.mark.skipif(
    bool(probes.missing("namespaces", "iptables")), reason=probes.missing("namespaces", "iptables")
)

PORT = 2380
CRASHING = """
import os, subprocess, sys
from jepsen_like.faults.namespaces import Namespaces
network = Namespaces()
network.add(1, 2380)
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
sleeper = subprocess.Popen([*network.prefix(1), "sleep", "600"], **quiet)
print(network.bridge, sleeper.pid, flush=True)
os._exit(1)
"""


@pytest.fixture
def network() -> Iterator[Namespaces]:
    with Namespaces() as network:
        for number in range(3):
            network.add(number, PORT)
        yield network


@pytest.fixture
def sockets(network: Namespaces) -> Iterator[list[socket.socket]]:
    """One for datagrams per member."""
    made = [socket_on(network, number) for number in range(3)]
    yield made
    for each in made:
        each.close()


def say(source: socket.socket, destination: socket.socket, text: bytes) -> None:
    source.sendto(text, destination.getsockname())


def test_a_cut_is_one_way_and_heals(network: Namespaces, sockets: list[socket.socket]) -> None:
    network.cut(0, 1)
    say(sockets[0], sockets[1], b"lost")
    say(sockets[1], sockets[0], b"the other way")
    say(sockets[0], sockets[2], b"elsewhere")
    assert sockets[0].recv(100) == b"the other way"
    assert sockets[2].recv(100) == b"elsewhere"
    network.heal()
    say(sockets[0], sockets[1], b"after")
    assert sockets[1].recv(100) == b"after"


def test_cuts_add_up(network: Namespaces, sockets: list[socket.socket]) -> None:
    network.cut(0, 2)
    network.cut_all([(1, 2), (2, 1)])
    say(sockets[0], sockets[2], b"lost")
    say(sockets[1], sockets[2], b"lost")
    say(sockets[2], sockets[1], b"lost")
    say(sockets[0], sockets[1], b"heard")
    assert sockets[1].recv(100) == b"heard"
    network.heal()
    say(sockets[0], sockets[2], b"after")
    assert sockets[2].recv(100) == b"after"


def test_a_member_cut_off_from_clients_hears_members(
    network: Namespaces, sockets: list[socket.socket]
) -> None:
    network.cut_client(1)
    with client_socket(network) as client:
        say(client, sockets[1], b"lost")
        with contextlib.suppress(PermissionError):  # a sender of datagrams is told
            say(sockets[1], client, b"lost")
        say(sockets[0], sockets[1], b"from a member")
        say(sockets[0], client, b"to a client")
        assert sockets[1].recv(100) == b"from a member"
        assert client.recv(100) == b"to a client"
        network.heal()
        say(client, sockets[1], b"after")
        assert sockets[1].recv(100) == b"after"


def test_without_answers_only_what_the_source_opened_stands_still(network: Namespaces) -> None:
    own, heard = stream(network, caller=0, called=1, port=PORT)
    there, others = stream(network, caller=1, called=0, port=PORT)
    with own, heard, there, others:
        network.cut(0, 1, answers=False)
        own.sendall(b"held")
        for _ in range(20):
            there.sendall(b"question")
            assert others.recv(100) == b"question"
            others.sendall(b"answer")
            assert there.recv(100) == b"answer"
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(100)
        network.heal()
        heard.settimeout(20)
        assert heard.recv(100) == b"held"


def test_hosts_can_be_added(network: Namespaces, sockets: list[socket.socket]) -> None:
    network.add(3, PORT)
    assert network.peer_url(3) == f"http://{network.host(3)}:{PORT}"
    with socket_on(network, 3) as added:
        say(sockets[0], added, b"welcome")
        assert added.recv(100) == b"welcome"


def test_two_networks_do_not_meet_and_leave_nothing(network: Namespaces) -> None:
    with Namespaces() as other:
        for member in range(2):
            other.add(member, PORT)
        assert other.host(0) != network.host(0)
        other.cut(0, 1)
        with socket_on(network, 0) as near, socket_on(network, 1) as far:
            say(near, far, b"not cut here")
            assert far.recv(100) == b"not cut here"
        number = int(other.bridge.removeprefix(namespaces.PREFIX))
        assert len(namespaces.present(number)) == 5
    assert namespaces.present(number) == []
    assert namespaces.present(int(network.bridge.removeprefix(namespaces.PREFIX)))


def test_what_a_killed_run_left_is_removed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHING], capture_output=True, text=True, check=False, timeout=60
    )
    bridge, _ = done.stdout.split()
    # another test at the same moment may be the one that removes it
    namespaces.remove_stale()
    assert namespaces.present(int(bridge.removeprefix(namespaces.PREFIX))) == []


def test_a_network_in_use_is_not_stale(network: Namespaces) -> None:
    number = int(network.bridge.removeprefix(namespaces.PREFIX))
    assert number not in namespaces.remove_stale()
    assert namespaces.present(number)
