"""Users and roles of the cluster: read from the local store, changed through the log.

They are records beside the keys (`/2/...`), as in etcd 2.3, so they travel in snapshots and take
indices. What has been parsed is kept until the store reports a change of that record. A change
is proposed with the value that it was derived from, and derived anew if another change came first,
so that of two grants at the same time none is lost.

Must not know: HTTP, credentials. Invariants: `guarded` is false only while auth is known to be off;
callbacks are called exactly once, on the event loop. (admin-api, sections 7.2 to 7.5 and 7.7.)
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from kvraft.auth import model
from kvraft.auth.model import AuthError, Role, User
from kvraft.auth.permission import Rules, compile_role
from kvraft.limits import MAX_AUTH_RECORDS, MAX_RECORD_ATTEMPTS
from kvraft.store.errors import StoreError
from kvraft.store.event import Event
from kvraft.store.request import Op, Request

if TYPE_CHECKING:
    from kvraft.auth.password import Passwords
    from kvraft.store.store import Store

_log: Final = logging.getLogger("kvraft.auth")
_NOTICE: Final = 25  # as the server's log has it, between information and warning
_ON: Final = b"true"
_OFF: Final = b"false"


class Busy(Exception):
    """Nothing was done, as there is too much to do already; to be tried again later."""


class Records(Protocol):
    """The part of a member that this needs."""

    @property
    def store(self) -> Store:
        """The local store; another one after a received snapshot."""

    def propose(self, request: Request, done: Callable[[object], None]) -> None:
        """Have a change agreed on and applied; the outcome is an Event or says why not."""


Problem = object
"""None: it is done. AuthError: refused. Busy. Anything else is why the cluster did not do it."""

Done = Callable[[Problem], None]
Derive = Callable[["bytes | None"], "bytes | None"]
"""From a record's value to its next one, each None where there is none. Raises AuthError."""


