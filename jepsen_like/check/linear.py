"""Whether one register's history has any order that explains it, found by search; blind to indexes.

Wing and Gong's search with Lowe's refinements: calls and returns lie in one linked list in order of
time; a call that is carried out is lifted out of it together with its return; reaching the return
of a call that was not carried out means going back. A combination of "these are done" and "this is
the state" is never tried twice.

A call whose outcome is unknown has no return: it may be carried out at any time after it began, or
never. A call that changes nothing is carried out as soon as it fits; that can never hurt, and so
there is no going back behind it. The search is exponential at worst, which is why it
has a budget, and why a verdict may be `unknown`; that is no pass.

G. Lowe, "Testing for linearizability", Concurrency and Computation 29 (2017).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

BUDGET_STEPS: Final = 5_000_000
CACHE_LIMIT: Final = 2_000_000  # combinations remembered; about 200 MB at 200 calls
SHOWN_CALLS: Final = 12  # of the longest explanation, its end


class Verdict(Enum):
    """What a search has found out."""

    LINEARIZABLE = "linearizable"
    VIOLATION = "violation"
    UNKNOWN = "unknown"


class Needs(Enum):
    """What the state must be for a call to have had its answer."""

    ANYTHING = "anything"
    EQUAL = "equal"
    """The value of the call; None for an absent key."""
    OTHER = "other"
    """Present, and not the value of the call."""


class Keep(Enum):
    """The state after a call that changes nothing."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP


class Call(NamedTuple):
    """One operation on one register. A state is a value, or None where there is no key."""

    text: str
    """For people."""
    invoked_ns: int
    ended_ns: int | None
    """None if nobody knows whether it was done."""
    needs: Needs
    value: bytes | None
    leaves: bytes | None | Keep
    """The state afterwards."""


class Result(NamedTuple):
    """The outcome of a search."""

    verdict: Verdict
    steps: int
    explanation: str
    """Why it is a violation, or why there is no verdict; lines for people."""


def search(calls: Sequence[Call], budget_steps: int = BUDGET_STEPS) -> Result:
    """Look for an order of `calls`, beginning without a key, that agrees with answers and time."""
    return _Search(calls).run(budget_steps)


_ANYTHING: Final = -1
_OTHER: Final = -2
_KEEP: Final = -1
_ABSENT: Final = 0
_NOBODYS: Final = b"\0a value that no other call speaks of"


