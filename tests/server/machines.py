"""A state machine for tests: adds up, refuses what is no number, remembers the order."""

from __future__ import annotations

from collections.abc import Iterable


class Adder:
    """Its state is the list of all numbers added."""

    def __init__(self) -> None:
        self.added: list[int] = []

    def apply(self, command: bytes, index: int) -> int:
        number = int(command)  # a ValueError is the outcome of what is no number
        self.added.append(number)
        return sum(self.added)

    def snapshot(self) -> Iterable[bytes]:
        return [b"%d," % number for number in self.added]

    def restore(self, parts: Iterable[bytes]) -> None:
        self.added = [int(number) for number in b"".join(parts).split(b",") if number]
