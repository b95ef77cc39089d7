"""etcd v2 reborn: a replicated key-value store."""

from __future__ import annotations

__version__ = "0.1.0"
