"""Every example of the manual is run, and does what its page shows.

`python -m tests.docs` does the same with figures; with `--update` it renews what pages show.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs import markdown
from tests.docs.playground import Playground
from tests.docs.runner import ROOT, pages, run_page

# Languages of blocks that nobody types: drawings, answers, files of other programs.
SHOWN_ONLY: Final = ("", "text", "json", "yaml", "ini", "dockerfile", "http", "{toctree}")
DIRECTIVES: Final = ("{eval-rst}", "{include}", "{toctree}")


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    with Playground() as cluster:
        yield cluster


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_do_what_the_page_shows(page: Path, playground: Playground) -> None:
    report = run_page(page, playground)
    assert not report.wrong, "\n\n".join(report.wrong)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_run_or_say_why_not(page: Path) -> None:
    known = (*markdown.RUNNABLE, *SHOWN_ONLY, *DIRECTIVES)
    wrong = []
    parsed = markdown.parse(page.read_text("utf-8"))
    for block in parsed.blocks:
        if block.language not in known and block.mark != "file":
            wrong.append(f"{page.name}:{block.line}: ```{block.language} is none of {known}")
        if block.mark == "not run" and not block.argument:
            wrong.append(f"{page.name}:{block.line}: no reason given")
    for line, command in parsed.unfenced.items():
        wrong.append(f"{page.name}:{line}: commands belong into a fenced block: {command}")
    assert not wrong, "\n".join(wrong)
