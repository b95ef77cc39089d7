"""The runner notices what it has to notice, and can mend a page by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs import runner
from tests.docs.playground import Playground
from tests.docs.ports import Ports

# None of these pages asks for a member.
HEAD = "<!-- page: own servers -->\n\n"


def run(folder: Path, text: str, *, renew: bool = False) -> tuple[runner.Report, str]:
    path = folder / "page.md"
    path.write_text(HEAD + text)
    with Playground() as playground:
        report = runner.run_page(path, playground, renew=renew)
    return report, path.read_text().removeprefix(HEAD)


@pytest.fixture(autouse=True)
def _pages_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "PAGES_ROOT", tmp_path)


def test_variables_and_folders_last_for_the_page(tmp_path: Path) -> None:
    text = (
        "```console\n$ x=1; mkdir d; cd d\n```\n\n```console\n$ echo $x; basename $PWD\n1\nd\n```\n"
    )
    report, _ = run(tmp_path, text)
    assert (report.ran, report.wrong) == (2, [])


def test_wrong_output_is_reported_with_its_line(tmp_path: Path) -> None:
    report, text = run(tmp_path, "```console\n$ echo one\ntwo\n```\n")
    (wrong,) = report.wrong
    assert wrong.startswith("page.md:4: $ echo one")
    assert "two" in text


def test_output_can_be_renewed(tmp_path: Path) -> None:
    old = "```console\n$ echo one\ntwo\nthree\n$ echo 2\n```\nend\n"
    report, text = run(tmp_path, old, renew=True)
    assert len(report.wrong) == 2
    assert text == "```console\n$ echo one\none\n$ echo 2\n2\n```\nend\n"


def test_what_a_program_prints_has_to_be_shown(tmp_path: Path) -> None:
    report, text = run(tmp_path, "```python\nprint(1)\n```\n", renew=True)
    assert "does not show" in report.wrong[0]
    again, _ = run(tmp_path, text)
    assert again.wrong == []


def test_programs_may_await_and_share_their_names(tmp_path: Path) -> None:
    text = (
        "```python\nimport asyncio\nx = await asyncio.sleep(0, 7)\n```\n\n"
        "```python\nprint(x)\n```\n\n```text\n7\n```\n"
    )
    report, _ = run(tmp_path, text)
    assert report.wrong == []


def test_an_exception_is_wrong_unless_it_is_meant(tmp_path: Path) -> None:
    report, _ = run(
        tmp_path, "```python\n1 / 0\n```\n\n<!-- fails: KeyError -->\n```python\n{}[1]\n```\n"
    )
    (wrong,) = report.wrong
    assert "ZeroDivisionError" in wrong
    assert '"page.md", line 4' in wrong


def test_files_are_there_for_later_blocks(tmp_path: Path) -> None:
    text = "<!-- file: a/b.txt -->\n```text\nhello\n```\n\n```console\n$ cat a/b.txt\nhello\n```\n"
    report, _ = run(tmp_path, text)
    assert (report.ran, report.wrong) == (2, [])


def test_another_terminal_prints_while_the_page_goes_on(tmp_path: Path) -> None:
    text = (
        "```console\n$ mkfifo pipe\n```\n\n"
        "<!-- another terminal: does not watch -->\n```console\n$ cat pipe\nhello\n```\n\n"
        "```console\n$ echo hello > pipe\n```\n"
    )
    report, _ = run(tmp_path, text)
    assert (report.ran, report.wrong) == (3, [])


# A command in the background that ends when somebody writes into the pipe, which cannot happen
# before it reads: whatever order of events a page asks for, there is no other.
LATE = "{ read line < pipe; echo late; } &"


def test_what_a_script_left_behind_prints_is_not_the_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEGUN_S", 0.0)
    text = (
        f"```sh\nmkfifo pipe\n{LATE}\n```\n\n"
        "```console\n$ echo now > pipe; wait; echo mine\nmine\n```\n"
    )
    report, _ = run(tmp_path, text)
    assert (report.ran, report.wrong) == (2, [])


def test_what_goes_on_in_the_background_prints_on_its_own_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEGUN_S", 0.0)
    text = (
        f"```console\n$ mkfifo pipe; {LATE}\n$ echo now > pipe; wait; echo mine\nmine\n```\n\n"
        "```console\n$ echo yours\nyours\n```\n"
    )
    report, page = run(tmp_path, text, renew=True)
    (wrong,) = report.wrong
    assert wrong.startswith("page.md:4: $ mkfifo pipe")
    assert "echo now" not in wrong
    report, _ = run(tmp_path, page)
    assert report.wrong == []


def test_the_background_is_awaited_and_looked_at_again_when_the_page_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "BEGUN_S", 0.0)
    text = (
        f"```console\n$ mkfifo pipe; {LATE}\nlate\n"
        "$ (sleep 0.1; echo now > pipe) &\n```\n\n"
        "```console\n$ { read line < pipe; echo unasked; } &\n```\n\n"
        "```console\n$ echo now > pipe; wait\n```\n"
    )
    report, _ = run(tmp_path, text)
    (wrong,) = report.wrong
    assert wrong.startswith("page.md:10: ")
    assert wrong.endswith("unasked")


def test_a_screen_holds_more_than_a_pipe(tmp_path: Path) -> None:
    report, _ = run(
        tmp_path,
        "```console\n$ head -c 3000000 /dev/zero | tr '\\0' x | wc -c; "
        "head -c 3000000 /dev/zero | tr '\\0' x\n3000000\nxxx...\n```\n",
    )
    assert report.wrong == []


def test_another_terminal_has_to_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "STARTED_TIMEOUT_S", 0.0)
    text = (
        "```console\n$ mkfifo pipe\n```\n\n<!-- another terminal -->\n```console\n$ cat pipe\n```\n"
    )
    report, _ = run(tmp_path, text)
    (wrong,) = report.wrong
    assert wrong == "page.md:8: does not watch within 0 s"


def test_what_is_not_run_is_counted_with_its_reason(tmp_path: Path) -> None:
    report, _ = run(tmp_path, "<!-- not run: no wings -->\n```sh\nfly\n```\n")
    assert (report.ran, report.left_out) == (0, ["no wings"])


def test_a_failing_script_is_wrong(tmp_path: Path) -> None:
    report, _ = run(tmp_path, "```sh\necho why; false\n```\n")
    assert "exit code 1\nwhy" in report.wrong[0]


def test_ports_are_mapped_both_ways() -> None:
    free = iter((15001, 15002))
    ports = Ports({2379: 15000}, lambda: next(free))
    assert ports.to_real("http://127.0.0.1:2379 localhost:2380") == (
        "http://127.0.0.1:15000 localhost:15001"
    )
    assert ports.to_documented(["127.0.0.1:15001", "127.0.0.1:9"]) == [
        "127.0.0.1:2380",
        "127.0.0.1:9",
    ]


def test_ports_that_a_server_chose_are_learnt() -> None:
    ports = Ports({}, lambda: 1)
    ports.learn(["at http://127.0.0.1:2379"], ["at http://127.0.0.1:40001"])
    assert ports.url(2379) == "http://127.0.0.1:40001"
