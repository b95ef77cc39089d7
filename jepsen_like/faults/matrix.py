"""The fault matrix: every row, and where it is tested if not (only) on real processes."""

from __future__ import annotations

from typing import Final

ROWS: Final[dict[int, tuple[str, str]]] = {
    1: ("members killed: one, leader, majority, all", "simulator"),
    2: ("killed between two steps of an operation", "simulator"),
    3: ("killed again during recovery", "simulator"),
    4: ("paused, then resumed as an old leader", "simulator"),
    5: ("event loop blocked", ""),
    6: ("power cut: what was not synced is lost", "simulator"),
    7: ("torn and reordered writes", "tests of all crash states"),
    8: ("renames, new files and removals lost", "tests of all crash states"),
    9: ("sync or write fails, short write", ""),
    10: ("disk full, then freed", ""),
    11: ("slow sync", "simulator"),
    12: ("bit flips in stored data", "tests of every byte"),
    13: ("empty or old data directory", "simulator"),
    14: ("partitions of every shape", "simulator"),
    15: ("frames lost, repeated, reordered, held back", "simulator"),
    16: ("slow links", "simulator"),
    17: ("broken frames, half-open connections", "fuzzing"),
    18: ("long absence, then a snapshot", "simulator"),
    19: ("two snapshots shortly after each other", "simulator"),
    20: ("members come and go", "simulator"),
    21: ("removed members and strangers keep calling", "simulator"),
    22: ("all settings of PreVote and CheckQuorum", "simulator, scenarios"),
    23: ("wrong wall clocks", "simulator"),
    24: ("slow, sleeping and very many watchers", "simulator, workload `watch`"),
    25: ("a request sent twice after no answer", "all workloads: values are unique"),
    26: ("different hash seeds", "simulator, comparison of members after every stage"),
    27: ("operations at every limit and one over", "property tests"),
    28: ("two versions together", ""),
}
