"""`python -m kvraft`: the server, for when its script is not on the path."""

from __future__ import annotations

from kvraft.server.main import main

if __name__ == "__main__":
    main()
