"""The synchronous twin: the same names and arguments, and no thread left behind."""

from __future__ import annotations

import gc
import inspect
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import kvraft
from kvraft.client.auth import Auth
from kvraft.client.client import Client
from kvraft.client.sync import SyncAuth, SyncClient

ROOT = Path(__file__).parent.parent.parent


def signatures(kind: type) -> dict[str, list[tuple[str, object, object]]]:
    """Names, defaults and kinds of the arguments of each public method.

    A clock of one's own, which locks take, is of no use across threads.
    """
    return {
        name: [
            (p.name, p.default, p.kind)
            for p in inspect.signature(method).parameters.values()
            if p.name != "clock"
        ]
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
    }


@pytest.mark.parametrize(("original", "twin"), [(Client, SyncClient), (Auth, SyncAuth)])
def test_names_and_arguments_are_the_same(original: type, twin: type) -> None:
    assert signatures(twin) == signatures(original)
    settings = [inspect.signature(kind).parameters for kind in (Client, SyncClient)]
    assert list(settings[0]) == list(settings[1])


def test_a_forgotten_client_takes_its_thread_along() -> None:
    client = SyncClient("http://127.0.0.1:1", timeout_s=0.1)
    assert not client.health()
    assert threading.active_count() == 2
    del client
    gc.collect()
    assert threading.active_count() == 1


def test_a_process_ends_with_a_watch_open() -> None:
    program = (
        "import threading, time, kvraft\n"
        "client = kvraft.SyncClient('http://127.0.0.1:1')\n"
        "events = client.watch('/a', after_index=3)\n"
        "threading.Thread(target=lambda: list(events), daemon=True).start()\n"
        "time.sleep(0.3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_importing_the_package_is_cheap() -> None:
    program = (
        "import sys; before = set(sys.modules); import kvraft\n"
        "assert kvraft.__version__\n"
        "print(sorted(set(sys.modules) - before - {'__future__'}))\n"
        "kvraft.KeyNode\n"
        "assert 'aiohttp' not in sys.modules\n"
        "kvraft.Client\n"
        "assert 'aiohttp' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=30, check=True
    )
    assert done.stdout == b"['kvraft']\n"


def test_the_package_exports_what_it_says() -> None:
    for name in kvraft.__all__:
        assert getattr(kvraft, name) is not None
        assert name in dir(kvraft)
    with pytest.raises(AttributeError, match="no attribute 'Klient'"):
        _ = kvraft.Klient
