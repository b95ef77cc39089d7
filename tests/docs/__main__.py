"""`python -m tests.docs [--update] [PAGE ...]`: run the examples, or renew what they show."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.docs.playground import Playground
from tests.docs.runner import ROOT, pages, run_page


def main() -> int:
    """Run the pages; the exit code is 1 if one of them shows something else than happens."""
    parser = argparse.ArgumentParser(prog="python -m tests.docs", description=__doc__)
    parser.add_argument("--update", action="store_true", help="show what really happened")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="default: all")
    arguments = parser.parse_args()
    chosen = [path.absolute() for path in arguments.pages] or pages()
    wrong, ran = 0, 0
    reasons: Counter[str] = Counter()
    with Playground() as playground:
        for path in chosen:
            start = time.monotonic()
            report = run_page(path, playground, renew=arguments.update)
            ran += report.ran
            wrong += len(report.wrong)
            reasons.update(report.left_out)
            for text in report.wrong:
                print(text, end="\n\n")
            took = time.monotonic() - start
            name = path.relative_to(ROOT)
            print(f"{name}: {report.ran} run, {len(report.left_out)} not, {took:.1f} s", flush=True)
    print(f"\n{ran} blocks run, {wrong} wrong; {reasons.total()} not run:")
    for reason, count in reasons.most_common():
        print(f"{count:4}  {reason}")
    return 1 if wrong and not arguments.update else 0


sys.exit(main())
