"""Whether a page is sound: nesting, no foreign resources, data that stays data."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

VOID: Final = frozenset("meta input br link img hr path rect line circle use".split())
LOADING: Final = frozenset(("src", "href", "srcset", "action", "data", "xlink:href"))


class _Checker(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.ids: set[str] = set()
        self.blocks: dict[str, str] = {}
        self._block = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        for name, value in values.items():
            local = (value or "").startswith("#")
            if (name in LOADING and not local) or name.startswith("on"):
                self.wrong.append(f"<{tag} {name}={value!r}>")
        own = values.get("id")
        if own in self.ids:
            self.wrong.append(f"id {own} twice")
        if own:
            self.ids.add(own)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self._block = own or "script"

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> out of place")

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.blocks[self._block] = self.blocks.get(self._block, "") + data


def check_page(text: str) -> dict[str, str]:
    """Assert that all is well; the contents of the script blocks, by their ids."""
    assert text.startswith("<!DOCTYPE html>")
    checker = _Checker()
    checker.feed(text)
    checker.close()
    assert not checker.wrong + checker.open
    return checker.blocks
