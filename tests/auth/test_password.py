"""Passwords: what is checked in which thread, what is remembered, and what is too much."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable

import bcrypt
import pytest
import pytest_asyncio

from kvraft.auth import password as module
from kvraft.auth.password import Passwords
from kvraft.limits import (
    MAX_PASSWORD_JOBS,
    MAX_PASSWORD_JOBS_PER_OWNER,
    PASSWORD_THREADS,
)

CHEAP = bcrypt.hashpw(b"secret", bcrypt.gensalt(4, prefix=b"2a")).decode()


@pytest_asyncio.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(asyncio.get_running_loop())
    yield made
    made.close()


async def check(
    passwords: Passwords, name: str, password_hash: str | None, password: bytes
) -> bool | None:
    future: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
    passwords.check(name, password_hash, password, f"at {name}", future.set_result)
    return await future


async def make(passwords: Passwords, password: bytes) -> str:
    future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    passwords.hash(password, future.set_result)
    made = await future
    assert made is not None
    return made


class Held:
    """Takes the place of bcrypt: each check waits until the test lets it go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go = threading.Semaphore(0)
        self.running = 0
        self.most = 0
        self.checks = 0
        self._lock = threading.Lock()
        monkeypatch.setattr(module, "_matches", self._matches)

    def _matches(self, password: bytes, _hash: bytes) -> bool:
        with self._lock:
            self.checks += 1
            self.running += 1
            self.most = max(self.most, self.running)
        self.go.acquire()
        with self._lock:
            self.running -= 1
        return password == b"right"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


async def until(reached: Callable[[], bool]) -> None:
    while not reached():  # noqa: ASYNC110 - threads are waited for
        await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_hashes_are_those_of_etcd(passwords: Passwords) -> None:
    made = await make(passwords, b"secret")
    assert made.startswith("$2a$10$")
    assert len(made) == 60
    assert made != await make(passwords, b"secret"), "each hash has a salt of its own"
    assert await check(passwords, "u", made, b"secret") is True
    assert await check(passwords, "u", made, b"Secret") is False


@pytest.mark.asyncio
@pytest.mark.usefixtures("cheap")
async def test_only_72_bytes_count(passwords: Passwords) -> None:
    made = await make(passwords, b"x" * 100)
    assert await check(passwords, "u", made, b"x" * 72) is True
    assert await check(passwords, "u", made, b"x" * 72 + b"other") is True
    assert await check(passwords, "u", made, b"x" * 71) is False
    nul = await make(passwords, b"a\0b")
    assert await check(passwords, "u", nul, b"a\0b") is True
    assert await check(passwords, "u", nul, b"a\0c") is False


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COST", 4)


@pytest.mark.asyncio
async def test_what_is_no_hash_is_nobodys_password(passwords: Passwords) -> None:
    for broken in ("", "secret", "$2a$10$short", "\u00e9"):
        assert await check(passwords, "u", broken, b"secret") is False


@pytest.mark.asyncio
async def test_results_are_remembered_by_user_hash_and_password(passwords: Passwords) -> None:
    assert passwords.recall("u", CHEAP, b"secret") is None
    assert await check(passwords, "u", CHEAP, b"secret") is True
    assert await check(passwords, "u", CHEAP, b"wrong") is False
    assert passwords.recall("u", CHEAP, b"secret") is True
    assert passwords.recall("u", CHEAP, b"wrong") is False
    assert passwords.recall("u2", CHEAP, b"secret") is None
    assert passwords.recall("u", CHEAP + "x", b"secret") is None
    assert passwords.recall("u", None, b"secret") is None
    other = Passwords(asyncio.get_running_loop())
    assert other._digest("u", CHEAP, b"s") != passwords._digest("u", CHEAP, b"s"), "keyed anew"
    other.close()


def test_no_two_questions_have_the_same_digest() -> None:
    loop = asyncio.new_event_loop()
    passwords = Passwords(loop)
    questions = [("ab", "c", b"d"), ("a", "bc", b"d"), ("ab", "", b"cd"), ("a b", "c", b"d")]
    assert len({passwords._digest(*question) for question in questions}) == len(questions)
    passwords.close()
    loop.close()


