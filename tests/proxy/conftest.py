"""What the tests of the proxy share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from kvraft.server import logs


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The proxy's log as it comes."""
    texts: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            texts.append(f"{record.name.rpartition('.')[2]}: {record.getMessage()}")

    root = logging.getLogger(logs.ROOT)
    root.setLevel(logging.INFO)
    handler = Keep()
    root.addHandler(handler)
    yield texts
    root.removeHandler(handler)
