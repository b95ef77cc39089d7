"""kvraft/server/flags.py and quoting.py: Go's rules for command lines and variables."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.server import flags
from kvraft.server.flags import Flag, FlagSet, FlagSyntaxError, FlagValueError, HelpWanted
from kvraft.server.logs import LogLine
from kvraft.server.quoting import quote


def _flag_set() -> FlagSet:
    return FlagSet(
        [
            Flag("name", flags.read_text, "default"),
            Flag("max-wals", flags.read_unsigned, 5),
            Flag("debug", flags.read_boolean, False, boolean=True),
            Flag("urls", flags.read_urls, ()),
            Flag("v", flags.read_text, "", boolean=True, ignored=True),
            Flag("peers", flags.refuse("peers"), ""),
        ]
    )


@pytest.mark.parametrize("argv", [["-name", "x"], ["--name", "x"], ["-name=x"], ["--name=x"]])
def test_all_spellings_of_a_flag(argv: list[str]) -> None:
    found = _flag_set()
    assert found.parse(argv) == []
    assert found.text("name") == "x"
    assert found.given == {"name"}


def test_defaults() -> None:
    found = _flag_set()
    assert found.parse([]) == []
    assert (found.text("name"), found.number("max-wals")) == ("default", 5)
    assert (found.truth("debug"), found.items("urls")) == (False, ())
    assert found.given == set()


def test_the_last_of_a_repeated_flag_wins() -> None:
    found = _flag_set()
    found.parse(["--name", "x", "--name", "y"])
    assert found.text("name") == "y"


def test_a_value_may_look_like_a_flag_and_hold_equal_signs() -> None:
    found = _flag_set()
    assert found.parse(["--name", "--debug"]) == []
    assert found.text("name") == "--debug"
    assert not found.truth("debug")
    found.parse(["--name=a=b=c"])
    assert found.text("name") == "a=b=c"
    found.parse(["--name="])
    assert found.text("name") == ""


@pytest.mark.parametrize(
    ("argv", "left"),
    [
        (["foo", "--debug"], ["foo", "--debug"]),
        (["--name", "x", "foo"], ["foo"]),
        (["--debug", "false"], ["false"]),
        (["-"], ["-"]),
        ([""], [""]),
        (["--", "--debug"], ["--debug"]),
        (["--"], []),
    ],
)
def test_reading_stops_at_a_plain_word(argv: list[str], left: list[str]) -> None:
    assert _flag_set().parse(argv) == left


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["--nope"], "flag provided but not defined: -nope"),
        (["--nope=1"], "flag provided but not defined: -nope"),
        (["--name"], "flag needs an argument: -name"),
        (["---x"], "bad flag syntax: ---x"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-=x"], "bad flag syntax: -=x"),
        (["--max-wals", "x"], 'invalid value "x" for flag -max-wals: parse error'),
        (["--max-wals", "-1"], 'invalid value "-1" for flag -max-wals: parse error'),
        (["--max-wals="], 'invalid value "" for flag -max-wals: parse error'),
        (["--max-wals", '"'], 'invalid value "\\"" for flag -max-wals: parse error'),
        (["--debug=maybe"], 'invalid boolean value "maybe" for -debug: parse error'),
        (["--debug="], 'invalid boolean value "" for -debug: parse error'),
        (
            ["--peers", "x"],
            'invalid value "x" for flag -peers: flag "-peers" is no longer supported.',
        ),
    ],
)
def test_syntax_errors(argv: list[str], error: str) -> None:
    with pytest.raises(FlagSyntaxError) as caught:
        _flag_set().parse(argv)
    assert str(caught.value) == error


@pytest.mark.parametrize("word", ["-h", "--h", "-help", "--help", "--help=x"])
def test_help(word: str) -> None:
    with pytest.raises(HelpWanted):
        _flag_set().parse(["--debug", word, "--nope"])


def test_an_ignored_flag_is_reported_and_takes_no_value() -> None:
    found = _flag_set()
    assert found.parse(["-v", "1"]) == ["1"]
    assert found.lines == [
        LogLine(logging.WARNING, "flags", 'flag "-v" is no longer supported - ignoring.')
    ]


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_true(text: str) -> None:
    assert flags.read_boolean(text) is True


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False"])
def test_false(text: str) -> None:
    assert flags.read_boolean(text) is False


@pytest.mark.parametrize("text", ["", "yes", "tRUE", " true", "2"])
def test_not_a_boolean(text: str) -> None:
    with pytest.raises(FlagValueError):
        flags.read_boolean(text)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("00", 0),
        ("17", 17),
        ("0x1F", 31),
        ("0XfF", 255),
        ("017", 15),
        ("0o17", 15),
        ("0O17", 15),
        ("0b101", 5),
        ("1_000", 1000),
        ("0x_f", 15),
        ("0_7", 7),
        ("18446744073709551615", 2**64 - 1),
    ],
)
def test_unsigned(text: str, number: int) -> None:
    assert flags.read_unsigned(text) == number


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", " 1", "1 ", "08", "0x", "0xg", "1__0", "_1", "1_", "1.0", "1e3", "١"]
)
def test_not_unsigned(text: str) -> None:
    with pytest.raises(FlagValueError, match="^parse error$"):
        flags.read_unsigned(text)


def test_more_than_64_bits() -> None:
    with pytest.raises(FlagValueError, match="^value out of range$"):
        flags.read_unsigned(str(2**64))


@given(st.integers(0, 2**64 - 1))
def test_numbers_in_every_base(number: int) -> None:
    for text in (str(number), hex(number), oct(number), bin(number), f"{number:_}"):
        assert flags.read_unsigned(text) == number


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("foo:1", "bad IP in address specification"),
        (":1", "bad IP in address specification"),
        ("127.0.0.1", "address 127.0.0.1: missing port in address"),
        ("127.0.0.1:x", "bad port in address specification"),
    ],
)
def test_bad_ip_and_port(text: str, error: str) -> None:
    with pytest.raises(FlagValueError) as caught:
        flags.read_ip_port(text)
    assert str(caught.value) == error


@pytest.mark.parametrize("text", ["127.0.0.1:1", "[::1]:7001"])
def test_ip_and_port(text: str) -> None:
    assert flags.read_ip_port(f" {text} ") == text


def test_lists() -> None:
    assert flags.read_words(" a, ,b,a ") == ("a", "b")
    assert flags.read_words("") == ()
    assert flags.read_origins("*,http://a.example") == ("*", "http://a.example")
    assert flags.read_urls("http://b:1, http://a:1") == ("http://a:1", "http://b:1")


def _variables(argv: list[str], environ: dict[str, str]) -> tuple[FlagSet, list[str]]:
    found = _flag_set()
    found.parse(argv)
    found.read_environment(environ, "ETCD")
    letters = {logging.INFO: "I", logging.WARNING: "W"}
    assert {line.package for line in found.lines} <= {"flags"}
    return found, [f"{letters[line.level]} {line.text}" for line in found.lines]


def test_a_variable_fills_a_flag() -> None:
    found, lines = _variables([], {"HOME": "/", "ETCD_MAX_WALS": "7", "ETCD_DEBUG": "true"})
    assert (found.number("max-wals"), found.truth("debug")) == (7, True)
    assert found.given == {"max-wals", "debug"}
    assert lines == [
        "I recognized and used environment variable ETCD_DEBUG=true",
        "I recognized and used environment variable ETCD_MAX_WALS=7",
    ]


def test_a_flag_beats_its_variable() -> None:
    found, lines = _variables(["--name", "x"], {"ETCD_NAME": "y"})
    assert found.text("name") == "x"
    assert lines == [
        "I recognized environment variable ETCD_NAME, but unused: shadowed by corresponding flag "
    ]


def test_unknown_and_empty_variables() -> None:
    found, lines = _variables([], {"ETCD_FOO": "1", "ETCD_NAME": "", "ETCDCTL_API": "2"})
    assert found.text("name") == "default"
    assert lines == [
        "W unrecognized environment variable ETCD_FOO=1",
        "W unrecognized environment variable ETCD_NAME=",
    ]


def test_a_bad_variable_is_reported_after_all_are_read() -> None:
    found = _flag_set()
    with pytest.raises(FlagValueError) as caught:
        found.read_environment({"ETCD_MAX_WALS": "x", "ETCD_NAME": "n"}, "ETCD")
    assert str(caught.value) == 'invalid value "x" for ETCD_MAX_WALS: parse error'
    assert [line.text for line in found.lines] == [
        "recognized and used environment variable ETCD_MAX_WALS=x",
        "recognized and used environment variable ETCD_NAME=n",
    ]


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", '""'),
        ("abc é", '"abc é"'),
        ('a"b\\', r'"a\"b\\"'),
        ("\a\b\f\n\r\t\v", r'"\a\b\f\n\r\t\v"'),
        ("\x00\x1b\x7f", r'"\x00\x1b\x7f"'),
        ("\udcff", r'"\xff"'),
        ("\u200b\U000e0001", r'"\u200b\U000e0001"'),
    ],
)
def test_quote(text: str, quoted: str) -> None:
    assert quote(text) == quoted