@pytest.mark.asyncio
async def test_memory_is_bounded_and_guesses_drive_out_nobody(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED_PASSWORDS", 4)
    monkeypatch.setattr(module, "_matches", lambda secret, _: secret.startswith(b"right"))
    assert await check(passwords, "u", CHEAP, b"right") is True
    for number in range(20):
        assert await check(passwords, "u", CHEAP, b"guess %d" % number) is False
    assert passwords.recall("u", CHEAP, b"right") is True
    assert passwords.recall("u", CHEAP, b"guess 19") is False
    assert passwords.recall("u", CHEAP, b"guess 0") is None
    for number in range(4):
        assert passwords.recall("u", CHEAP, b"right") in (True, None)
        assert await check(passwords, "u", CHEAP, b"right %d" % number) is True
    assert passwords.recall("u", CHEAP, b"right") is True, "what is used stays"
    assert passwords.recall("u", CHEAP, b"right 0") is None
    assert len(passwords._proven) == len(passwords._refuted) == 4


@pytest.mark.asyncio
async def test_an_unknown_user_costs_a_check_too(passwords: Passwords) -> None:
    began = time.process_time()
    assert await check(passwords, "nobody", None, b"secret") is False
    assert time.process_time() - began > 0.01, "some 50 ms of bcrypt at cost 10"
    assert passwords.recall("nobody", None, b"secret") is False
    assert passwords.recall("somebody", None, b"secret") is None, "each name costs its own"


@pytest.mark.asyncio
async def test_equal_checks_share_one_run(passwords: Passwords, held: Held) -> None:
    pending = [asyncio.ensure_future(check(passwords, "u", "h", b"right")) for _ in range(50)]
    pending += [asyncio.ensure_future(check(passwords, "u", "h", b"wrong")) for _ in range(50)]
    await until(lambda: held.running == 2)
    held.go.release(2)
    assert await asyncio.gather(*pending) == [True] * 50 + [False] * 50
    assert held.checks == 2


@pytest.mark.asyncio
async def test_queue_and_threads_are_bounded(passwords: Passwords, held: Held) -> None:
    refused: list[bool | None] = []
    answers: list[bool | None] = []
    users = MAX_PASSWORD_JOBS // MAX_PASSWORD_JOBS_PER_OWNER
    for user in range(users):
        for number in range(MAX_PASSWORD_JOBS_PER_OWNER + 5):
            done = answers if number < MAX_PASSWORD_JOBS_PER_OWNER else refused
            passwords.check(f"u{user}", "h", b"guess %d" % number, f"a{user}", done.append)
    assert (answers, refused) == ([], [None] * 5 * users), "refused at once"
    assert passwords.jobs == MAX_PASSWORD_JOBS
    passwords.check("another", "h", b"right", "a", refused.append)
    assert refused.pop() is None
    made: list[str | None] = []
    passwords.hash(b"p", made.append)
    assert made == [None]
    held.go.release(MAX_PASSWORD_JOBS)
    await until(lambda: passwords.jobs == 0)
    assert answers == [False] * MAX_PASSWORD_JOBS
    assert held.most <= PASSWORD_THREADS
    assert not passwords._jobs_of
    assert not passwords._checks


@pytest.mark.asyncio
@pytest.mark.parametrize("known", [True, False])
async def test_one_name_or_address_leaves_room_for_others(
    passwords: Passwords, held: Held, known: bool
) -> None:
    """Whether the users exist makes no difference: a refusal would tell."""
    password_hash = "h" if known else None
    refused: list[bool | None] = []
    for number in range(100):
        passwords.check("victim", password_hash, b"%d" % number, f"a{number}", refused.append)
        passwords.check(f"u{number}", password_hash, b"x", "attacker", refused.append)
    assert passwords.jobs == 2 * MAX_PASSWORD_JOBS_PER_OWNER
    assert refused == [None] * (200 - passwords.jobs)
    other = asyncio.ensure_future(check(passwords, "other", "h", b"right"))
    held.go.release(2 * MAX_PASSWORD_JOBS_PER_OWNER + 1)
    assert await other is True
    assert not passwords._jobs_of


@pytest.mark.asyncio
async def test_closing_answers_everybody(held: Held) -> None:
    passwords = Passwords(asyncio.get_running_loop())
    answers: list[bool | None] = []
    for number in range(5):
        passwords.check("u", "h", b"%d" % number, "a", answers.append)
    await until(lambda: held.running == PASSWORD_THREADS)
    passwords.close()
    assert answers == [None] * (5 - PASSWORD_THREADS)
    passwords.check("u", "h", b"late", "a", answers.append)
    held.go.release(PASSWORD_THREADS)
    await until(lambda: len(answers) == 6)
    assert answers.count(False) == PASSWORD_THREADS
