"""`python -m jepsen_like report`: the result of a campaign as text, and as a page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from jepsen_like.options import WRONG_USE, output, told
from jepsen_like.report import page, result, text

STATUSES = {result.PASSED: 0, result.FAILED: 1, result.UNKNOWN: 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("result", type=Path, help="campaign.json, as `run` has written it")
    parser.add_argument("-o", "--output", type=output, metavar="FILE", help="write an HTML page")


def run(options: argparse.Namespace) -> int:
    """The verdict of the campaign as exit status; 2 if the file is no result."""
    try:
        campaign = result.load(options.result)
    except (OSError, ValueError) as error:
        print(told(error), file=sys.stderr)
        return WRONG_USE
    print(text.render(campaign), end="")
    if options.output is not None:
        options.output.write_text(page.render(campaign), "utf-8")
        print(f"page: {options.output}")
    return STATUSES[campaign.verdict()]
