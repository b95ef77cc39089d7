"""`python -m jepsen_like faults`: the fault matrix, and what can run on this machine."""

from __future__ import annotations

import argparse

from jepsen_like.campaign.command import list_faults


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none."""
    parser.description = "All rows of the fault matrix, and why some cannot be tested here."


def run(options: argparse.Namespace) -> int:
    """Print it; always succeeds."""
    return list_faults()
