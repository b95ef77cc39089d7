"""Runs the Python blocks of a page, one after the other in one name space.

A block may be a complete program, or use `await` at its top as `python -m asyncio` allows; all of a
page's blocks share one event loop, as they would there.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import traceback
from types import CodeType
from typing import Any, Final

TIMEOUT_S: Final = 20.0


class Programs:
    """The interpreter of one page."""

    def __init__(self, page: str) -> None:
        self._page = page
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._runner = asyncio.Runner()

    def run(self, source: str, line: int) -> tuple[str, list[str]]:
        """Run a block that begins at a line of the page.

        Returns the name of the exception that ended it (empty: none), and what it printed,
        with the traceback behind it in that case.
        """
        printed = io.StringIO()
        ended_by = ""
        with contextlib.redirect_stdout(printed):
            try:
                tree = compile(
                    "\n" * (line - 1) + source,
                    self._page,
                    "exec",
                    ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                    dont_inherit=True,
                )
                self._execute(tree)
            except Exception as error:
                ended_by = type(error).__name__
                traceback.print_exc(file=printed)
        return ended_by, printed.getvalue().splitlines()

    def _execute(self, code: CodeType) -> None:
        if code.co_flags & inspect.CO_COROUTINE:
            coroutine = eval(code, self._names)  # the page's own program
            self._runner.run(asyncio.wait_for(coroutine, TIMEOUT_S))
        else:
            exec(code, self._names)

    def close(self) -> None:
        """End what the blocks have left running."""
        self._names.clear()
        self._runner.close()
