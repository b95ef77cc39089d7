"""Where the other members can be reached: what the log says, and what they say themselves.

The log is the authority, but a member that has just joined or has been away for long has not read
all of it, and could not answer a leader that it does not know. So what a member tells when it
calls, or what a joining member was told by others, counts beside the log; whoever is dialled has to
be the one that is meant in any case. Bounded; forgets whoever has been removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kvraft import limits
from kvraft.server.urls import UrlError, parse_urls

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kvraft.api.service import MemberInfo


class AddressBook:
    """Hints by member, beside the members' own records."""

    def __init__(self) -> None:
        self._hints: dict[int, tuple[str, ...]] = {}
        self._records: dict[int, tuple[str, ...]] = {}

    def note(self, member: int, urls: Sequence[str]) -> bool:
        """A member can be reached there, as it says; whether that is news."""
        try:
            checked = parse_urls(urls)
        except UrlError:
            return False
        known = self._hints.get(member, self._records.get(member))
        if known == checked:
            return False
        if member not in self._hints and len(self._hints) >= limits.MAX_ADDRESS_HINTS:
            return False
        self._hints[member] = checked
        return True

    def addresses(
        self, members: Mapping[int, MemberInfo], is_removed: Callable[[int], bool]
    ) -> dict[int, tuple[str, ...]]:
        """Where each member can be reached: first what the log says."""
        records = {member.id: member.peer_urls for member in members.values()}
        for member in list(self._hints):
            before = self._records.get(member)
            changed = before is not None and before != records.get(member)
            if changed or is_removed(member) or records.get(member) == self._hints[member]:
                del self._hints[member]
        self._records = records
        found = dict(records)
        for member, urls in self._hints.items():
            known = found.get(member, ())
            found[member] = known + tuple(url for url in urls if url not in known)
        return found
