"""One step at the target: written so that it may be repeated, whatever became of it before.

Raises what the client raises; a refusal that means "already so" is no error.
"""

from __future__ import annotations

from kvraft.client.errors import KeyNotFound, NotADirectory, NotAFile
from kvraft.client.model import KeyNode
from kvraft.client.operations import KeyOperations
from kvraft_cli.mirror.tree import Entry


async def write(server: KeyOperations, key: str, entry: Entry, ttl_s: int | None) -> None:
    """Make the key what the entry says. A file gives way to a directory, but not the reverse.

    Raises NotAFile where a directory stands in place of a file, NotADirectory where a file stands
    in place of a directory above the key.
    """
    if entry.value is not None:
        await server.set(key, entry.value, ttl=ttl_s)
        return
    try:
        await server.set_dir(key, ttl=ttl_s)
    except NotAFile:  # it is a directory already, and keeps its content
        await server.update_dir(key, ttl=ttl_s)


async def retime(server: KeyOperations, key: str, entry: Entry, ttl_s: int | None) -> None:
    """Let the key expire when the entry says; watchers are told only if it becomes permanent."""
    if ttl_s is None:
        await write(server, key, entry, None)
        return
    try:
        await server.refresh(key, ttl_s)
    except KeyNotFound:  # it has expired meanwhile
        await write(server, key, entry, ttl_s)


async def remove(server: KeyOperations, key: str) -> None:
    """Remove the key with all below it."""
    try:
        await server.delete(key, recursive=True)
    except (KeyNotFound, NotADirectory):
        pass


async def read(server: KeyOperations, key: str) -> tuple[KeyNode | None, int]:
    """The key with all below it, as a majority agrees, or None; and the index of that state."""
    try:
        result = await server.get(key, recursive=True, quorum=True)
    except (KeyNotFound, NotADirectory) as error:
        return None, error.index
    return result.node, result.etcd_index
