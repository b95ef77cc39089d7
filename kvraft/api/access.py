"""Who may do it: the check of credentials in front of keys and of what only root may change.

While auth is off a request costs one look at `AuthStore.guarded`. While it is on, a request without
credentials and one with a password that was proven before are decided at once, from what is in
memory; any other password is checked in a thread first. Until the member knows everything that
was committed before its start, nobody knows whether auth is on, and requests wait.
(admin-api, sections 7.1, 7.6 and 7.7.)

Must not know: what the guarded operations do. Invariant: each request is answered by exactly one of
`run` and a refusal.
"""

from __future__ import annotations

import binascii
import logging
import re
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Final, NamedTuple

from kvraft.api.errors import TOO_MANY_LOGINS, UNAUTHORIZED, ErrorCode
from kvraft.api.exchange import Exchange
from kvraft.api.gate import Gate
from kvraft.api.service import Service
from kvraft.auth.model import GUEST, ROOT, User
from kvraft.auth.password import Passwords
from kvraft.auth.permission import Verdict, decide_guest, decide_user
from kvraft.auth.store import AuthStore
from kvraft.limits import GUEST_LOG_INTERVAL_S

INSUFFICIENT: Final = "Insufficient credentials"
BUSY: Final = "too many passwords are being checked or changed; try again"
# As strict as Go: the library's own strictness differs between its versions.
_BASE64: Final = re.compile(
    rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
).fullmatch
_log: Final = logging.getLogger("kvraft.etcdhttp")


class Credentials(NamedTuple):
    """What a client claims."""

    name: str
    password: bytes


def parse_basic(header: bytes) -> Credentials | None:
    """Read an Authorization header; None if it is of another scheme or malformed."""
    encoded = header[6:]
    if header[:6].lower() != b"basic " or not _BASE64(encoded):
        return None
    decoded = binascii.a2b_base64(encoded)
    name, colon, password = decoded.partition(b":")
    if not colon:
        return None
    return Credentials(name.decode("utf-8", "surrogateescape"), password)


def authorization(exchange: Exchange) -> bytes:
    """The Authorization header of a request; empty if there is none."""
    for name, value in exchange.fields:
        if name.lower() == b"authorization":
            return value.strip(b" \t")
    return b""


class _Refusals(NamedTuple):
    """Answers to a request that must not be carried out, in the style of its route."""

    credentials: Callable[[], None]
    busy: Callable[[], None]


