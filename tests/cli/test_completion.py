"""Completion scripts: well-formed, complete, and bash completes as it should."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from kvraft_cli.table import COMMANDS, GLOBAL_FLAGS, OWN, Command
from tests.cli.conftest import kvraftctl

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    place = tmp_path / "completion.bash"
    place.write_text(kvraftctl("completion", "bash").out)
    return place


def complete(script: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    quoted = " ".join(f"'{word}'" for word in ("kvraftctl", *words))
    text = (
        f"source {script}; complete -p kvraftctl >/dev/null || exit 1; COMP_WORDS=({quoted}); "
        f'COMP_CWORD={len(words)}; _kvraftctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    ran = subprocess.run(
        ["bash", "-uc", text], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.split()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_flag_is_in_the_script(shell: str) -> None:
    ran = kvraftctl("completion", shell)
    assert (ran.code, ran.err) == (0, "")
    for entry in COMMANDS:
        assert entry.name in ran.out
        commands = (entry,) if isinstance(entry, Command) else entry.commands
        for flag in (flag for command in commands for flag in command.flags):
            assert flag.names[0] in ran.out
    for name in (*OWN, *(flag.names[0] for flag in GLOBAL_FLAGS)):
        assert name in ran.out
    for name in ("until-idle", "if-absent", "tolerance", "value-bytes"):
        assert name in ran.out


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_accepts_the_script(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    place = tmp_path / "script"
    place.write_text(kvraftctl("completion", shell).out)
    ran = subprocess.run(
        [shell, "-n", str(place)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")


def test_bash_completes_commands_flags_values_and_files(script: Path, tmp_path: Path) -> None:
    (tmp_path / "dump.json").touch()
    assert set(complete(script, "")) >= {"get", "set", "member", "help", *OWN}
    assert complete(script, "upd") == ["update", "updatedir"]
    assert complete(script, "--endpoints", "http://x", "upd") == ["update", "updatedir"]
    assert "--endpoints" in complete(script, "--e")
    assert complete(script, "--output", "") == ["simple", "extended", "json"]
    assert complete(script, "-o", "e") == ["extended"]
    assert complete(script, "member", "") == ["list", "add", "remove", "update"]
    assert complete(script, "role", "grant", "--rea") == ["--read", "--readwrite"]
    assert complete(script, "set", "k", "v", "--tt") == ["--ttl"]
    assert complete(script, "help", "exp") == ["export"]
    assert complete(script, "sync", "--once", "--ttl") == ["--ttl-poll"]
    assert complete(script, "import-json", "--ttl", "") == ["left", "restart", "drop"]
    assert complete(script, "import-json", f"{tmp_path}/d") == [f"{tmp_path}/dump.json"]
    assert complete(script, "export", "-o", "x", "--hid") == ["--hidden"]
    assert complete(script, "completion", "b") == ["bash"]


def test_a_link_of_another_name_is_completed_too() -> None:
    assert kvraftctl("completion", "bash", "--name", "etcdctl").out.endswith(
        "complete -F _etcdctl etcdctl\n"
    )


def test_an_unknown_shell_is_refused_with_the_known_ones() -> None:
    ran = kvraftctl("completion", "csh")
    assert (ran.code, ran.out) == (2, "")
    assert "argument shell: invalid choice: 'csh' (choose from 'bash', 'zsh', 'fish')" in ran.err


@pytest.mark.parametrize("name", ["a b;rm", "", "/bin/etcdctl", "$(x)", "é"])
def test_a_name_that_is_no_command_is_refused(name: str) -> None:
    ran = kvraftctl("completion", "bash", "--name", name)
    assert (ran.code, ran.out) == (2, "")
    assert f"argument --name: {name!r} has to be a command's name" in ran.err
