"""`python -m jepsen_like.sim`: see `many`."""

from __future__ import annotations

import argparse
import sys

from jepsen_like.sim import many


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog=many.COMMAND)
    many.add_arguments(parser)
    return many.run(parser.parse_args(arguments))


if __name__ == "__main__":
    sys.exit(main())
