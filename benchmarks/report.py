"""The comparison as a Markdown table, and the bars it has to clear. Pure: values in, text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

KIND_NAMES: Final = {"get": "GET", "quorum": "quorum GET", "put": "PUT"}
HEAD: Final = (
    *("members", "request", "conns", "kvraft/s", "etcd/s", "ratio"),
    *("p50 ms", "etcd", "p99 ms", "etcd", "CPU s/1000", "etcd"),
)
# (kind, smallest ratio to etcd, cluster sizes); with one connection the disk decides, so no bar
BARS: Final = (("get", 1.0, (1, 3)), ("quorum", 1.0, (3,)), ("put", 0.8, (1, 3)))
BAR_CONNECTIONS: Final = (32, 256)


def as_table(result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    how = (
        f"kvraft {machine['kvraft']} (Python {machine['python']}) against etcd {machine['etcd']}, "
        f"{machine['date']}: {machine['cores']} cores, fdatasync {machine['fdatasync']}, median "
        f"of {result['rounds']} runs of {result['seconds']} s. CPU is that of all members."
    )
    lines = [how, "", *aligned([HEAD, *(row(case) for case in result["cases"])])]
    memory = result["memory_bytes_per_key"]
    if memory:
        figures = ", ".join(f"{server} {value:.0f} bytes" for server, value in memory.items())
        lines += ["", f"Memory per key (100-byte values, one member): {figures}."]
    failed = [
        f"{case['name']}: {case[server]['failed']} failed requests at {server}"
        for case in result["cases"]
        for server in ("kvraft", "etcd")
        if case[server]["failed"]
    ]
    if failed:
        lines += ["", *failed]
    return "\n".join(lines)


def row(case: Mapping[str, Any]) -> tuple[str, ...]:
    ours, theirs = case["kvraft"], case["etcd"]
    return (
        "1" if case["members"] == 1 else f"{case['members']}, at {case['at']}",
        KIND_NAMES[case["kind"]],
        str(case["connections"]),
        f"{ours['requests_per_s']:.0f}",
        f"{theirs['requests_per_s']:.0f}",
        f"{case['ratio']:.2f}",
        f"{ours['p50_ms']:.2f}",
        f"{theirs['p50_ms']:.2f}",
        f"{ours['p99_ms']:.2f}",
        f"{theirs['p99_ms']:.2f}",
        f"{ours['cpu_s_per_1000']:.3f}",
        f"{theirs['cpu_s_per_1000']:.3f}",
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table that also reads well as plain text: the first two columns left."""
    widths = [max(2, *map(len, column)) for column in zip(*rows, strict=True)]  # 2: a rule
    rules = [
        f":{'-' * (width - 1)}" if number < 2 else f"{'-' * (width - 1)}:"
        for number, width in enumerate(widths)
    ]
    lines = []
    for cells in (rows[0], rules, *rows[1:]):
        padded = [
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        lines.append(f"| {' | '.join(padded)} |")
    return lines


def missed_bars(result: Mapping[str, Any]) -> list[str]:
    return [
        f"below the bar of {least:.1f} x etcd: {case['name']} ({case['ratio']:.2f})"
        for case in result["cases"]
        for kind, least, sizes in BARS
        if case["kind"] == kind
        and case["members"] in sizes
        and case["connections"] in BAR_CONNECTIONS
        and case["ratio"] < least
    ]
