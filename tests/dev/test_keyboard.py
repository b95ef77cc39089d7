"""Lines from a terminal, and nothing from anything else."""

from __future__ import annotations

import asyncio
import os
import pty
import sys
from collections.abc import Iterator
from typing import TextIO

import pytest

from kvraft.dev import keyboard
from kvraft.dev.keyboard import Keyboard

pytestmark = pytest.mark.asyncio


class Heard:
    """What a keyboard has told."""

    def __init__(self, stdin: TextIO | None) -> None:
        self.lines: list[str] = []
        self.ready = 0
        self.ended = 0
        self.keyboard = Keyboard(
            stdin, on_ready=self._ready, on_line=self.lines.append, on_end=self._end
        )

    def _ready(self) -> None:
        self.ready += 1

    def _end(self) -> None:
        self.ended += 1

    async def until(self, *lines: str) -> None:
        async with asyncio.timeout(10):
            while tuple(self.lines) != lines:  # noqa: ASYNC110 - nobody announces it
                await asyncio.sleep(0.001)


class Typist:
    """A terminal and who types at it."""

    def __init__(self) -> None:
        self.master, slave = pty.openpty()
        self.stdin = os.fdopen(slave)

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def close(self) -> None:
        self.stdin.close()
        os.close(self.master)


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typist]:
    typist = Typist()
    # The terminal of this test controls nobody: say that it is this process's foreground.
    monkeypatch.setattr(os, "tcgetpgrp", lambda handle: os.getpgrp())
    yield typist
    typist.close()


async def test_lines_arrive_whole(typist: Typist) -> None:
    heard = Heard(typist.stdin)
    heard.keyboard.start()
    assert heard.ready == 1
    typist.type(b"status\nhe")
    await heard.until("status")
    typist.type(b"al\n\n")
    await heard.until("status", "heal", "")
    typist.type(b"\x04")
    async with asyncio.timeout(10):
        while not heard.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    heard.keyboard.stop()


async def test_nothing_is_read_in_the_background(
    typist: Typist, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyboard, "LOOK_AGAIN_S", 0.005)
    foreground = [False]
    group = os.getpgrp()
    monkeypatch.setattr(os, "tcgetpgrp", lambda handle: group if foreground[0] else group + 1)
    heard = Heard(typist.stdin)
    heard.keyboard.start()
    typist.type(b"one\n")
    await asyncio.sleep(0.02)
    assert not heard.lines
    assert not heard.ready
    foreground[0] = True
    await heard.until("one")
    foreground[0] = False
    typist.type(b"two\n")
    await asyncio.sleep(0.02)
    assert heard.lines == ["one"]
    foreground[0] = True
    await heard.until("one", "two")
    heard.keyboard.stop()


async def test_other_streams_are_left_alone() -> None:
    heard = Heard(None)
    heard.keyboard.start()
    read, write = os.pipe()
    os.write(write, b"status\n")
    os.close(write)
    with os.fdopen(read) as stream:
        piped = Heard(stream)
        piped.keyboard.start()
        await asyncio.sleep(0.01)
        piped.keyboard.stop()
        assert stream.read() == "status\n"
    closed = Heard(stream)
    closed.keyboard.start()
    assert not heard.ready + piped.ready + closed.ready
    heard.keyboard.stop()


async def test_a_terminal_that_controls_nobody_is_not_read() -> None:
    typist = Typist()
    try:
        heard = Heard(typist.stdin)
        heard.keyboard.start()
        assert not heard.ready
        heard.keyboard.stop()
    finally:
        typist.close()
    assert sys.stdin is not typist.stdin
