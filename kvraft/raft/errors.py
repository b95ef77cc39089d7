"""Why a leader's interface refuses. In every case nothing was appended.

A refusal is a definite answer: its caller may tell a client that the request was not done.
"""

from __future__ import annotations


class ProposalRefused(Exception):
    """Base of all reasons; nothing was appended."""


class NotLeader(ProposalRefused):
    """Only a leader can do this. `leader` is the one known here, 0 for none."""

    def __init__(self, leader: int) -> None:
        super().__init__(f"not the leader; the leader is {leader:x}" if leader else "no leader")
        self.leader = leader


class TransferInProgress(ProposalRefused):
    """The leader is handing over and takes nothing new."""


class UncommittedFull(ProposalRefused):
    """Too many bytes wait for a majority already."""


class ConfChangePending(ProposalRefused):
    """An earlier membership change is not applied yet (Thesis 4.1)."""


class NoOwnTermCommit(ProposalRefused):
    """The leader has not committed an entry of its own term yet."""


class Refused(ProposalRefused):
    """The request makes no sense for the present membership."""


class NotCaughtUp(Refused):
    """The learner to promote lags too far behind (Thesis 4.2.1)."""
