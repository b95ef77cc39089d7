"""Pages are taken apart as their writers mean it."""

from __future__ import annotations

import pytest

from tests.docs import markdown
from tests.docs.markdown import MarkdownError, parse, typed

PAGE = """\
# Title

<!-- page: own servers -->

```console
$ one \\
> two
1
$ three
```

Text.

<!-- not run: it needs wings -->

```sh
fly
```

```python
print(4)
```

```text
4
```

    kvraftctl get /a
    b

<!-- file: f.py -->
Other text between.

```python
pass
```
"""


def test_blocks_have_lines_languages_and_marks() -> None:
    page = parse(PAGE)
    assert page.mark == "own servers"
    found = [(b.line, b.language, b.mark, b.argument) for b in page.blocks]
    assert found == [
        (5, "console", "", ""),
        (16, "sh", "not run", "it needs wings"),
        (20, "python", "", ""),
        (34, "python", "", ""),  # text between takes the mark off
    ]


def test_the_text_behind_a_program_is_its_output() -> None:
    output = parse(PAGE).blocks[2].output
    assert output is not None
    assert (output.line, output.text) == (24, ["4"])


def test_commands_outside_of_fences_are_seen() -> None:
    assert parse(PAGE).unfenced == {28: "kvraftctl get /a"}


def test_console_blocks_are_commands_with_output() -> None:
    first, second = typed(parse(PAGE).blocks[0])
    assert (first.command, first.expected) == ("one \\\ntwo", ["1"])
    assert first.shown == ["$ one \\", "> two"]
    assert (second.command, second.expected) == ("three", [])


def test_a_console_block_begins_with_a_command() -> None:
    with pytest.raises(MarkdownError, match="line 2"):
        typed(parse("```console\noutput\n```\n").blocks[0])


def test_a_block_without_end_is_an_error() -> None:
    with pytest.raises(MarkdownError, match="line 1"):
        parse("```sh\nls\n")


def test_a_block_that_names_a_machine_is_not_run_here() -> None:
    (block,) = parse("```sh\n# on 10.0.0.1\nls\n```\n").blocks
    assert block.mark == "not run"
    assert set(markdown.RUNNABLE) >= {block.language}
