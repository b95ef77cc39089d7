"""Flags in Go's spelling, and the order in which words after a command are parsed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvraft_cli.flags import (
    BOOL,
    DURATION,
    INT,
    LIST,
    STRING,
    Flag,
    Parsed,
    parse,
    parse_bool,
    parse_duration,
    parse_int,
    rearrange,
)

FLAGS = (
    Flag(("ttl",), INT, "", "0"),
    Flag(("swap-with-value",), STRING, ""),
    Flag(("output", "o"), STRING, "", "simple"),
    Flag(("in-order",), BOOL, ""),
    Flag(("roles",), LIST, ""),
    Flag(("timeout",), DURATION, "", "1s"),
    Flag(("help", "h"), BOOL, ""),
)


def after_command(*words: str) -> Parsed:
    return parse(FLAGS, rearrange(words))


@pytest.mark.parametrize(
    ("words", "ttl", "swap", "arguments"),
    [
        ("k v --ttl 5 --swap-with-value x", 5, "x", "k v"),
        ("--ttl 5 k v", 5, "", "k v"),
        ("k --ttl 5 v", 5, "", "v k"),
        ("--swap-with-value x k v --ttl 5", 0, "x", "k v --ttl 5"),
        ("-- k -v", 0, "", "k -v"),
        ("k -- -v", 0, "", "k -- -v"),
        ("--ttl 5 -- k -v", 5, "", "k -v"),
        ("k --ttl 5 -- -v", 5, "", "k -- -v"),
        ("-ttl=5 k - v", 5, "", "k - v"),
        ("- v --ttl 5", 5, "", "- v"),
        ("--ttl 5 --ttl 7 k", 7, "", "k"),
        ("--swap-with-value= k", 0, "", "k"),
        ("--swap-with-value a=b k", 0, "a=b", "k"),
        ("--swap-with-value=a=b k", 0, "a=b", "k"),
        ("--swap-with-value --ttl k", 0, "--ttl", "k"),
        ("k v", 0, "", "k v"),
        ("", 0, "", ""),
    ],
)
def test_flags_and_arguments(words: str, ttl: int, swap: str, arguments: str) -> None:
    parsed = after_command(*words.split())
    assert parsed.error is None
    assert parsed.flags.number("ttl") == ttl
    assert parsed.flags.string("swap-with-value") == swap
    assert parsed.arguments == arguments.split()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("k -v", "flag provided but not defined: -v"),
        ("--bogus=1", "flag provided but not defined: -bogus"),
        ("---ttl 5", "bad flag syntax: ---ttl"),
        ("--=5", "bad flag syntax: --=5"),
        ("-=5", "bad flag syntax: -=5"),
        ("k --ttl", "invalid value for flag -ttl"),  # the key becomes the value
        ("--ttl", "flag needs an argument: -ttl"),
        ("--ttl soon", "invalid value for flag -ttl"),
        ("--ttl=", "invalid value for flag -ttl"),
        ("--in-order=maybe", "invalid value for flag -in-order"),
        ("--timeout 5", "invalid value for flag -timeout"),
    ],
)
def test_malformed_flags(words: str, error: str) -> None:
    assert after_command(*words.split()).error == error


def test_a_switch_takes_no_word_after_it() -> None:
    parsed = after_command("--in-order", "true", "k")
    assert parsed.flags.boolean("in-order")
    assert parsed.arguments == ["true", "k"]
    assert not after_command("--in-order=false").flags.boolean("in-order")


def test_a_list_collects_and_splits_nothing() -> None:
    parsed = after_command("--roles", "a,b", "-roles=c", "u")
    assert parsed.flags.strings("roles") == ["a,b", "c"]
    assert after_command("u").flags.strings("roles") == []


def test_two_names_of_one_flag() -> None:
    parsed = parse(FLAGS, ["-o", "json", "--output", "simple"])
    assert parsed.two_forms == "Cannot use two forms of the same flag: o output"
    assert parse(FLAGS, ["-o", "json", "-o", "simple"]).two_forms is None
    # what was read before a mistake counts, the mistake itself does not
    assert parse(FLAGS, ["-o=json", "--output=x", "--bogus"]).two_forms is not None
    assert parse(FLAGS, ["--help", "-h=x"]).two_forms is None


def test_defaults() -> None:
    flags = parse(FLAGS, []).flags
    assert flags.string("output") == "simple"
    assert flags.seconds("timeout") == 1.0
    assert not flags.boolean("help")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0x1f", 31),
        ("0X1F", 31),
        ("017", 15),
        ("-5", -5),
        ("+5", 5),
        ("0", 0),
        ("-0", 0),
        ("00", 0),
        ("-0x10", -16),
        ("9223372036854775807", (1 << 63) - 1),
        ("-9223372036854775808", -(1 << 63)),
    ],
)
def test_integers(text: str, value: int) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "soon",
        "1.5",
        "08",
        "0x",
        "1 ",
        " 1",
        "0xg",
        "9223372036854775808",
        "--5",
        "٣",
        "1\n",
    ],
)
def test_what_is_no_integer(text: str) -> None:
    with pytest.raises(ValueError, match="no integer"):
        parse_int(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300ms", 0.3),
        ("1.5s", 1.5),
        ("1m5s", 65.0),
        ("2h", 7200.0),
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("-1s", -1.0),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("100ns", 1e-7),
        ("1h0.5m", 3630.0),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", ".s", "1", "1.5", "1 s", "1d", "00", "--0", "1s ", "s1", "9999999h", "1s\n"],
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        parse_duration(text)


def test_booleans() -> None:
    assert [parse_bool(word) for word in "1 t T true TRUE True".split()] == [True] * 6
    assert [parse_bool(word) for word in "0 f F false FALSE False".split()] == [False] * 6
    for word in ("", "yes", "tRUE", "2"):
        with pytest.raises(ValueError, match="no boolean"):
            parse_bool(word)


WORDS = st.lists(
    st.sampled_from(["k", "v", "-", "--", "-x", "--ttl", "5", "--ttl=5", ""]), max_size=8
)


@given(WORDS)
@example(["k", "-x", "v", "--", "-x", "--"])
def test_rearranging_is_a_stable_sort(words: list[str]) -> None:
    """The rule said differently: three kinds of place, each keeping its inner order."""
    flag_seen = False
    end_seen = False
    kinds = []
    for word in words:
        end_seen = end_seen or word == "--"
        flag_seen = flag_seen or (not end_seen and word.startswith("-") and word != "-")
        kinds.append(2 if end_seen else 0 if flag_seen else 1)
    expected = [
        word for _, word in sorted(zip(kinds, words, strict=True), key=lambda pair: pair[0])
    ]
    assert rearrange(words) == (expected if 0 in kinds else words)


VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
SETTINGS = st.lists(
    st.one_of(
        st.tuples(st.just("ttl"), st.integers(-9, 99).map(str)),
        st.tuples(st.just("swap-with-value"), VALUES),
        st.tuples(st.sampled_from(["output"]), VALUES),
        st.tuples(st.just("in-order"), st.sampled_from(["true", "false"])),
        st.tuples(st.just("roles"), VALUES),
    ),
    max_size=6,
)
SPELLINGS = st.randoms(use_true_random=False)
ARGUMENTS = st.lists(
    VALUES.filter(lambda word: not word.startswith("-") or word == "-"), max_size=3
)


@given(SETTINGS, ARGUMENTS, SPELLINGS, st.booleans())
def test_every_spelling_says_the_same(
    settings: list[tuple[str, str]], arguments: list[str], rng: object, behind: bool
) -> None:
    """Flags in front of all arguments or behind all of them mean the same, however written."""
    import random

    assert isinstance(rng, random.Random)
    words = []
    for name, value in settings:
        dash = rng.choice(["-", "--"])
        if name == "in-order" or rng.random() < 0.5:
            words.append(f"{dash}{name}={value}")
        else:
            words += [dash + name, value]
    line = [*arguments, *words] if behind else [*words, *arguments]
    parsed = after_command(*line) if "--" not in line else parse(FLAGS, [*words, *arguments])
    assert parsed.error is None
    assert parsed.arguments == arguments
    last = dict(settings)
    assert parsed.flags.number("ttl") == int(last.get("ttl", "0"))
    assert parsed.flags.string("swap-with-value") == last.get("swap-with-value", "")
    assert parsed.flags.string("output") == last.get("output", "simple")
    assert parsed.flags.boolean("in-order") == (last.get("in-order") == "true")
    assert parsed.flags.strings("roles") == [v for name, v in settings if name == "roles"]


@given(st.lists(st.text(max_size=6), max_size=6))
def test_nothing_makes_it_stumble(words: list[str]) -> None:
    parsed = after_command(*words)
    assert len(parsed.arguments) <= len(words)
