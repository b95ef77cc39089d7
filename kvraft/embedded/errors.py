"""What goes wrong with an embedded member itself, beside the errors of single operations.

    ClientError
    +-- NodeStopped        the node is not running: nothing was done
        +-- NodeFailed     nor will it go on: its disk or its state cannot be trusted any more
    KvraftError
    +-- StartFailed        the node could not be started; nothing is left behind
    +-- NodeRemoved        never raised: why a node has ended that was removed from its cluster

Operations raise what `kvraft.client.errors` lists, whoever carries them out.
"""

from __future__ import annotations

from kvraft.client.errors import DidNotHappen
from kvraft.errors import KvraftError


class StartFailed(KvraftError):
    """A node could not be started; the text says why and what to do."""


class NodeStopped(DidNotHappen):
    """The node is not running."""


class NodeFailed(NodeStopped):
    """The node has ended by itself; `__cause__` is why."""


class NodeRemoved(KvraftError):
    """The member was removed from its cluster for good."""