class _MessageReply:
    """Takes the refusal of an operation for a route whose errors are plain messages."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def refuse(self, _code: ErrorCode, _cause: bytes, _index: int) -> None:
        """The member does not know enough to decide, and has not come to know it in time."""
        self._exchange.respond_message(500, "Internal Server Error")


class AccessControl:
    """The checks of one client port."""

    def __init__(self, service: Service, loop: AbstractEventLoop, gate: Gate) -> None:
        self._service = service
        self._loop = loop
        self._gate = gate
        self.passwords = Passwords(loop)
        self.auth = AuthStore(service, self.passwords)
        self._guest_logged_s = -float(GUEST_LOG_INTERVAL_S)

    def close(self) -> None:
        """Check no more passwords."""
        self.passwords.close()

    # --- keys ---------------------------------------------------------------------------

    def passes_guest(self, path: bytes, write: bool) -> bool:
        """Whether a plain request without credentials may go on at once.

        If not, it has to go through `admit`, which knows why.
        """
        if not self._service.accepting():
            return False
        if not self.auth.enabled:
            return True
        verdict = decide_guest(self.auth.rules(GUEST), path, write)
        if not verdict.allowed:
            return False
        self._note_guest()
        self._count(verdict)
        return True

    def admit(
        self, exchange: Exchange, path: bytes, write: bool, recursive: bool, run: Callable[[], None]
    ) -> None:
        """Carry out a request on keys, or refuse it.

        `path` is that of the request: decoded, with its trailing slash.
        """
        if not self._service.accepting():
            again = (exchange, path, write, recursive, run)
            self._gate.hold(lambda: self.admit(*again), exchange)
            return
        if not self.auth.enabled:
            run()
            return
        header = authorization(exchange)
        if not header:
            self._admit_guest(exchange, path, write, run)
            return

        def judge(user: User) -> None:
            verdict = decide_user(user.roles or (), self.auth.rules, path, write, recursive)
            self._count(verdict)
            if verdict.allowed:
                run()
            else:
                _log.warning("auth: invalid access for user %s on key %s.", user.name, _shown(path))
                _refuse(exchange)

        refusals = _Refusals(
            lambda: _refuse(exchange),
            lambda: exchange.refuse(TOO_MANY_LOGINS, BUSY.encode(), 0),
        )
        self._authenticate(exchange, header, judge, refusals)

    def _admit_guest(
        self, exchange: Exchange, path: bytes, write: bool, run: Callable[[], None]
    ) -> None:
        self._note_guest()
        verdict = decide_guest(self.auth.rules(GUEST), path, write)
        self._count(verdict)
        if verdict.allowed:
            run()
        else:
            _log.warning(
                "auth: invalid access for unauthenticated user on resource %s.", _shown(path)
            )
            _refuse(exchange)

    def _note_guest(self) -> None:
        """Say that there are requests without credentials; once a second, not for each."""
        now_s = self._loop.time()
        if now_s - self._guest_logged_s >= GUEST_LOG_INTERVAL_S:
            self._guest_logged_s = now_s
            _log.warning("auth: no authorization provided, checking guest access")

    def _count(self, verdict: Verdict) -> None:
        """Count the roles that were looked up: the original reads them from its store."""
        stats = self._service.store.stats
        stats.gets_success += verdict.found
        stats.gets_fail += verdict.missing

    # --- everything else ----------------------------------------------------------------

    def when_known(self, exchange: Exchange, run: Callable[[], None]) -> None:
        """Go on once this member knows everything that was committed before its start."""
        if self._service.accepting():
            run()
        else:
            self._gate.hold(run, _MessageReply(exchange))

    def require_root(self, exchange: Exchange, run: Callable[[], None]) -> None:
        """Go on if auth is off or the client is an administrator, or answer 401."""
        if self.auth.guarded:
            self.when_known(exchange, lambda: self._require_root(exchange, run))
        else:
            run()

    def _require_root(self, exchange: Exchange, run: Callable[[], None]) -> None:
        if not self.auth.enabled:
            run()
            return

        def insufficient() -> None:
            exchange.respond_message(401, INSUFFICIENT)

        def judge(user: User) -> None:
            if ROOT in (user.roles or ()):
                run()
            else:
                _log.warning(
                    "auth: user %s does not have the root role for resource %s.",
                    user.name,
                    _shown(exchange.path),
                )
                insufficient()

        header = authorization(exchange)
        if not header:
            insufficient()
            return
        refusals = _Refusals(insufficient, lambda: exchange.respond_message(503, BUSY))
        self._authenticate(exchange, header, judge, refusals)

    # --- credentials --------------------------------------------------------------------

    def _authenticate(
        self,
        exchange: Exchange,
        header: bytes,
        accepted: Callable[[User], None],
        refusals: _Refusals,
    ) -> None:
        credentials = parse_basic(header)
        if credentials is None:
            _log.warning("auth: malformed basic auth encoding")
            refusals.credentials()
            return
        name, password = credentials
        user = self.auth.user(name) if name else None
        stats = self._service.store.stats
        if user is None:
            expected = None
            stats.gets_fail += 1
        else:
            expected = user.password
            stats.gets_success += 1

        def known(matches: bool | None) -> None:
            present = self.auth.user(name) if name else None
            if matches is None:
                refusals.busy()
            elif (None if present is None else present.password) != expected:
                # Changed while it was checked.
                self._authenticate(exchange, header, accepted, refusals)
            elif present is None:
                _log.warning("auth: no such user: %s.", _shown(name))
                refusals.credentials()
            elif not matches:
                _log.warning("auth: incorrect password for user: %s.", _shown(name))
                refusals.credentials()
            else:
                accepted(present)

        matches = self.passwords.recall(name, expected, password)
        if matches is None:
            self.passwords.check(name, expected, password, _address(exchange), known)
        else:
            known(matches)


def require_root(exchange: Exchange, run: Callable[[], None]) -> None:
    """Call `run` if the client may administer the cluster, at once or later; otherwise answer 401.

    For handlers of routes that change more than keys. Nothing may have been answered before.
    """
    exchange.port.access.require_root(exchange, run)


def _address(exchange: Exchange) -> str:
    """Where a request comes from."""
    peer = exchange.transport.get_extra_info("peername")
    return str(peer[0]) if peer else ""


def _refuse(exchange: Exchange) -> None:
    exchange.refuse(UNAUTHORIZED, INSUFFICIENT.encode(), 0)


def _shown(text: bytes | str) -> str:
    """What a client sent, for a line of the log."""
    if isinstance(text, str):
        text = text.encode("utf-8", "surrogateescape")
    return text.decode("utf-8", "backslashreplace")
