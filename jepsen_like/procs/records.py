"""What clients and watchers know, written down for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jepsen_like.check.history import History, Outcome
from jepsen_like.procs.watchers import Watcher


def save_history(directory: Path, history: History, watchers: Iterable[Watcher]) -> None:
    """Two files with a JSON document per line: operations, and sessions of watchers."""
    with (directory / "history.jsonl").open("w") as file:
        for operation in history.operations:
            record = {name: _plain(getattr(operation, name)) for name in operation.__slots__}
            file.write(json.dumps(record) + "\n")
    with (directory / "watches.jsonl").open("w") as file:
        for session in (session for watcher in watchers for session in watcher.sessions):
            texts = [seen.text.decode() for seen in session.events]
            document = {"member": session.member, "first": session.first_index, "events": texts}
            file.write(json.dumps(document) + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, dict):
        return {_plain(name): _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
