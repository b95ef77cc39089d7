"""`python -m kvraft.discovery`: the service, for when its script is not on the path."""

from __future__ import annotations

from kvraft.discovery.main import main

if __name__ == "__main__":
    main()
