"""The blocks of a page: what is typed, what it prints, and how the page wants them to be run.

Knows Markdown's fences and indented blocks only, and nothing of running. What a reader need not see
stands in a comment on the lines above a block:

    <!-- not run: REASON -->      it cannot run here
    <!-- file: NAME -->           it is not run but saved, for later blocks to use
    <!-- another terminal -->     it watches while the next block runs, and its output comes then
    <!-- another terminal: does not watch -->    the same for what need not have begun by then
    <!-- stays -->                it is a server: it has to print what is shown, and goes on
    <!-- typed there -->          lines that are typed into that server, behind `> `
    <!-- fails: NAME -->          a program that has to end with this exception

and for a whole page, before its first block: `<!-- page: not run: REASON -->`, or
`<!-- page: own servers -->` if it starts what listens at the ports it names.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, NamedTuple

MARKS: Final = ("not run", "file", "another terminal", "stays", "typed there", "fails")
DOES_NOT_WATCH: Final = "does not watch"
# What somebody could type: these have to run, or to say why not.
RUNNABLE: Final = ("console", "python", "sh")

_FENCE: Final = re.compile(r"^(?P<indent> {0,3})(?P<ticks>`{3,})\s*(?P<language>[\w{}-]*)")
_COMMENT: Final = re.compile(r"^\s*<!-- (?P<text>.*?) -->\s*$")
# An operations page names the machine on which a block is typed: there are three of them.
_MACHINE: Final = re.compile(r"^# (?:anywhere|on each|on 10\.\d+\.\d+\.\d+)$")
_LOOKS_TYPED: Final = re.compile(
    r"^(?:\$ |(?:kvraft|kvraftctl|kvraft-discovery|etcdctl|curl|make|pip|export|openssl|python3?) )"
)


@dataclass
class Block:
    """A fenced block; `line` is that of its opening fence, counted from 1.

    `output` is the ```text block right behind a program, which shows what it prints.
    """

    line: int
    language: str
    text: list[str]
    mark: str = ""
    argument: str = ""
    output: Block | None = None

    @property
    def first_text_line(self) -> int:
        """The number of the line after the fence."""
        return self.line + 1


class Typed(NamedTuple):
    """A command in a console block, the lines it is made of, and what it is to print."""

    command: str
    shown: list[str]
    expected: list[str]


@dataclass
class Page:
    """All blocks of a page in order; `mark` is that of the page."""

    blocks: list[Block] = field(default_factory=list)
    mark: str = ""
    argument: str = ""
    # line -> first line of an indented block that looks like commands
    unfenced: dict[int, str] = field(default_factory=dict)


class MarkdownError(Exception):
    """A page that cannot be understood; the text says where."""


def parse(text: str) -> Page:
    """Take a page apart."""
    page = Page()
    lines = text.split("\n")
    mark, argument = "", ""
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        fence = _FENCE.match(line)
        if fence is not None:
            start = number
            number = _end_of_fence(lines, number, fence["ticks"])
            block = Block(start, fence["language"], lines[start : number - 1], mark, argument)
            _append(page, block, lines)
            mark, argument = "", ""
        elif (comment := _COMMENT.match(line)) is not None:
            name, _, rest = comment["text"].partition(": ")
            if name == "page":
                page.mark, _, page.argument = rest.partition(": ")
            elif name in MARKS:
                mark, argument = name, rest
        elif line.startswith("    ") and _LOOKS_TYPED.match(line.strip()) and number > 1:
            if not lines[number - 2].strip():
                page.unfenced[number] = line.strip()
        elif line.strip():
            mark, argument = "", ""
    return page


def _end_of_fence(lines: list[str], number: int, ticks: str) -> int:
    for index in range(number, len(lines)):
        if lines[index].strip() == ticks:
            return index + 1
    raise MarkdownError(f"line {number}: this block has no end")


def _append(page: Page, block: Block, lines: list[str]) -> None:
    if not block.mark and block.text and _MACHINE.match(block.text[0]):
        block.mark, block.argument = "not run", "it belongs to one of several machines"
    before = page.blocks[-1] if page.blocks else None
    if block.language == "text" and before is not None and before.language == "python":
        end = before.line + len(before.text) + 1
        if not "".join(lines[end : block.line - 1]).strip():
            before.output = block
            return
    page.blocks.append(block)


def typed(block: Block, prompt: str = "$ ") -> list[Typed]:
    """The commands of a console block: `$ ` begins one, `> ` goes on with it."""
    commands: list[Typed] = []
    for number, line in enumerate(block.text, block.first_text_line):
        if line.startswith(prompt):
            commands.append(Typed(line[2:], [line], []))
        elif not commands:
            raise MarkdownError(f"line {number}: a console block begins with `{prompt}`")
        elif line.startswith("> ") and not commands[-1].expected:
            last = commands.pop()
            commands.append(Typed(f"{last.command}\n{line[2:]}", [*last.shown, line], []))
        else:
            commands[-1].expected.append(line)
    return commands
