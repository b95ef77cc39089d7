"""Passwords: hashing and checking off the event loop, at most so many at a time.

One bcrypt check takes some 50 ms of a processor, on purpose. So checks run in a few threads of
their own, what was found out is remembered, and equal checks share one run: a client that sends
its credentials with each request costs one check. A flood of guesses fills a short queue, of which
neither one user name nor one address can take more than a part; beyond it they are refused at once,
and nobody else's requests are touched.

What is remembered is a digest of user, hash and password under a key that this process drew, never
a password. A changed password has another hash, so nothing that is remembered can be out of date.

Must not know: HTTP, permissions. Invariants: every callback is called exactly once, on the event
loop; an unknown user is treated like one with a wrong password, so that nobody learns which exist.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from typing import Final, NamedTuple

import bcrypt

from kvraft.limits import (
    MAX_PASSWORD_JOBS,
    MAX_PASSWORD_JOBS_PER_OWNER,
    MAX_REMEMBERED_PASSWORDS,
    PASSWORD_THREADS,
)

COST: Final = 10  # that of etcd, whose hashes are interchangeable with ours
MAX_PASSWORD_BYTES: Final = 72  # what the algorithm looks at; the rest is cut off, as in Go
_NOBODY: Final = b"$2a$10$abcdefghijklmnopqrstuuQ1DyIXVOnBVMHMHb1PyHVDrwMi2i9C2"  # no one's hash

Checked = Callable[["bool | None"], None]
Hashed = Callable[["str | None"], None]


class _Memory:
    """The digests that were met last, so many of them."""

    __slots__ = ("_digests",)

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def add(self, digest: bytes) -> None:
        if len(self._digests) >= MAX_REMEMBERED_PASSWORDS:
            self._digests.popitem(last=False)
        self._digests[digest] = None


class _Job(NamedTuple):
    """Work for a thread, and who gets its result; None if it was not done."""

    owners: tuple[tuple[str, str], ...]
    """On whose account it goes: the user name, the client's address."""
    work: Callable[[], object]
    done: Callable[[object], None]


class Passwords:
    """Checks and makes the hashes of one client port."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(PASSWORD_THREADS, thread_name_prefix="password")
        self._secret = os.urandom(32)
        self._proven = _Memory()
        self._refuted = _Memory()  # apart, so that guesses drive out nobody who has logged in
        self._queue: deque[_Job] = deque()
        self._jobs_of: Counter[tuple[str, str]] = Counter()
        self._checks: dict[bytes, list[Checked]] = {}
        self._running = 0

    @property
    def jobs(self) -> int:
        """How many wait or run."""
        return len(self._queue) + self._running

    def recall(self, name: str, password_hash: str | None, password: bytes) -> bool | None:
        """The result of the same check if it was made lately; a user without a hash is unknown."""
        digest = self._digest(name, password_hash, password)
        if digest in self._proven:
            return True
        return False if digest in self._refuted else None

    def check(
        self, name: str, password_hash: str | None, password: bytes, address: str, done: Checked
    ) -> None:
        """Find out whether a password is the one of a user; None: too much to do already.

        `address` is where the question comes from.
        """
        digest = self._digest(name, password_hash, password)
        waiting = self._checks.get(digest)
        if waiting is not None:
            waiting.append(done)
            return
        self._checks[digest] = [done]
        secret = password[:MAX_PASSWORD_BYTES]
        hashed = _NOBODY if password_hash is None else password_hash.encode(errors="replace")

        def known(result: object) -> None:
            matches = None if result is None else result is True and password_hash is not None
            if matches is not None:
                (self._proven if matches else self._refuted).add(digest)
            for waiter in self._checks.pop(digest):
                waiter(matches)

        owners = (("user", name), ("address", address))
        self._submit(_Job(owners, lambda: _matches(secret, hashed), known))

    def hash(self, password: bytes, done: Hashed) -> None:
        """Make the hash of a new password; None: too much to do already."""
        secret = password[:MAX_PASSWORD_BYTES]

        def known(result: object) -> None:
            done(result if isinstance(result, str) else None)

        self._submit(_Job((), lambda: _hash(secret), known))

    def close(self) -> None:
        """Start no more work; what waits is answered with None."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        waiting, self._queue = self._queue, deque()
        for job in waiting:
            job.done(None)

    def _digest(self, name: str, password_hash: str | None, password: bytes) -> bytes:
        parts = (
            name.encode("utf-8", "surrogateescape"),
            (password_hash or "").encode("utf-8", "surrogateescape"),
        )
        lengths = b"%d %d " % (len(parts[0]), len(parts[1]))
        return blake2b(lengths + b"".join(parts) + password, key=self._secret).digest()

    def _submit(self, job: _Job) -> None:
        if self.jobs >= MAX_PASSWORD_JOBS or any(
            self._jobs_of[owner] >= MAX_PASSWORD_JOBS_PER_OWNER for owner in job.owners
        ):
            job.done(None)
            return
        self._jobs_of.update(job.owners)
        self._queue.append(job)
        self._start()

    def _start(self) -> None:
        while self._queue and self._running < PASSWORD_THREADS:
            job = self._queue.popleft()
            try:
                future = self._loop.run_in_executor(self._threads, job.work)
            except RuntimeError:  # closed meanwhile
                self._forget(job)
                job.done(None)
                continue
            self._running += 1
            future.add_done_callback(partial(self._ended, job))

    def _ended(self, job: _Job, future: asyncio.Future[object]) -> None:
        self._running -= 1
        self._forget(job)
        self._start()
        job.done(None if future.cancelled() else future.result())

    def _forget(self, job: _Job) -> None:
        for owner in job.owners:
            self._jobs_of[owner] -= 1
            if not self._jobs_of[owner]:
                del self._jobs_of[owner]


def _matches(password: bytes, password_hash: bytes) -> bool:
    try:
        return bcrypt.checkpw(password, password_hash)
    except ValueError:  # no hash of bcrypt's: nobody's password
        return False


def _hash(password: bytes) -> str:
    return bcrypt.hashpw(password, bcrypt.gensalt(COST, prefix=b"2a")).decode("ascii")
