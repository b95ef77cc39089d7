"""Every bound of the system, in one place, each with the reason for its number.

Sizes are in bytes unless the name says otherwise. A bound that a user may set is a flag;
these are the ones that protect the process whatever the flags say.
"""

from __future__ import annotations

from typing import Final

# --- consensus -------------------------------------------------------------------------
MAX_APPEND_BYTES: Final = 1 << 20  # one append: amortises a frame, does not delay heartbeats
MAX_INFLIGHT_APPENDS: Final = 512  # unanswered appends per follower; what etcd 2.3 allows
MAX_INFLIGHT_BYTES: Final = 16 << 20  # unanswered bytes per follower: 512 full appends would be half a GiB
MAX_UNCOMMITTED_BYTES: Final = 64 << 20  # a leader without quorum refuses before memory suffers
MAX_APPLY_ENTRIES: Final = 512  # committed entries per round: a few ms of loop time, well below a heartbeat
MAX_APPLY_BYTES: Final = 16 << 20  # and so many bytes, for the same reason

# --- key space -------------------------------------------------------------------------
HISTORY_EVENTS: Final = 1000  # what etcd 2.3 keeps; clients rely on error 401 beyond it
MAX_PATH_DEPTH: Final = 128  # components of a key: deeper trees have no user and cost every walk
WATCH_QUEUE: Final = 100  # undelivered events per watcher; what etcd 2.3 buffers
GET_INLINE_NODES: Final = 2000  # a larger answer is streamed in slices: about 3 ms of loop time
