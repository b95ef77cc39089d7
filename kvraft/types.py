"""The kinds of number that meet in a member, kept apart for the type checker.

Three kinds of index exist: a position in the Raft log, a position in the history of
the key space, and neither may be used for the other. The names are used in annotations only;
calling them at run time would cost time on every request.
"""

from __future__ import annotations

from typing import NewType

Term = NewType("Term", int)
"""An election term (Raft, section 5.1); 0 before the first."""

LogIndex = NewType("LogIndex", int)
"""The position of an entry in the replicated log, from 1."""

StoreIndex = NewType("StoreIndex", int)
"""The number of successful changes of the key space: what clients see as X-Etcd-Index."""

MemberId = NewType("MemberId", int)
"""A member's 64-bit id; 0 stands for no member."""
