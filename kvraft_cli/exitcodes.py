"""Exit codes of the commands. (etcdctl reference, section 2; 3 was never used.)"""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0  # usage errors too
BAD_ARGUMENTS: Final = 1
BAD_CONNECTION: Final = 2  # the synchronisation could not connect anywhere
OWN_USAGE: Final = 2  # bad arguments of a command that etcdctl does not have
SERVER_ERROR: Final = 4
UNHEALTHY: Final = 5
