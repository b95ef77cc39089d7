"""`kvraft dev`: a cluster in one process, for trying things out."""
