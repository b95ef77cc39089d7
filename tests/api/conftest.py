"""A port without a network, and one client of it."""

from __future__ import annotations

import pytest

from tests.api.wire import Client, Wire


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def client(wire: Wire) -> Client:
    return wire.client()
