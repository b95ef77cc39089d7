"""Which ports the members of `kvraft dev` get."""

from __future__ import annotations

import socket
from contextlib import closing

from kvraft.dev.ports import HOST, choose_ports, port_is_free, usual_ports


def test_the_usual_ports() -> None:
    assert usual_ports(2379, 1) == [2379]
    assert usual_ports(2379, 4) == [2379, 22379, 32379, 42379]
    assert usual_ports(40000, 4) == [40000, 60000, 0, 0]


def test_those_that_are_taken_are_replaced() -> None:
    assert choose_ports(2379, 3, lambda port: port != 22379) == [2379, 0, 32379]
    assert choose_ports(2379, 2, lambda port: False) == [0, 0]
    assert choose_ports(0, 3, lambda port: True) == [0, 0, 0]


def test_a_port_that_was_asked_for_is_not_replaced() -> None:
    assert choose_ports(2379, 2, lambda port: False, keep_first=True) == [2379, 0]
    assert choose_ports(0, 2, lambda port: False, keep_first=True) == [0, 0]


def test_a_port_in_use_is_not_free() -> None:
    with closing(socket.socket()) as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free(port)
    assert port_is_free(port)
