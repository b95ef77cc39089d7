"""The command line tells what is wrong in one line, ends as it says, and leaves nothing behind."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from jepsen_like import __main__ as program
from jepsen_like import options
from jepsen_like.campaign.stages import run_stage
from jepsen_like.campaign.trial import Job, Trial
from tests.campaign.faults import FakeFault

PLACE: Final = "PLACE"  # stands for a directory of the test's own


def ends(words: list[str]) -> int:
    """How the command ends, argparse's own way out included."""
    try:
        return program.main(words)
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("run --minutes x", "'x' is not a number"),
        ("run --minutes nan", "'nan' is not finite"),
        ("run --minutes -1", "has to be more than 0"),
        ("run --fault pause-one", "did you mean 'pause one'"),
        ("run --out PLACE/file/result --fault kill-one", "no fault is called"),
        ("run --out PLACE/file --members 1 --mutant nix", "no mutant is called 'nix'"),
        ("run --out PLACE/file --members 1", "PLACE/file: File exists; say --out DIR"),
        ("sim --runs 0", "argument --runs: has to be more than 0"),
        ("sim --safety-ms 0", "argument --safety-ms: has to be more than 0"),
        ("sim --jobs two", "'two' is not a whole number"),
        ("replay --seed 1 --html PLACE/none/x.html", "there is no directory PLACE/none"),
        ("replay --seed 1 --until-ms -1", "must not be less than 0"),
        ("shrink --seed 1 -o PLACE", "PLACE is a directory"),
        ("replay PLACE/none", "PLACE/none: No such file or directory"),
        ("shrink PLACE/list -o PLACE/out", "PLACE/list is no scenario"),
        ("check PLACE/none", "PLACE/none: No such file or directory"),
        ("check PLACE/list", "PLACE/list, line 1: a line has to be a JSON object"),
        ("report PLACE/list", "PLACE/list is no campaign: not of format 1"),
        ("report PLACE/partial", "PLACE/partial is no campaign: it says nothing of 'stages'"),
        ("report PLACE/binary", "PLACE/binary is no campaign: 'utf-8' codec"),
        ("mutants --jobs 0", "has to be more than 0"),
        ("mutants --only nix", "no such mutant: 'nix'"),
        ("fuzz --most 0", "has to be more than 0"),
        ("control --fault nix", "no fault is called 'nix'"),
        ("control --seconds -1", "has to be more than 0"),
        ("story nix", "no story is called 'nix'"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    words: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "list").write_text("[1]\n")
    (tmp_path / "partial").write_text(json.dumps({"format": 1}))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    place = str(tmp_path)
    assert ends([word.replace(PLACE, place) for word in words.split()]) == options.WRONG_USE
    error = capsys.readouterr().err.rstrip("\n")
    assert says.replace(PLACE, place) in error.splitlines()[-1]
    assert "Traceback" not in error


def test_a_file_that_must_not_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(argparse.ArgumentTypeError, match="must not be written"):
        options.output(str(tmp_path / "page.html"))


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device"), 3, "No space left on device"),
        (ValueError("a mistake of the harness"), 3, "a mistake of the harness"),
    ],
)
def test_what_goes_wrong_on_the_way_is_no_broken_promise(
    error: BaseException,
    status: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise error

    monkeypatch.setattr(program, "main", fail)
    monkeypatch.setattr(program, "_write_nothing_more", lambda: None)
    assert program.guarded() == status
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_simulation_ends_with_all_its_processes(number: signal.Signals) -> None:
    """Ctrl-C reaches the whole group; SIGTERM only who it was sent to."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_SIM, "sim", "--jobs", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a seed is done\n"
        (os.killpg if number is signal.SIGINT else os.kill)(process.pid, number)
        _, error = process.communicate()
    assert (process.returncode, error) == (130, "python -m jepsen_like: interrupted\n")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# Says when the work has begun, instead of drawing a bar.
INTERRUPTED_SIM: Final = """
import sys
from jepsen_like import __main__ as program
from jepsen_like.sim import many
many.Total.show_progress = lambda *_: print("a seed is done", flush=True)
sys.exit(program.guarded())
"""


@pytest.mark.parametrize("ends_with", [None, ValueError("a member has died")])
def test_an_interruption_stays_one_whatever_else_it_breaks(ends_with: Exception | None) -> None:
    async def struck() -> None:
        signal.raise_signal(signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if ends_with is not None:
                raise ends_with from None

    with options.interruptible(), pytest.raises(KeyboardInterrupt):
        options.run_to_end(struck())


def test_without_an_interruption_errors_are_what_they_are() -> None:
    async def fails() -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        options.run_to_end(fails())


def test_an_interrupted_stage_leaves_nothing_behind(tmp_path: Path) -> None:
    def make(job: Job, directory: Path) -> Trial:
        (directory / "log").touch()
        raise KeyboardInterrupt

    job = Job(FakeFault("one"), 3, 1, 1.0)
    with pytest.raises(KeyboardInterrupt):
        run_stage(job, tmp_path / "stage", make=make)
    assert not (tmp_path / "stage").exists()
    with pytest.raises(KeyboardInterrupt):
        run_stage(job, tmp_path / "stage", keep=True, make=make)
    assert (tmp_path / "stage" / "log").exists()


def test_a_folder_stays_only_if_something_is_kept_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(KeyboardInterrupt), options.folder("x-") as place:
        raise KeyboardInterrupt
    assert not place.exists()
    with options.folder("x-") as place:
        (place / "log").touch()
    assert place.exists()
