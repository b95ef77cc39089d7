"""Reading what a peer answers to a plain GET, within bounds.

The peer may be anything that listens at an address somebody typed. Must not know documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


async def read_body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """The body of a successful answer. Raises ValueError for any other, and for a longer one."""
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    body = b""
    while more := await answer.content.read(max_bytes):
        body += more
        if len(body) > max_bytes:
            raise ValueError("too long")
    return body
