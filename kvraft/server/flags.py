"""Command lines and environment variables by the rules of Go's `flag` package.

`-name x`, `--name x`, `-name=x` and `--name=x` are the same; a boolean takes a value only behind
`=`; reading stops at the first plain word; the last of a repeated flag wins. A variable fills
a flag that the command line left out. The texts of the errors are Go's, since scripts match
them. Knows nothing of what the flags mean: see `options.py` for the table, `config.py` for
the meaning.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from kvraft.server.logs import LogLine
from kvraft.server.quoting import quote
from kvraft.server.urls import UrlError, check_url, parse_urls, split_host_port

Value = str | int | bool | tuple[str, ...] | None

_UNSIGNED: Final = re.compile(
    r"(?P<hex>0[xX](?:_?[0-9a-fA-F])+)|(?P<bin>0[bB](?:_?[01])+)"
    r"|(?P<oct>0[oO]?(?:_?[0-7])+)|(?P<dec>0|[1-9](?:_?[0-9])*)"
)
_BASES: Final = {"hex": 16, "bin": 2, "oct": 8, "dec": 10}
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))


class FlagSyntaxError(Exception):
    """The command line cannot be read; the text is the line to print."""


class HelpWanted(Exception):
    """`-h` or `--help` was found."""


class FlagValueError(ValueError):
    """A value does not suit its flag; the text is the reason alone."""


class Flag(NamedTuple):
    """One flag: how its text is read and what it is when nobody gives it."""

    name: str
    read: Callable[[str], Value]
    default: Value
    boolean: bool = False
    ignored: bool = False


class FlagSet:
    """The flags of one program and the values they have got so far."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self._flags = {flag.name: flag for flag in flags}
        self._values: dict[str, Value] = {flag.name: flag.default for flag in self._flags.values()}
        self.given: set[str] = set()
        self.lines: list[LogLine] = []

    def names(self) -> list[str]:
        """All flags, sorted."""
        return sorted(self._flags)

    def parse(self, argv: Sequence[str]) -> list[str]:
        """Take the flags from a command line; returns what is left behind them."""
        words = deque(argv)
        while words and len(words[0]) > 1 and words[0].startswith("-"):
            word = words.popleft()
            if word == "--":
                break
            self._parse_one(word, words)
        return list(words)

    def set(self, name: str, text: str) -> None:
        """Give a flag its value; raises `FlagValueError`."""
        flag = self._flags[name]
        if flag.ignored:
            notice = f'flag "-{name}" is no longer supported - ignoring.'
            self.lines.append(LogLine(logging.WARNING, "flags", notice))
        else:
            self._values[name] = flag.read(text)
        self.given.add(name)

    def text(self, name: str) -> str:
        """The value of a flag that holds text."""
        value = self._values[name]
        assert isinstance(value, str)
        return value

    def number(self, name: str) -> int:
        """The value of a flag that holds a number."""
        value = self._values[name]
        assert isinstance(value, int)
        return value

    def truth(self, name: str) -> bool:
        """The value of a boolean flag."""
        value = self._values[name]
        assert isinstance(value, bool)
        return value

    def items(self, name: str) -> tuple[str, ...]:
        """The value of a flag that holds a list."""
        value = self._values[name]
        assert isinstance(value, tuple)
        return value

    def read_environment(self, environ: Mapping[str, str], prefix: str) -> None:
        """Fill flags from variables named `<prefix>_<FLAG>`; empty ones count as unset.

        Raises `FlagValueError` for the first value that does not suit, after all have been read.
        """
        by_variable = {self._variable(prefix, name): name for name in sorted(self._flags)}
        shadowed = {variable for variable, name in by_variable.items() if name in self.given}
        used: set[str] = set()
        first_error: FlagValueError | None = None
        for variable, name in by_variable.items():
            text = environ.get(variable, "")
            if not text or variable in shadowed:
                continue
            used.add(variable)
            self._note(f"recognized and used environment variable {variable}={text}")
            try:
                self.set(name, text)
            except FlagValueError as error:
                reason = f"invalid value {quote(text)} for {variable}: {error}"
                first_error = first_error or FlagValueError(reason)
        for variable, text in environ.items():
            if variable in shadowed:
                self._note(
                    f"recognized environment variable {variable}, "
                    "but unused: shadowed by corresponding flag "
                )
            elif variable not in used and variable.startswith(prefix + "_"):
                self._note(f"unrecognized environment variable {variable}={text}", logging.WARNING)
        if first_error:
            raise first_error

    def _parse_one(self, word: str, words: deque[str]) -> None:
        text = word[2:] if word.startswith("--") else word[1:]
        if not text or text[0] in "-=":
            raise FlagSyntaxError(f"bad flag syntax: {word}")
        name, equals, value = text.partition("=")
        flag = self._flags.get(name)
        if flag is None:
            if name in ("h", "help"):
                raise HelpWanted
            raise FlagSyntaxError(f"flag provided but not defined: -{name}")
        if not equals:
            if flag.boolean:
                value = "true"
            elif words:
                value = words.popleft()
            else:
                raise FlagSyntaxError(f"flag needs an argument: -{name}")
        try:
            self.set(name, value)
        except FlagValueError as error:
            which = (
                f"boolean value {quote(value)} for"
                if flag.boolean
                else (f"value {quote(value)} for flag")
            )
            raise FlagSyntaxError(f"invalid {which} -{name}: {error}") from None

    def _note(self, text: str, level: int = logging.INFO) -> None:
        self.lines.append(LogLine(level, "flags", text))

    @staticmethod
    def _variable(prefix: str, name: str) -> str:
        return f"{prefix}_{name.upper().replace('-', '_')}"


