"""Clients of a v2 server: asyncio and synchronous, with watches that lose nothing."""
