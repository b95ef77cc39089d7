"""A stage over time as one small SVG: answers a second by outcome, latencies, faults as bands.

Drawn here and not by a plotting library: inside the page the curves take the colours of its light
or dark scheme, a pointer shows what a band is, and a stage costs a third of the bytes.
Everything is bounded: many slices are merged into at most `COLUMNS`.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from jepsen_like.report import words
from jepsen_like.report.result import Slice, Stage, Strike

COLUMNS: Final = 240
WIDTH: Final = 960
LEFT: Final = 58
RIGHT: Final = 10
BAND_PX: Final = 14  # height of a row of names of faults
BAND_ROWS: Final = 3
RATE_PX: Final = 110
LATENCY_PX: Final = 84
TITLE_PX: Final = 18  # above each of the two panels
CHAR_PX: Final = 6.2  # of the small font, about
SLICE_S: Final = 0.1
LOWEST_MS: Final = 0.1

Across = Callable[[float], float]


def stage_plot(stage: Stage) -> str:
    """The SVG element; empty if nothing was measured."""
    if not stage.slices:
        return ""
    columns = merged(stage.slices)
    width_s = _width_s(columns)
    end_s = max([columns[-1].at_s + width_s, *(strike.until_s for strike in stage.strikes)])

    def across(at_s: float) -> float:
        return LEFT + at_s / end_s * (WIDTH - LEFT - RIGHT)

    rows = _rows(stage.strikes, across)
    top = 4 + BAND_PX * (1 + max(rows, default=0)) + TITLE_PX
    below = top + RATE_PX + 8 + TITLE_PX
    height = below + LATENCY_PX + 20
    parts = [
        *_bands(stage.strikes, rows, across, height - 20),
        *_rates(columns, width_s, across, top),
        *_latencies(columns, width_s, across, below),
        *_time_axis(end_s, across, height - 20),
    ]
    label = html.escape(f"answers and latencies over time: {stage.fault}", quote=True)
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
        + "".join(parts)
        + "</svg>"
    )


def merged(slices: Sequence[Slice]) -> list[Slice]:
    """At most COLUMNS of them: counts summed, the medians weighted, the rest at its worst."""
    size = -(-len(slices) // COLUMNS)
    return [_merge(slices[place : place + size]) for place in range(0, len(slices), size)]


def _merge(slices: Sequence[Slice]) -> Slice:
    ok = sum(one.ok for one in slices)
    median = sum(one.p50_ms * one.ok for one in slices) / ok if ok else 0.0
    return Slice(
        slices[0].at_s, ok, sum(one.refused for one in slices),
        sum(one.failed for one in slices), sum(one.unknown for one in slices), median,
        max(one.p99_ms for one in slices), max(one.longest_ms for one in slices),
    )  # fmt: skip


def _width_s(columns: Sequence[Slice]) -> float:
    steps = [after.at_s - one.at_s for one, after in zip(columns, columns[1:], strict=False)]
    return min([step for step in steps if step > 0], default=SLICE_S)


# --- faults ----------------------------------------------------------------------------


def _rows(strikes: Sequence[Strike], across: Across) -> list[int]:
    """The row of each name, so that names do not cover each other while there is room."""
    free = [0.0] * BAND_ROWS
    found = []
    for strike in strikes:
        at = across(strike.at_s)
        row = next((row for row in range(BAND_ROWS) if free[row] <= at), BAND_ROWS - 1)
        free[row] = at + 8 + len(strike.what) * CHAR_PX
        found.append(row)
    return found


def _bands(
    strikes: Sequence[Strike], rows: Sequence[int], across: Across, bottom: float
) -> Iterator[str]:
    free = [0.0] * BAND_ROWS
    for strike, row in zip(strikes, rows, strict=True):
        at, until = across(strike.at_s), across(max(strike.until_s, strike.at_s))
        what = html.escape(f"{strike.what}, {strike.at_s:.1f} to {strike.until_s:.1f} s")
        y = 2 + row * BAND_PX
        lasting = strike.until_s > strike.at_s
        kind = "strike" if lasting else "moment"
        yield (
            f'<g class="{kind}"><title>{what}</title>'
            f'<rect x="{at:.1f}" y="{y}" width="{max(1.5, until - at):.1f}" '
            f'height="{bottom - y:.1f}"/>'
        )
        if free[row] <= at:
            room = max(4, int((WIDTH - RIGHT - at) / CHAR_PX))
            name = strike.what if len(strike.what) <= room else strike.what[: room - 1] + "\u2026"
            free[row] = at + 8 + len(name) * CHAR_PX
            yield f'<text x="{at + 4:.1f}" y="{y + 10}">{html.escape(name)}</text>'
        yield "</g>"


# --- throughput ------------------------------------------------------------------------


def _rates(columns: Sequence[Slice], width_s: float, across: Across, top: float) -> Iterator[str]:
    """Outcomes stacked on each other, the good ones at the bottom."""
    highest = _round_up(max(_total(one) for one in columns) / width_s)

    def y(rate: float) -> float:
        return top + RATE_PX - rate / highest * RATE_PX

    yield from _value_axis([(rate, f"{rate:,.0f}") for rate in (0.0, highest / 2, highest)], y)
    yield f'<text class="name" x="{LEFT}" y="{top - 6}">answers per second</text>'
    for place in range(len(words.OUTCOMES), 0, -1):  # the whole stack first, in the last colour
        counts = [sum(getattr(one, name) for name in words.OUTCOMES[:place]) for one in columns]
        if any(getattr(one, words.OUTCOMES[place - 1]) for one in columns):
            rates = [count / width_s for count in counts]
            line = _steps(columns, width_s, rates, across, y)
            yield f'<path class="{words.OUTCOMES[place - 1]}" d="{line}V{y(0):.0f}Z"/>'


def _total(one: Slice) -> int:
    return one.ok + one.refused + one.failed + one.unknown


def _steps(
    columns: Sequence[Slice], width_s: float, rates: Sequence[float], across: Across,
    y: Callable[[float], float],
) -> str:  # fmt: skip
    """From the ground at the left along the tops of all columns."""
    found = [f"M{across(columns[0].at_s):.1f},{y(0):.0f}"]
    for one, rate in zip(columns, rates, strict=True):
        found.append(f"V{y(rate):.1f}H{across(one.at_s + width_s):.1f}")
    return "".join(found)


# --- latencies -------------------------------------------------------------------------


def _latencies(
    columns: Sequence[Slice], width_s: float, across: Across, top: float
) -> Iterator[str]:
    """On a logarithmic scale; where nothing was answered there is no line."""
    highest = max(one.longest_ms for one in columns)
    powers = max(1, math.ceil(math.log10(max(highest, 1.0) / LOWEST_MS)))

    def y(value_ms: float) -> float:
        share = math.log10(max(value_ms, LOWEST_MS) / LOWEST_MS) / powers
        return top + LATENCY_PX - share * LATENCY_PX

    ticks = [LOWEST_MS * 10**power for power in range(powers + 1)]
    yield from _value_axis([(tick, f"{tick:g} ms") for tick in ticks], y)
    yield (
        f'<text class="name" x="{LEFT}" y="{top - 6}">'
        '<tspan class="p50">median</tspan>, <tspan class="p99">p99</tspan>, '
        '<tspan class="longest">longest</tspan> of the answers ok</text>'
    )
    for name in ("longest_ms", "p99_ms", "p50_ms"):
        line = _broken_line(columns, name, width_s, across, y)
        yield f'<path class="line {name.removesuffix("_ms")}" d="{line}"/>'


def _broken_line(
    columns: Sequence[Slice], name: str, width_s: float, across: Across,
    y: Callable[[float], float],
) -> str:  # fmt: skip
    found = []
    drawing = False
    for one in columns:
        if one.ok:
            height = y(getattr(one, name))
            left, right = across(one.at_s), across(one.at_s + width_s)
            begin = "V" if drawing else f"M{left:.1f},"
            found.append(f"{begin}{height:.1f}H{right:.1f}")
        drawing = bool(one.ok)
    return "".join(found)


# --- axes ------------------------------------------------------------------------------


def _value_axis(ticks: Sequence[tuple[float, str]], y: Callable[[float], float]) -> Iterator[str]:
    for value, label in ticks:
        height = y(value)
        yield f'<path class="grid" d="M{LEFT},{height:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text class="tick" x="{LEFT - 5}" y="{height + 3.5:.1f}">{label}</text>'


def _time_axis(end_s: float, across: Across, top: float) -> Iterator[str]:
    step = _round_up(end_s / 10)
    for number in range(int(end_s / step) + 1):
        at = across(number * step)
        yield f'<text class="time" x="{at:.1f}" y="{top + 16}">{number * step:g} s</text>'


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20 ..."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value * 0.999999)