# --- how the text of a value is read ---------------------------------------------------


def read_text(text: str) -> str:
    """Anything."""
    return text


def read_boolean(text: str) -> bool:
    """The twelve spellings of true and false that Go knows."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise FlagValueError("parse error")


def read_unsigned(text: str) -> int:
    """An unsigned number of 64 bits in the syntax of Go's integer literals."""
    found = _UNSIGNED.fullmatch(text)
    if found is None:
        raise FlagValueError("parse error")
    kind = found.lastgroup
    assert kind is not None
    digits = text.replace("_", "")
    if kind == "oct":
        digits = digits.lstrip("0oO") or "0"
    number = int(digits, _BASES[kind])
    if number >> 64:
        raise FlagValueError("value out of range")
    return number


def read_urls(text: str) -> tuple[str, ...]:
    """Comma separated URLs, sorted."""
    try:
        return parse_urls(text.split(","))
    except UrlError as error:
        raise FlagValueError(str(error)) from None


def read_choice(*choices: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            raise FlagValueError("invalid value")
        return text

    return read


def read_words(text: str) -> tuple[str, ...]:
    """Comma separated words, each once, in the order given."""
    words = (word.strip() for word in text.split(","))
    return tuple(dict.fromkeys(word for word in words if word))


def read_origins(text: str) -> tuple[str, ...]:
    """Comma separated CORS origins; `*` stands for all of them."""
    origins = read_words(text)
    for origin in origins:
        try:
            check_url(origin)
        except UrlError as error:
            raise FlagValueError(f"Invalid CORS origin: {error}") from None
    return origins


def read_ip_port(text: str) -> str:
    """An IP address and a port, as the flags of etcd 0.4 took them."""
    try:
        host, port = split_host_port(text.strip())
    except UrlError as error:
        raise FlagValueError(str(error)) from None
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise FlagValueError("bad IP in address specification") from None
    if not re.fullmatch(r"[+-]?[0-9]+", port):
        raise FlagValueError("bad port in address specification")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def refuse(name: str) -> Callable[[str], str]:
    """For a flag that is known only to be gone."""

    def read(_text: str) -> str:
        raise FlagValueError(f'flag "-{name}" is no longer supported.')

    return read
