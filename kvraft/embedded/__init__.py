"""Members inside the caller's program: with sockets or without, on a disk or in memory."""
