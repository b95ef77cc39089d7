"""A campaign as one HTML page: no script, nothing from elsewhere, light and dark.

Summary, the fault matrix, all stages in a table, then each stage with its plot, its verdicts and
the command that repeats it. Whatever a stage says is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from jepsen_like.faults.matrix import ROWS
from jepsen_like.report import words
from jepsen_like.report.plot import stage_plot
from jepsen_like.report.result import PASSED, SKIPPED, Campaign, Stage

STYLE: Final = Path(__file__).parent / "page.css"
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
MAX_TEXT_CHARS: Final = 4000  # of one verdict; all of it is in the result
SIGNS: Final = {"passed": "\u2713", "failed": "\u2717", "unknown": "?", "skipped": "\u2013"}


def render(campaign: Campaign) -> str:
    """The whole page."""
    title = f"Campaign of {campaign.began}: {campaign.verdict()}"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{_text(title)}</title>",
        f"<style>\n{STYLE.read_text('utf-8')}</style></head><body>",
        *_head(campaign),
        *_matrix(campaign),
        *_summary(campaign),
        *_stages(campaign),
        *_environment(campaign),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _text(what: object) -> str:
    return html.escape(str(what), quote=True)


def _badge(verdict: str) -> str:
    sign = SIGNS.get(verdict, "")
    return f'<span class="badge {_text(verdict)}">{sign} {_text(verdict)}</span>'


# --- head ------------------------------------------------------------------------------


def _head(campaign: Campaign) -> Iterator[str]:
    ended = words.verdicts(campaign.stages)
    ran = words.ran(campaign)
    told = words.operations(campaign)
    slowest = max((words.slowest_recovery_s(stage) for stage in ran), default=0.0)
    tiles = [
        (str(len(ran)), "stages run"),
        *((str(number), verdict) for verdict, number in ended.items() if number),
        (words.count(sum(told.values())), "operations"),
        (words.count(told["unknown"]), "of unknown outcome"),
        (words.seconds(slowest), "slowest recovery"),
        (words.duration(campaign.seconds), "in all"),
    ]
    yield f"<header><h1>Campaign {_badge(campaign.verdict())}</h1>"
    yield f"<p>{_text(campaign.began)}, seed {_text(campaign.seed)}</p>"
    yield f"<p><code>{_text(campaign.command)}</code></p>"
    yield '<ul class="tiles">'
    for figure, what in tiles:
        yield f"<li><b>{_text(figure)}</b>{_text(what)}</li>"
    yield "</ul></header>"


# --- the fault matrix ------------------------------------------------------------------


def _matrix(campaign: Campaign) -> Iterator[str]:
    yield "<section><h2>Fault matrix</h2>"
    yield '<div class="wide"><table class="matrix"><thead><tr><th>#</th><th>fault</th>'
    yield "<th>stages, by members</th><th>also tested by</th></tr></thead><tbody>"
    known = {stage.row for stage in campaign.stages} | ROWS.keys()
    for row in sorted(known):
        name, elsewhere = ROWS.get(row, ("", ""))
        stages = [stage for stage in campaign.stages if stage.row == row]
        yield (
            f'<tr class="{_text(words.worst(stages) or "none")}"><td>{row}</td>'
            f"<td>{_text(name)}</td><td>{''.join(_covered(campaign, stages))}</td>"
            f"<td>{_text(elsewhere)}</td></tr>"
        )
    yield "</tbody></table></div></section>"


def _covered(campaign: Campaign, stages: Sequence[Stage]) -> Iterator[str]:
    """The stages of a row: one line for each fault, a chip for each size."""
    if not stages:
        yield '<span class="soft">no stage in this campaign</span>'
    for fault in dict.fromkeys(stage.fault for stage in stages):
        mine = [stage for stage in stages if stage.fault == fault]
        chips = "".join(_chip(campaign, stage) for stage in mine if stage.verdict != SKIPPED)
        reasons = dict.fromkeys(stage.reason for stage in mine if stage.verdict == SKIPPED)
        skipped = "".join(f' <span class="soft">skipped: {_text(one)}</span>' for one in reasons)
        yield f"<div>{_text(fault)} {chips}{skipped}</div>"


def _chip(campaign: Campaign, stage: Stage) -> str:
    sign = SIGNS.get(stage.verdict, "")
    return (
        f'<a class="chip {_text(stage.verdict)}" href="#{_anchor(campaign, stage)}" '
        f'title="{_text(stage.verdict)}">{stage.members} {sign}</a>'
    )


def _anchor(campaign: Campaign, stage: Stage) -> str:
    return f"stage-{next(n for n, one in enumerate(campaign.stages, 1) if one is stage)}"


# --- all stages in one table -----------------------------------------------------------


def _summary(campaign: Campaign) -> Iterator[str]:
    stages = words.ran(campaign)
    yield "<section><h2>Stages</h2>"
    if not stages:
        yield "<p>No stage was run.</p></section>"
        return
    heads = (
        "fault", "members", "verdict", *words.OUTCOMES, "available", "longest gap", "recovered",
        *(f"{name} ms" for name in words.QUANTILES),
    )  # fmt: skip
    yield '<div class="wide"><table class="figures"><thead><tr>'
    for head in heads:
        side = ' class="left"' if head == "verdict" else ""
        yield f"<th{side}>{_text(head)}</th>"
    yield "</tr></thead><tbody>"
    for stage in stages:
        yield f'<tr><td><a href="#{_anchor(campaign, stage)}">{_text(stage.fault)}</a></td>'
        yield f'<td>{stage.members}</td><td class="left">{_badge(stage.verdict)}</td>'
        yield "".join(f"<td>{_text(cell)}</td>" for cell in _figures(stage)) + "</tr>"
    yield "</tbody></table></div>"
    yield (
        '<p class="soft">Available: tenths of a second, faults included, that saw an acknowledged '
        "write. Recovered: from the end of the last fault to the next acknowledged write. "
        "Latencies: of the answers ok, the worst of all kinds of operations.</p></section>"
    )


def _figures(stage: Stage) -> Iterator[str]:
    for outcome in words.OUTCOMES:
        yield words.count(stage.counts.get(outcome, 0))
    yield words.percent(stage.availability)
    yield words.seconds(stage.longest_gap_s)
    yield words.seconds(stage.recovered_s)
    latencies = words.slowest_ms(stage)
    for place in range(len(words.QUANTILES)):
        yield words.milliseconds(latencies[place]) if place < len(latencies) else "-"


# --- each stage ------------------------------------------------------------------------


def _stages(campaign: Campaign) -> Iterator[str]:
    for stage in words.ran(campaign):
        opened = " open" if stage.verdict != PASSED or len(campaign.stages) == 1 else ""
        yield f'<details class="stage" id="{_anchor(campaign, stage)}"{opened}>'
        yield (
            f"<summary>{_badge(stage.verdict)} <span><b>{_text(stage.fault)}</b>, "
            f"{_members(stage.members)}</span> "
            f"<span>row {stage.row}, {words.seconds(stage.seconds)}, "
            f"available {words.percent(stage.availability)}, longest gap "
            f"{words.seconds(stage.longest_gap_s)}</span></summary>"
        )
        yield from _stage(stage)
        yield "</details>"


def _members(number: int) -> str:
    return "1 member" if number == 1 else f"{number} members"


def _stage(stage: Stage) -> Iterator[str]:
    if stage.reason:
        yield f'<p class="reason">{_long(stage.reason)}</p>'
    plot = stage_plot(stage)
    if plot:
        yield plot
        yield '<p class="legend">' + "".join(
            f'<span><i class="{outcome}"></i>{outcome}</span>' for outcome in words.OUTCOMES
        )
        yield '<span><i class="strike"></i>fault in force</span></p>'
    yield from _checkers(stage)
    yield from _latencies(stage)
    yield "<dl>"
    for name, value in _facts(stage):
        yield f"<dt>{_text(name)}</dt><dd><code>{_text(value)}</code></dd>"
    yield "</dl>"


def _facts(stage: Stage) -> Iterator[tuple[str, str]]:
    yield "seed", str(stage.seed)
    if stage.again:
        yield "again", stage.again
    if stage.kept:
        yield "kept", stage.kept
    for name, value in stage.counts.items():
        if name not in words.OUTCOMES:
            yield name, words.count(value)


def _checkers(stage: Stage) -> Iterator[str]:
    if stage.verdicts:
        rows = (
            f"<tr><td>{_text(one.checker)}</td><td>{_badge(one.verdict)}</td>"
            f"<td>{_long(one.text)}</td></tr>"
            for one in stage.verdicts
        )
        yield from _table("checkers", ("checker", "verdict", "what it says"), rows)


def _latencies(stage: Stage) -> Iterator[str]:
    if stage.latencies_ms:
        rows = (
            f"<tr><td>{_text(kind)}</td>"
            + "".join(f"<td>{words.milliseconds(value)}</td>" for value in values)
            + "</tr>"
            for kind, values in stage.latencies_ms.items()
        )
        heads = ("answers ok", *(f"{name} ms" for name in words.QUANTILES))
        yield from _table("figures", heads, rows)


def _table(kind: str, heads: Sequence[str], rows: Iterable[str]) -> Iterator[str]:
    yield f'<div class="wide"><table class="{kind}"><thead><tr>'
    yield "".join(f"<th>{_text(head)}</th>" for head in heads)
    yield "</tr></thead><tbody>"
    yield from rows
    yield "</tbody></table></div>"


def _long(text: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        text = text[:MAX_TEXT_CHARS] + " ..."
    return _text(text)


def _environment(campaign: Campaign) -> Iterator[str]:
    if campaign.environment:
        rows = (
            f"<tr><td>{_text(name)}</td><td>{_text(value)}</td></tr>"
            for name, value in campaign.environment.items()
        )
        yield "<section><h2>Environment</h2>"
        yield from _table("environment", ("what", "which"), rows)
        yield "</section>"