class AuthStore:
    """The users, roles and the switch, of one client port."""

    def __init__(self, service: Records, passwords: Passwords) -> None:
        self._service = service
        self._passwords = passwords
        self._known = False
        self._users: dict[str, User] = {}
        self._roles: dict[str, Role] = {}
        self._rules: dict[str, Rules] = {}
        self.guarded = True
        service.store.on_record_change(self._forget)

    # --- reading ------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether auth is on, by the local store; to be asked only once that has caught up."""
        if not self._known:
            self._known = True
            self.guarded = self._record(model.SWITCH) == _ON
        return self.guarded

    def user(self, name: str) -> User | None:
        """A user, or None if there is none of that name."""
        user = self._users.get(name)
        if user is None:
            user = model.stored_user(name, self._record(model.user_record(name)))
            if user is not None:
                self._users[name] = user
        return user

    def role(self, name: str) -> Role | None:
        """A role, or None if there is none of that name."""
        role = self._roles.get(name)
        if role is None:
            role = model.stored_role(name, self._record(model.role_record(name)))
            if role is not None:
                self._roles[name] = role
        return role

    def rules(self, name: str) -> Rules | None:
        """What a role allows, or None if there is none of that name."""
        rules = self._rules.get(name)
        if rules is None:
            role = self.role(name)
            if role is not None:
                rules = self._rules[name] = compile_role(role)
        return rules

    def records(self) -> dict[bytes, bytes]:
        """A copy of all records, for documents that list them."""
        return self._service.store.records()

    def _record(self, name: bytes) -> bytes | None:
        return self._service.store.get_record(name)

    def _forget(self, name: bytes | None) -> None:
        """A record has changed, or any: what was derived from it does not count any more."""
        if name is None:
            self._users.clear()
            self._roles.clear()
            self._rules.clear()
        elif name.startswith(model.USERS):
            self._users.pop(name[len(model.USERS) :].decode("utf-8", "surrogateescape"), None)
        elif name.startswith(model.ROLES):
            role = name[len(model.ROLES) :].decode("utf-8", "surrogateescape")
            self._roles.pop(role, None)
            self._rules.pop(role, None)
        if name is None or name == model.SWITCH:
            self._known = False
            self.guarded = True

    # --- changing -----------------------------------------------------------------------

    def put_user(self, request: User, done: Callable[[Problem, User | None, bool], None]) -> None:
        """Create or change a user; `done` gets the user and whether it is new."""
        name = request.name
        result: list[tuple[User, bool]] = []

        def derive(record: bytes | None, password_hash: str) -> bytes:
            old = model.stored_user(name, record)
            new = model.put_user(old, request, password_hash)
            if old is None:
                self._check_room()
            result[:] = [(new, old is None)]
            return model.user_record_json(new)

        def finished(problem: Problem) -> None:
            if problem is not None:
                done(problem, None, False)
                return
            user, new = result[0]
            _log.log(_NOTICE, "created user %s" if new else "updated user %s", name)
            done(None, user, new)

        def hashed(password_hash: str | None) -> None:
            if password_hash is None:
                finished(Busy())
            else:
                self._change(record_name, lambda old: derive(old, password_hash), finished)

        record_name = model.user_record(name)
        try:
            derive(self._record(record_name), "")  # not worth hashing if it is refused anyway
        except AuthError as error:
            finished(error)
            return
        if request.password:
            self._passwords.hash(request.password.encode(), hashed)
        else:
            hashed("")

    def delete_user(self, name: str, done: Done) -> None:
        """Delete a user."""

        if name == model.ROOT and self.enabled:
            done(AuthError(403, "auth: Cannot delete root user while auth is enabled."))
            return
        missing = AuthError(404, f"auth: User {name} does not exist")
        self._delete(model.user_record(name), missing, f"deleted user {name}", done)

    def put_role(self, request: Role, done: Callable[[Problem, Role | None, bool], None]) -> None:
        """Create or change a role; `done` gets the role and whether it is new."""
        name = request.name
        result: list[tuple[Role, bool]] = []

        def derive(record: bytes | None) -> bytes:
            old = model.stored_role(name, record)
            new = model.put_role(old, request)
            if old is None:
                self._check_room()
            result[:] = [(new, old is None)]
            return model.role_json(new)

        def finished(problem: Problem) -> None:
            if problem is not None:
                done(problem, None, False)
                return
            role, new = result[0]
            _log.log(_NOTICE, "created new role %s" if new else "updated role %s", name)
            done(None, role, new)

        self._change(model.role_record(name), derive, finished)

    def delete_role(self, name: str, done: Done) -> None:
        """Delete a role; users keep its name."""

        if name == model.ROOT:
            done(model.root_role_is_fixed())
            return
        missing = AuthError(404, f"auth: Role {name} doesn't exist.")
        self._delete(model.role_record(name), missing, f"deleted role {name}", done)

    def enable(self, done: Done) -> None:
        """Switch auth on; a role guest that may do everything is created where there is none."""

        def derive(record: bytes | None) -> bytes:
            if record == _ON:
                raise AuthError(409, "auth: already enabled")
            if self.user(model.ROOT) is None:
                raise AuthError(409, "auth: No root user available, please create one")
            return _ON

        def guest_put(problem: Problem) -> None:
            # Whoever else has created it meanwhile has done what was wanted.
            if self.role(model.GUEST) is None:
                done(problem)
            else:
                self._change(model.SWITCH, derive, finished)

        def finished(problem: Problem) -> None:
            if problem is None:
                _log.log(_NOTICE, "auth: enabled auth")
            done(problem)

        try:
            derive(self._record(model.SWITCH))
        except AuthError as error:
            done(error)
            return
        if self.role(model.GUEST) is None:
            _log.info("no guest role access found, creating default")
            self.put_role(model.GUEST_ROLE, lambda problem, _role, _new: guest_put(problem))
        else:
            guest_put(None)

    def disable(self, done: Done) -> None:
        """Switch auth off."""

        def derive(record: bytes | None) -> bytes:
            if record != _ON:
                raise AuthError(409, "auth: already disabled")
            return _OFF

        def finished(problem: Problem) -> None:
            if problem is None:
                _log.log(_NOTICE, "auth: disabled auth")
            done(problem)

        self._change(model.SWITCH, derive, finished)

    def _check_room(self) -> None:
        records = self._service.store.records()
        if len(records) >= MAX_AUTH_RECORDS:
            raise AuthError(403, "auth: There are too many users and roles.")

    def _change(self, name: bytes, derive: Derive, done: Done) -> None:
        """Change a record; what is refused already by its present value changes nothing else."""
        try:
            derive(self._record(name))
        except AuthError as error:
            done(error)
        else:
            self._with_first_records(_Change(self._service, name, derive, done).attempt)

    def _delete(self, name: bytes, missing: AuthError, line: str, done: Done) -> None:
        """Delete a record, which may turn out to be missing only after the first ones exist."""

        def derive(record: bytes | None) -> None:
            if record is None:
                raise missing

        def finished(problem: Problem) -> None:
            if problem is None:
                _log.log(_NOTICE, "%s", line)
            done(problem)

        self._with_first_records(_Change(self._service, name, derive, finished).attempt)

    def _with_first_records(self, then: Done) -> None:
        """Create the records that the first change creates, then go on, or say why not."""
        missing = [entry for entry in model.FIRST_RECORDS if self._record(entry[0]) is None]
        if not missing:
            then(None)
            return
        left = len(missing)
        failure: Problem = None

        def created(outcome: object) -> None:
            nonlocal left, failure
            left -= 1
            if not isinstance(outcome, Event | StoreError):  # another member may have been faster
                failure = outcome
            if not left:
                then(failure)

        for name, value in missing:
            self._service.propose(Request(Op.PUT_RECORD, name, value, directory=True), created)


class _Change:
    """One change of one record, derived anew each time that another one was faster."""

    __slots__ = ("_attempts", "_derive", "_done", "_name", "_service")

    def __init__(self, service: Records, name: bytes, derive: Derive, done: Done) -> None:
        self._service = service
        self._name = name
        self._derive = derive
        self._done = done
        self._attempts = 0

    def attempt(self, problem: Problem = None) -> None:
        """Propose it, unless something before it has failed."""
        if problem is not None:
            self._done(problem)
            return
        name = self._name
        old = self._service.store.get_record(name)
        try:
            new = self._derive(old)
        except AuthError as error:
            self._done(error)
            return
        if new is None:
            request = Request(Op.DELETE_RECORD, name, prev_value=old or b"")
        elif old is None:
            request = Request(Op.PUT_RECORD, name, new, directory=True)
        else:
            request = Request(Op.PUT_RECORD, name, new, prev_value=old)
        self._service.propose(request, self._applied)

    def _applied(self, outcome: object) -> None:
        if isinstance(outcome, Event):
            self._done(None)
        elif isinstance(outcome, StoreError):
            self._attempts += 1
            if self._attempts < MAX_RECORD_ATTEMPTS:
                self.attempt()
            else:
                self._done(Busy())
        else:
            self._done(outcome)