class _Search:
    """The tables of one search: every call is a number, and so is every state.

    Place 2n in the list is the beginning of call n, 2n + 1 its return; the list ends, and begins,
    at place `head`.
    """

    def __init__(self, calls: Sequence[Call]) -> None:
        kept = _useful(calls)
        self.calls = sorted(kept, key=lambda call: call.invoked_ns)
        self.names: list[bytes | None] = [None]
        self._numbers: dict[bytes | None, int] = {None: _ABSENT}
        self.needs: list[int] = []
        self.unlike: list[int] = []
        self.leaves: list[int] = []
        met = {call.value for call in self.calls if call.needs is not Needs.ANYTHING}
        for call in self.calls:
            plain = self._number(call.value) if call.needs is not Needs.ANYTHING else _ABSENT
            kinds = {Needs.ANYTHING: _ANYTHING, Needs.EQUAL: plain, Needs.OTHER: _OTHER}
            self.needs.append(kinds[call.needs])
            self.unlike.append(plain)
            self.leaves.append(self._state_after(call, met))
        self.head = 2 * len(self.calls)
        self.next = [0] * (self.head + 1)
        self.previous = [0] * (self.head + 1)
        self._link()
        self.twins = self._twins()
        self.best: list[int] = []
        self.blocked = -1

    def _number(self, value: bytes | None) -> int:
        known = self._numbers.setdefault(value, len(self.names))
        if known == len(self.names):
            self.names.append(value)
        return known

    def _state_after(self, call: Call, met: set[bytes | None]) -> int:
        """Values that no other call speaks of are one state: nothing can tell them apart."""
        if isinstance(call.leaves, Keep):
            return _KEEP
        spoken_of = call.leaves is None or call.leaves in met
        return self._number(call.leaves if spoken_of else _NOBODYS)

    def _twins(self) -> list[int]:
        """For each call the one that has to come before it, as a bit; 0 for none.

        Of unanswered calls that differ in their beginning only, the earlier one will always do.
        """
        twins = [0] * len(self.calls)
        latest: dict[tuple[int, int, int], int] = {}
        for n, call in enumerate(self.calls):
            if call.ended_ns is None:
                kind = self.needs[n], self.unlike[n], self.leaves[n]
                if kind in latest:
                    twins[n] = 1 << latest[kind]
                latest[kind] = n
        return twins

    def _link(self) -> None:
        """Order of time; what ends in the moment in which another begins overlaps with it."""
        moments = [(call.invoked_ns, 0, 2 * n) for n, call in enumerate(self.calls)]
        moments += [
            (call.ended_ns, 1, 2 * n + 1)
            for n, call in enumerate(self.calls)
            if call.ended_ns is not None
        ]
        last = self.head
        for _, _, place in sorted(moments):
            self.next[last], self.previous[place] = place, last
            last = place
        self.next[last], self.previous[self.head] = self.head, last

    def run(self, budget_steps: int) -> Result:
        """The search itself. One long loop with local names: this is where the time goes."""
        following, previous, head = self.next, self.previous, self.head
        needs, unlike, leaves, twins = self.needs, self.unlike, self.leaves, self.twins
        lasting = [call.ended_ns is not None for call in self.calls]
        bits = [1 << n for n in range(len(self.calls))]
        shift = len(self.names).bit_length()
        stack: list[tuple[int, int]] = []  # call, state before it
        seen: set[int] = set()
        state, done, left, steps = _ABSENT, 0, sum(lasting), 0
        place = following[head]
        while left:
            steps += 1
            if steps > budget_steps or len(seen) > CACHE_LIMIT:
                return Result(Verdict.UNKNOWN, steps, self._gave_up(len(seen)))
            if not place & 1:  # never the head: what is left has its return before it
                n = place >> 1
                need = needs[n]
                fits = need == state or (
                    need < 0 and (need == _ANYTHING or (state and state != unlike[n]))
                )
                if fits and (not twins[n] or done & twins[n]):
                    after = leaves[n] if leaves[n] >= 0 else state
                    mark = (done | bits[n]) << shift | after
                    if mark not in seen:
                        seen.add(mark)
                        stack.append((n, state))
                        state = after
                        done |= bits[n]
                        self._lift(n, lasting[n])
                        left -= lasting[n]
                        place = following[head]
                        continue
                place = following[place]
                continue
            if len(stack) > len(self.best) or self.blocked < 0:
                self.best, self.blocked = [n for n, _ in stack], place >> 1
            while stack:
                n, state = stack.pop()
                done ^= bits[n]
                left += lasting[n]
                before = previous[2 * n]
                following[before] = previous[following[2 * n]] = 2 * n
                if lasting[n]:
                    end = 2 * n + 1
                    following[previous[end]] = previous[following[end]] = end
                if leaves[n] >= 0:
                    break
            else:
                return Result(Verdict.VIOLATION, steps, self._explain())
            place = following[2 * n]
        return Result(Verdict.LINEARIZABLE, steps, "")

    def _lift(self, n: int, lasting: bool) -> None:
        following, previous = self.next, self.previous
        place = 2 * n
        if lasting:
            end = place + 1
            following[previous[end]], previous[following[end]] = following[end], previous[end]
        following[previous[place]], previous[following[place]] = following[place], previous[place]

    # --- for people ---------------------------------------------------------------------

    def _gave_up(self, combinations: int) -> str:
        return f"no order was found, nor ruled out, within {combinations} combinations"

    def _explain(self) -> str:
        state: bytes | None = None
        lines = []
        for n in self.best:
            call = self.calls[n]
            if not isinstance(call.leaves, Keep):
                state = call.leaves
            lines.append(f"  {call.text}  -> {_shown(state)}")
        hidden = len(lines) - SHOWN_CALLS
        if hidden > 0:
            lines[:hidden] = [f"  ... {hidden} more before"]
        blocked = self.calls[self.blocked]
        return "\n".join(
            [
                f"the longest explanation has {len(self.best)} of {len(self.calls)} calls:",
                *lines,
                f"then the state is {_shown(state)}, and this does not fit: {blocked.text}",
            ]
        )


def _shown(state: bytes | None) -> str:
    return "absent" if state is None else repr(state)


def _useful(calls: Sequence[Call]) -> list[Call]:
    """Leave out what cannot help: unanswered reads, and unanswered writes nobody can have met."""
    kept = [call for call in calls if call.ended_ns is not None or call.leaves is not KEEP]
    if any(call.needs is Needs.OTHER for call in kept):  # any value at all may help these
        return kept
    met = {call.value for call in kept if call.needs is Needs.EQUAL}
    return [call for call in kept if call.ended_ns is not None or call.leaves in met]
