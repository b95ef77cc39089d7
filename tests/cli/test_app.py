"""Which command a line means, help, and usage errors: without a server, since none is asked."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence

import pytest

from kvraft_cli import app, table
from kvraft_cli.context import Context
from kvraft_cli.flags import Flag, Flags, parse
from kvraft_cli.helptext import aligned, application_help, command_help, flag_label, group_help
from kvraft_cli.main import run
from kvraft_cli.table import AUTH, COMMANDS, GLOBAL_FLAGS, PROGRAM, Command, Group

APPLICATION = application_help(COMMANDS)


def stream(data: bytes = b"") -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BytesIO(data), encoding="utf-8", errors="surrogateescape", newline=""
    )


def written(text: io.TextIOWrapper) -> str:
    text.flush()
    text.seek(0)
    return text.read()


def said(*words: str) -> str:
    """What a line that sends nothing prints; exit code 0 and nothing on stderr."""
    stdout, stderr = stream(), stream()
    assert run(words, stream(), stdout, stderr) == 0
    assert written(stderr) == ""
    return written(stdout)


def find(name: str) -> Command | Group:
    return next(command for command in COMMANDS if command.name == name)


def help_of(name: str) -> str:
    command = find(name)
    assert isinstance(command, Command)
    return command_help(command)


@pytest.mark.parametrize(
    "line", ["", "help", "h", "--help", "-h", "--help get", "help --help=0", "--"]
)
def test_application_help(line: str) -> None:
    assert said(*line.split()) == APPLICATION


def test_the_layout_of_the_application_help() -> None:
    lines = APPLICATION.splitlines()
    assert lines[4:7] == [
        f"   {PROGRAM} [global options] command [command options] [arguments...]",
        "   ",
        "VERSION:",
    ]
    names = [line.strip().split("\t")[0] for line in lines]
    commands = names[names.index("COMMANDS:") + 1 : names.index("GLOBAL OPTIONS:")]
    assert commands == [
        *"backup cluster-health mk mkdir rm rmdir get ls set setdir update updatedir".split(),
        *"watch exec-watch member import user role auth".split(),
        "help, h",
        "",
    ]
    assert [
        line.split(" ")[0].strip(",") for line in names[names.index("GLOBAL OPTIONS:") + 1 :]
    ] == [
        *"--debug --no-sync --output --discovery-srv --peers --endpoint --endpoints".split(),
        *"--cert-file --key-file --ca-file --username --timeout --total-timeout".split(),
        *("--help", "--version", ""),
    ]
    assert '--output, -o "simple"' in APPLICATION
    assert "--discovery-srv, -D \t" in APPLICATION
    assert '--timeout "1s"\t' in APPLICATION
    assert '--total-timeout "5s"\t' in APPLICATION
    assert APPLICATION.endswith("\n   \n")


def test_columns() -> None:
    assert aligned([("a", "x"), ("bcdef", "y")]) == "   a\t\tx\n   bcdef\ty\n"
    assert aligned([("abcd", "x")]) == "   abcd\tx\n"
    assert aligned([("abcde", "x"), ("a", "y")]) == "   abcde\tx\n   a\t\ty\n"


def test_labels() -> None:
    def label(*names: str, kind: str, default: str = "") -> str:
        return flag_label(Flag(names, kind, "", default))

    assert label("ttl", kind="int", default="0") == '--ttl "0"'
    assert label("c", kind="int", default="10") == '-c "10"'
    assert label("p", kind="bool") == "-p"
    assert label("help", "h", kind="bool") == "--help, -h"
    assert label("data-dir", kind="string") == "--data-dir "
    assert label("peers", "C", kind="string") == "--peers, -C "
    assert label("hidden", kind="list") == "--hidden [--hidden option --hidden option]"


@pytest.mark.parametrize(
    "line", ["--version", "-v", "--version get /x", "-v bogus", "-version=true"]
)
def test_version(line: str) -> None:
    assert said(*line.split()) == "etcdctl version 2.3.8\n"


@pytest.mark.parametrize(
    "line", ["--bogus", "--output", "-o", "--timeout 5", "--no-sync=x", "--debug --x get /a", "-=5"]
)
def test_global_mistakes(line: str) -> None:
    assert said(*line.split()) == f"Incorrect Usage.\n\n{APPLICATION}"


def test_two_forms() -> None:
    text = "Cannot use two forms of the same flag: o output\n"
    assert said("-o", "json", "--output", "simple", "get", "/x") == text + APPLICATION
    text = "Cannot use two forms of the same flag: h help\n"
    assert said("get", "-h", "--help") == f"{text}\n{help_of('get')}"
    assert said("auth", "-h", "--help") == f"{text}\n{group_help(AUTH)}"


@pytest.mark.parametrize("line", ["get --bogus /k", "get /k --debug", "get -o json /k", "get ---x"])
def test_mistakes_behind_a_command(line: str) -> None:
    assert said(*line.split()) == f"Incorrect Usage.\n\n{help_of('get')}"


@pytest.mark.parametrize(
    "line", ["help get", "h get", "get -h", "get --help", "get /x -h", "--debug help get"]
)
def test_command_help(line: str) -> None:
    assert said(*line.split()) == (
        f"NAME:\n   {PROGRAM} get - print the value of a key\n\n"
        f"USAGE:\n   {PROGRAM} get [command options] <key>\n\n"
        "OPTIONS:\n   --sort\tprint in order of the names\n"
        "   --quorum\tread what a majority agrees on\n   \n"
    )


def test_help_can_be_declined() -> None:
    with pytest.raises(AssertionError, match="not here"):
        app.run(["get", "--help=false", "/x"], no_context)


def no_context(options: Flags) -> Context:
    raise AssertionError("not here")


@pytest.mark.parametrize(
    "line", ["bogus", "put k v", "version", "help bogus", "h bogus", "GET /x", "lock"]
)
def test_unknown_commands(line: str) -> None:
    name = line.split()[-1] if line.split()[0] in ("help", "h") else line.split()[0]
    assert said(*line.split()) == f"No help topic for '{name}'\n"


def test_an_empty_command_shows_everything() -> None:
    text = said("")
    assert text.startswith(f"NAME:\n   {PROGRAM} - ")
    assert f"USAGE:\n   {PROGRAM} command [command options] [arguments...]\n\nCOMMANDS:\n" in text
    assert "\nOPTIONS:\n   --debug\t" in text
    assert said("help", "") == text


@pytest.mark.parametrize(
    "line", ["auth", "auth -h", "auth --help", "auth help", "auth h", "auth -h enable"]
)
def test_group_help(line: str) -> None:
    assert said(*line.split()) == (
        f"NAME:\n   {PROGRAM} auth - switch authentication on and off\n\n"
        f"USAGE:\n   {PROGRAM} auth command [command options] [arguments...]\n\n"
        "COMMANDS:\n   enable\tswitch authentication on\n   disable\tswitch authentication off\n"
        "   help, h\tlist the commands, or show the help of one\n   \n"
        "OPTIONS:\n   --help, -h\tshow help\n   \n"
    )


@pytest.mark.parametrize(
    "line", ["auth enable -h", "auth help enable", "auth h enable", "auth enable --help"]
)
def test_subcommand_help(line: str) -> None:
    assert said(*line.split()) == (
        f"NAME:\n   {PROGRAM} auth enable - switch authentication on\n\n"
        f"USAGE:\n   {PROGRAM} auth enable  \n"
    )


def test_mistakes_in_groups() -> None:
    assert said("auth", "bogus") == "No help topic for 'bogus'\n"
    assert said("auth", "help", "bogus") == "No help topic for 'bogus'\n"
    assert said("auth", "--bogus", "enable") == f"Incorrect Usage.\n\n{group_help(AUTH)}"
    enable = said("auth", "enable", "-h")
    assert said("auth", "enable", "--bogus") == f"Incorrect Usage.\n\n{enable}"


def test_help_for_a_group_is_a_stub() -> None:
    assert said("help", "auth") == (
        f"NAME:\n   {PROGRAM} auth - switch authentication on and off\n\n"
        f"USAGE:\n   {PROGRAM} auth [arguments...]\n"
    )


@pytest.mark.parametrize("line", ["help help", "help h", "help -h", "h --help"])
def test_help_for_help(line: str) -> None:
    assert said(*line.split()).endswith(f"USAGE:\n   {PROGRAM} help [command]\n")


def commands() -> list[tuple[Group | None, Command]]:
    found: list[tuple[Group | None, Command]] = []
    for one in COMMANDS:
        if isinstance(one, Group):
            found += [(one, command) for command in one.commands]
        else:
            found.append((None, one))
    return found


@pytest.mark.parametrize(("group", "command"), commands(), ids=lambda one: one and one.name)
def test_every_command_has_its_function_and_help(group: Group | None, command: Command) -> None:
    assert callable(app._load(f"kvraft_cli.commands.{command.run}"))
    words = [group.name, command.name] if group else [command.name]
    assert said(*words, "-h") == command_help(command, group)
    assert parse(command.flags, []).error is None


def test_own_commands_exist_and_are_not_in_the_help() -> None:
    for name, place in table.OWN.items():
        assert callable(app._load(place))
        assert f"   {name}\t" not in APPLICATION
        assert name not in {command.name for command in COMMANDS}


def test_what_a_command_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, int, Sequence[str]]] = []

    def fake(context: Context, flags: Flags, arguments: list[str]) -> int:
        seen.append((context.output, flags.number("ttl"), arguments))
        return 3

    monkeypatch.setattr("kvraft_cli.commands.keys.set_", fake)

    def make(options: Flags) -> Context:
        return Context(options, {}, stream(), stream(), stream())

    assert app.run(["-o", "json", "set", "k", "--ttl", "5", "v"], make) == 3
    assert seen == [("json", 5, ["v", "k"])]


def test_own_commands_get_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def fake(context: Context, words: list[str]) -> int:
        seen.append(words)
        return 2

    monkeypatch.setitem(table.OWN, "own", "kvraft_cli.commands.keys:fake")
    monkeypatch.setattr("kvraft_cli.commands.keys.fake", fake, raising=False)

    def make(options: Flags) -> Context:
        return Context(options, {}, stream(), stream(), stream())

    assert app.run(["--debug", "own", "--x", "--", "-h"], make) == 2
    with pytest.raises(SystemExit) as caught:
        app.run(["help", "own"], make)
    assert caught.value.code == 2
    assert seen == [["--x", "--", "-h"], ["--help"]]


def test_tls_files_each_from_its_flag_or_its_variable() -> None:
    options = parse(GLOBAL_FLAGS, ["--cert-file", "c", "--key-file="]).flags
    environ = {f"ETCDCTL_{name}_FILE": name for name in ("CERT", "KEY", "CA")}
    assert Context(options, environ, stream(), stream(), stream()).tls_files() == ("CA", "c", "KEY")


@pytest.mark.parametrize(
    ("name", "credentials", "prompted"),
    [("", None, ""), ("al:pw", "al:pw", ""), ("al:", "al:", ""), ("al", "al:p w", "Password: \n")],
)
def test_credentials(name: str, credentials: str | None, prompted: str) -> None:
    options = parse(GLOBAL_FLAGS, ["-u", name]).flags
    stdin, stdout = stream(b" p w \nrest"), stream()
    context = Context(options, os.environ, stdin, stdout, stream())
    assert context.credentials() == credentials
    assert written(stdout) == prompted
    assert stdin.read() == ("rest" if prompted else " p w \nrest")
