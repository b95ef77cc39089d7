"""Durable state of one member: write-ahead log, snapshots, recovery."""

from __future__ import annotations

from kvraft.storage.datadir import Recovered, SnapshotWriter, Storage
from kvraft.storage.files import Files, PosixFiles
from kvraft.storage.wal import Identity

__all__ = ["Files", "Identity", "PosixFiles", "Recovered", "SnapshotWriter", "Storage"]
