"""What the HTTP layer needs of a member, and the small values that pass between them.

The layer talks to this protocol only, so that it runs over a real member, over an embedded
store or over a fake in a test. It must not know how consensus, storage or peers work.

Invariants: every callback given to a service is called exactly once, now or later, on the
event loop's thread; nothing here is awaited, so that a request costs no future.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from kvraft.api.figures import HttpFigures
    from kvraft.store.errors import StoreError
    from kvraft.store.event import Event
    from kvraft.store.request import Request
    from kvraft.store.store import Store


class Unavailable(NamedTuple):
    """The cluster could not take part; the cause is shown to the client (error 300).

    `definite` says that the write certainly did not happen and will not; otherwise the outcome
    is unknown.
    """

    cause: str
    definite: bool = False


class MemberInfo(NamedTuple):
    """One member as it is shown to clients."""

    id: int
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class ChangeKind(Enum):
    """What a client wants of the membership."""

    ADD = "add"
    UPDATE = "update"
    REMOVE = "remove"


class MemberChange(NamedTuple):
    """A change of one member. `member_id` is 0 for ADD, where the service makes the id;
    `peer_urls` are unchecked, and empty for REMOVE."""

    kind: ChangeKind
    member_id: int
    peer_urls: tuple[str, ...] = ()


class ChangeRefusal(Enum):
    """Why a change of the membership was certainly not made."""

    BAD_URLS = 1
    ID_EXISTS = 2
    URL_EXISTS = 3
    UNKNOWN_MEMBER = 4
    REMOVED_MEMBER = 5
    NOT_SAFE = 6
    """The cluster could lose its quorum by it."""


class MemberChangeError(NamedTuple):
    """A refused change; the text is for clients where it concerns the URLs, else for operators."""

    reason: ChangeRefusal
    text: str = ""


ChangeOutcome = MemberInfo | MemberChangeError | Unavailable | None
"""The member as it is now, None for one that was removed, or why it was not done."""

ChangeDone = Callable[[ChangeOutcome], None]
WriteDone = Callable[["Event | StoreError | Unavailable"], None]
BarrierDone = Callable[["Unavailable | None"], None]


class Diagnostics(Protocol):
    """What a member has to say about itself to those who operate it."""

    def explain_delay(self, began_s: float, ended_s: float, local: bool) -> str:
        """What held up a request between two moments of `time.monotonic`.

        `local` tells that it needed nothing but this member's own store.
        """

    def metrics(self, figures: HttpFigures, done: Callable[[bytes], None]) -> None:
        """The text of `/metrics`, those figures of the client port included."""

    def variables(self) -> dict[str, object]:
        """The values of `/debug/vars`, by name."""

    def set_log_level(self, level: str) -> bool:
        """Log from this level on; False if there is no such level."""


class Backup(Protocol):
    """A frozen copy of everything, to be taken at leisure; `close` has to be called in the end."""

    etcd_index: int
    raft_index: int
    raft_term: int
    file_name: str

    def parts(self) -> Iterator[Callable[[], bytes]]:
        """Each step takes a short slice on the loop; what it gives makes the bytes of the next
        part, which may take longer and may be done in any thread, one after the other."""

    def close(self) -> None:
        """Let go of the copy."""


class Service(Protocol):
    """A member of a cluster, as far as its clients are concerned."""

    cluster_id_hex: bytes

    @property
    def diagnostics(self) -> Diagnostics:
        """What it says about itself."""

    @property
    def store(self) -> Store:
        """The local store; another one after a received snapshot, so not to be kept."""

    @property
    def applied_index(self) -> int:
        """The last log entry that the store shows."""

    @property
    def applied_term(self) -> int:
        """The term of that entry."""

    @property
    def cluster_version(self) -> str | None:
        """What the cluster has agreed on; None until its first leader has set it."""

    def now_ns(self) -> int:
        """The log's time, carried forward by the local clock: the ttl of answers needs it."""

    def propose(self, request: Request, done: WriteDone) -> None:
        """Have a change agreed on and applied."""

    def read_barrier(self, done: BarrierDone) -> None:
        """Call back when the local store is fresh enough for a linearizable read."""

    def members(self) -> list[MemberInfo]:
        """The members of the cluster, in any order."""

    def change_membership(self, change: MemberChange, done: ChangeDone) -> None:
        """Have a change of the membership agreed on, and applied here."""

    def leader(self) -> MemberInfo | None:
        """The current leader as far as it is known."""

    def health(self, done: Callable[[bool], None]) -> None:
        """Find out whether the cluster makes progress."""

    def self_stats(self) -> dict[str, object]:
        """The document of `/v2/stats/self`."""

    def leader_stats(self) -> dict[str, object] | None:
        """The document of `/v2/stats/leader`; None if this member does not lead."""

    def begin_backup(self) -> Backup:
        """Freeze what this member has applied."""

    def accepting(self) -> bool:
        """False until everything known to be committed has been applied."""
