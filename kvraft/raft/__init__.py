"""Consensus: one member's Raft state machine, pure and synchronous.

What a driver needs is named here; the modules beneath may be imported as well. Nothing in
this package knows time, disks, networks or what the entries mean.

Paper: D. Ongaro, J. Ousterhout, In Search of an Understandable Consensus Algorithm (extended).
Thesis: D. Ongaro, Consensus: Bridging Theory and Practice.
"""

from __future__ import annotations

from kvraft.raft.config import RaftConfig
from kvraft.raft.core import RaftCore, Randomness
from kvraft.raft.entry import (
    ConfChange,
    ConfChangeKind,
    CorruptEntry,
    Entry,
    EntryKind,
    HardState,
    Membership,
    SnapshotMeta,
    decode_conf_change,
    encode_conf_change,
)
from kvraft.raft.errors import (
    ConfChangePending,
    NoOwnTermCommit,
    NotCaughtUp,
    NotLeader,
    ProposalRefused,
    Refused,
    TransferInProgress,
    UncommittedFull,
)
from kvraft.raft.message import MESSAGE_KINDS, MalformedMessage, Message, from_wire
from kvraft.raft.ready import Persist, ReadState, Ready, Role

__all__ = [
    "MESSAGE_KINDS",
    "ConfChange",
    "ConfChangeKind",
    "ConfChangePending",
    "CorruptEntry",
    "Entry",
    "EntryKind",
    "HardState",
    "MalformedMessage",
    "Membership",
    "Message",
    "NoOwnTermCommit",
    "NotCaughtUp",
    "NotLeader",
    "Persist",
    "ProposalRefused",
    "RaftConfig",
    "RaftCore",
    "Randomness",
    "ReadState",
    "Ready",
    "Refused",
    "Role",
    "SnapshotMeta",
    "TransferInProgress",
    "UncommittedFull",
    "decode_conf_change",
    "encode_conf_change",
    "from_wire",
]
