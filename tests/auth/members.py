"""Members that share a log: each with a store of its own, a log that the test moves on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from kvraft.auth.model import User
from kvraft.auth.password import Passwords
from kvraft.auth.store import AuthStore
from kvraft.store.errors import StoreError
from kvraft.store.request import Request
from kvraft.store.store import Store


class FakePasswords:
    """Hashes at once, as nobody may do in earnest."""

    def __init__(self) -> None:
        self.busy = False
        self.hashed = 0

    def hash(self, password: bytes, done: Callable[[str | None], None]) -> None:
        self.hashed += 1
        done(None if self.busy else f"hash of {password.decode()}")


class Member:
    """One member, as far as its users and roles go."""

    def __init__(self, log: Log) -> None:
        self.store = Store()
        self.log = log
        self.applied = 0
        self.waiting: dict[int, Callable[[Any], None]] = {}
        self.passwords = FakePasswords()
        self.unavailable: object = None
        self.auth = AuthStore(self, cast(Passwords, self.passwords))

    def propose(self, request: Request, done: Callable[[Any], None]) -> None:
        if self.unavailable is not None:
            done(self.unavailable)
            return
        self.log.requests.append(request)
        self.waiting[len(self.log.requests)] = done
        if self.log.moves:
            self.log.move()

    def apply(self, until: int) -> None:
        while self.applied < until:
            self.applied += 1
            try:
                outcome: object = self.store.apply(self.log.requests[self.applied - 1])
            except StoreError as error:
                outcome = error
            done = self.waiting.pop(self.applied, None)
            if done is not None:
                done(outcome)

    def put_user(self, user: User) -> list[tuple[object, User | None, bool]]:
        """Create or change a user; the result has one entry once it is known."""
        results: list[tuple[object, User | None, bool]] = []
        self.auth.put_user(user, lambda *result: results.append(result))
        return results


class Log:
    """What all members apply; by default at once."""

    def __init__(self, size: int) -> None:
        self.requests: list[Request] = []
        self.moves = True
        self._moving = False
        self.members = [Member(self) for _ in range(size)]

    def move(self) -> None:
        """Let all members apply everything, including what they propose upon it."""
        if self._moving:
            return
        self._moving = True
        try:
            while any(member.applied < len(self.requests) for member in self.members):
                for member in self.members:
                    member.apply(len(self.requests))
        finally:
            self._moving = False
