"""Durations as Go prints them: in answers and log lines."""

from __future__ import annotations


def go_duration(seconds: float) -> str:
    """A duration as Go prints it: `28.823s`, `1m3.5s`, `562.87ms`, `0s`."""
    nanos = round(seconds * 1e9)
    if nanos <= 0:
        return "0s"
    if nanos < 1000:
        return f"{nanos}ns"
    if nanos < 1_000_000:
        return _fraction(nanos, 1000) + "µs"
    if nanos < 1_000_000_000:
        return _fraction(nanos, 1_000_000) + "ms"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    if hours or minutes:
        text += f"{minutes}m"
    return text + _fraction(rest, 1_000_000_000) + "s"


def _fraction(value: int, unit: int) -> str:
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)
