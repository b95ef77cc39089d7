"""The versions of etcd whose behaviour this program has; its own is `kvraft.__version__`."""

from __future__ import annotations

from typing import Final

SERVER_VERSION: Final = "2.3.8"
"""What clients and scripts are told, and may rely on."""

CLUSTER_VERSION: Final = "2.3.0"
"""What all members agree on: the release without its patches."""
