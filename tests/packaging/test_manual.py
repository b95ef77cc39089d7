"""The manual names flags, files, metrics and pages that exist."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from kvraft.server import options, tools
from kvraft_cli import table
from tests.packaging.test_files import METRIC, PACKAGING, ROOT, SUFFIXES, alerts, shown_metrics

DOCS: Final = ROOT / "docs"
PAGES: Final = [*sorted((DOCS / "operations").glob("*.md")), DOCS / "proxy.md"]
FLAG: Final = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")
KVRAFT: Final = re.compile(r"(?:^|[;&|]\s*|\s)(?:/opt/kvraft/bin/)?kvraft(?=\s|$)")
TOOLS: Final = tuple(tools.COMMANDS)
# In running text a flag may also be one of these programs'.
OTHERS: Final = frozenset(("no-block", "roles", "enable-v2", "embedded"))


def command_lines(page: Path) -> Iterator[str]:
    """The lines of the blocks that are typed in, those that go on with a backslash joined."""
    for block in re.findall(r"^```(?:sh)?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()


def flags_of_tool(command: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    with pytest.raises(SystemExit):
        tools.COMMANDS[command](["--help"])
    return set(FLAG.findall(capsys.readouterr().out))


def flags_of_kvraftctl() -> set[str]:
    """Those of its own commands, and the global ones."""
    found = {name for flag in table.GLOBAL_FLAGS for name in flag.names}
    for place in table.OWN.values():
        parser = importlib.import_module(place.partition(":")[0]).make_parser(None)
        found |= set(FLAG.findall(parser.format_help()))
    return found


def known_flags(capsys: pytest.CaptureFixture[str]) -> dict[str, set[str]]:
    """The flags of the server under the empty name, and those of each sub-command."""
    known = {"": set(options.new_flag_set()._flags)}
    return known | {command: flags_of_tool(command, capsys) for command in TOOLS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_commands_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = known_flags(capsys)
    wrong = []
    for line in command_lines(page):
        for command in re.split(r"\||;|&&", line):
            found = KVRAFT.search(command)
            if found is None:
                continue
            words = command[found.end() :].split()
            tool = words[0] if words and words[0] in TOOLS else ""
            wrong += [
                f"kvraft {tool} --{flag}"
                for flag in FLAG.findall(" ".join(words))
                if flag not in known[tool]
            ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_flags_in_the_text_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set().union(*known_flags(capsys).values()) | OTHERS | flags_of_kvraftctl()
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    words = re.findall(r"`([^`\n]+)`", text)
    assert not {flag for word in words for flag in FLAG.findall(word)} - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_variables_exist(page: Path) -> None:
    known = {name.upper().replace("-", "_") for name in options.new_flag_set()._flags}
    assert not set(re.findall(r"\bETCD_([A-Z]+(?:_[A-Z]+)*)\b(?!_)", page.read_text())) - known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_metrics_exist(page: Path) -> None:
    known = shown_metrics()
    names = {word for word in re.findall(r"`([^`\n]+)`", page.read_text()) if METRIC.match(word)}
    wanted = {name for word in names for name in METRIC.findall(word) if not word.endswith("*")}
    assert not {name for name in wanted if SUFFIXES.sub("", name) not in known}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (page.parent / target).exists(), target
    for path in re.findall(r"`(packaging/[\w./-]+)`", text):
        assert (ROOT / path).exists(), path
    for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", text):
        other = (page.parent / target).read_text() if target else text
        headings = re.findall(r"^#+ (.+)$", other, re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}


def test_blocks_say_where_they_are_typed() -> None:
    place = re.compile(r"# (?:anywhere|on each|on 10\.0\.0\.[1-4])\n")
    for page in sorted((DOCS / "operations").glob("*.md")):
        for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE):
            assert place.match(block), f"{page.name}: {block}"


def test_every_alert_is_explained() -> None:
    text = (DOCS / "operations" / "monitoring.md").read_text()
    assert re.findall(r"^### (Kvraft\w+)$", text, re.MULTILINE) == list(alerts())


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "operations" / "README.md").read_text()
    for page in PAGES:
        if page.parent.name == "operations" and page.name != "README.md":
            assert f"]({page.name})" in index


def test_units_and_files_are_told_of() -> None:
    text = "".join(page.read_text() for page in PAGES)
    for file in PACKAGING.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.name in text or file.suffix in (".dockerignore", ".py"), file
