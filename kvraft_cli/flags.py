"""Flags in Go's spelling: what is a flag, what an argument, and what they say.

Pure: words in, values out. One dash or two are the same; `--name value` or `--name=value`; a
boolean takes a value only with `=`; parsing stops at the first plain word. After a command the
words are rearranged first, by a rule of their own (`rearrange`). (etcdctl reference, section 1.2.)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

Value = bool | int | float | str | list[str]

BOOL: Final = "bool"
STRING: Final = "string"
INT: Final = "int"
DURATION: Final = "duration"
LIST: Final = "list"

_TRUE: Final = frozenset(("1", "t", "T", "true", "TRUE", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "false", "FALSE", "False"))
_INT: Final = r"[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)"
_DURATION: Final = r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+"
_DURATION_PART: Final = r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)"
_UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
}
_INT64: Final = 1 << 63
_MAX_DURATION_S: Final = _INT64 / 1e9


class Flag(NamedTuple):
    """One flag: its names (the long one first), its kind, its default as written, its summary."""

    names: tuple[str, ...]
    kind: str
    summary: str
    default: str = ""


class Flags:
    """The values of all flags of one command; each kind has its method."""

    def __init__(self, values: dict[str, Value]) -> None:
        self._values = values

    def boolean(self, name: str) -> bool:
        """Whether a switch is on."""
        value = self._values[name]
        assert isinstance(value, bool), name
        return value

    def number(self, name: str) -> int:
        """An integer, within 64 bits."""
        value = self._values[name]
        assert isinstance(value, int), name
        return value

    def string(self, name: str) -> str:
        """A text, empty unless given."""
        value = self._values[name]
        assert isinstance(value, str), name
        return value

    def strings(self, name: str) -> list[str]:
        """Every value of a flag that may be repeated, in order."""
        value = self._values[name]
        assert isinstance(value, list), name
        return value

    def seconds(self, name: str) -> float:
        """A duration."""
        value = self._values[name]
        assert isinstance(value, float), name
        return value


class Parsed(NamedTuple):
    """What became of some words: values, arguments, and what was wrong."""

    flags: Flags
    arguments: list[str]
    error: str | None  # unknown, malformed or without its value
    two_forms: str | None  # two names of one flag were used

    @property
    def wants_help(self) -> bool:
        """`--help` was given (and not as `--help=false`)."""
        return self.flags.boolean("help")


def parse_int(text: str) -> int:
    """An integer as Go reads it: decimal, 0x or octal with a leading 0; ValueError otherwise."""
    if not re.fullmatch(_INT, text):
        raise ValueError(f"no integer: {text}")
    digits = text.lstrip("+-")
    base = 16 if digits[1:2] in ("x", "X") else 8 if digits[0] == "0" and len(digits) > 1 else 10
    value = int(digits, base)
    if text[0] == "-":
        value = -value
    if not -_INT64 <= value < _INT64:
        raise ValueError(f"no integer: {text}")
    return value


def parse_duration(text: str) -> float:
    """Seconds of `1m5s`, `300ms`, `0`; ValueError otherwise."""
    if text.lstrip("+-") == "0" and len(text) <= len("-0"):
        return 0.0
    if not re.fullmatch(_DURATION, text):
        raise ValueError(f"no duration: {text}")
    total = sum(float(amount) * _UNITS_S[unit] for amount, unit in re.findall(_DURATION_PART, text))
    if total > _MAX_DURATION_S:
        raise ValueError(f"no duration: {text}")
    return -total if text[0] == "-" else total


def parse_bool(text: str) -> bool:
    """A switch's explicit value; ValueError unless it is one of Go's spellings."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"no boolean: {text}")


def _defaults(flags: Sequence[Flag]) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for flag in flags:
        if flag.kind is BOOL:
            values[flag.names[0]] = False
        elif flag.kind is LIST:
            values[flag.names[0]] = []
        else:
            values[flag.names[0]] = _read(flag.kind, flag.default)
    return values


def _read(kind: str, text: str) -> Value:
    if kind is BOOL:
        return parse_bool(text)
    if kind is INT:
        return parse_int(text)
    if kind is DURATION:
        return parse_duration(text)
    return text


def is_flag(word: str) -> bool:
    """Whether a word looks like a flag; a single dash is an argument."""
    return len(word) > 1 and word[0] == "-"


def parse(flags: Sequence[Flag], words: Sequence[str]) -> Parsed:
    """Read flags off the front of `words`, up to the first argument or behind a `--`."""
    known = {name: flag for flag in flags for name in flag.names}
    values = _defaults(flags)
    seen: set[str] = set()
    error = None
    position = 0
    while position < len(words) and is_flag(words[position]):
        word = words[position]
        position += 1
        if word == "--":
            break
        name, has_value, value = word[2 if word[1] == "-" else 1 :].partition("=")
        flag = known.get(name)
        if not name or name[0] == "-":
            error = f"bad flag syntax: {word}"
            break
        if flag is None:
            error = f"flag provided but not defined: -{name}"
            break
        if not has_value:
            if flag.kind is BOOL:
                value = "true"
            elif position < len(words):
                value = words[position]
                position += 1
            else:
                error = f"flag needs an argument: -{name}"
                break
        try:
            _store(values, flag, value)
        except ValueError:
            error = f"invalid value for flag -{name}"
            break
        seen.add(name)
    return Parsed(Flags(values), list(words[position:]), error, _two_forms(flags, seen))


def _store(values: dict[str, Value], flag: Flag, text: str) -> None:
    name = flag.names[0]
    if flag.kind is LIST:
        collected = values[name]
        assert isinstance(collected, list)
        collected.append(text)
    else:
        values[name] = _read(flag.kind, text)


def _two_forms(flags: Sequence[Flag], seen: set[str]) -> str | None:
    for flag in flags:
        used = [name for name in flag.names if name in seen]
        if len(used) > 1:
            return f"Cannot use two forms of the same flag: {used[1]} {used[0]}"
    return None


def rearrange(words: Sequence[str]) -> list[str]:
    """The order in which the words after a command are parsed.

    From the first flag up to a `--` (or the end), then what stood before it, then the `--` and the
    rest. Without a flag before the `--` nothing moves.
    """
    words = list(words)
    end = words.index("--") if "--" in words else len(words)
    first = next((place for place in range(end) if is_flag(words[place])), None)
    if first is None:
        return words
    return words[first:end] + words[:first] + words[end:]
