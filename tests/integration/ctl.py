"""Debian's etcdctl as a command that tests run."""

from __future__ import annotations

import os
import subprocess


def etcdctl(*arguments: str, status: int = 0, typed: str = "") -> str:
    """What the command printed on both streams; it has to end with this status."""
    done = subprocess.run(
        ["etcdctl", *arguments],
        env={**os.environ, "ETCDCTL_API": "2"},
        input=typed,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == status, done.stdout
    return done.stdout
