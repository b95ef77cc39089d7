"""`python -m jepsen_like fuzz`: every damage and every power cut on a small log."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final, NamedTuple

from jepsen_like.fuzz import cuts, damage
from jepsen_like.fuzz.judge import Outcome, Verdict
from jepsen_like.options import whole

ALL_BITS: Final = 8
MOST: Final = 256
SHOWN: Final = 10
BAR_EVERY: Final = 500


EXAMPLES: Final = """\
examples:
  python -m jepsen_like fuzz                       every bit of every byte, half a minute
  python -m jepsen_like fuzz --bits 1 --most 16    one bit of each byte, a few seconds

exit status: 0 nothing wrong was found, 1 something was"""


class Case(NamedTuple):
    """One damage or power cut, and what came of it."""

    kind: str
    name: str
    verdict: Verdict


class Tally:
    """What came of the cases, by kind and outcome; the wrong ones by name."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, Outcome]] = Counter()
        self.wrong: list[str] = []

    def add(self, case: Case) -> None:
        """One more case."""
        outcome, reason = case.verdict
        self.counts[case.kind, outcome] += 1
        if outcome is Outcome.WRONG:
            self.wrong.append(f"{case.kind}: {case.name}: {reason}")
        total = self.counts.total()
        if total % BAR_EVERY == 0 and sys.stderr.isatty():
            print(f"\r{total} cases, {len(self.wrong)} wrong ", end="", file=sys.stderr, flush=True)

    def lines(self) -> list[str]:
        """The table."""
        width = max(len(kind) for kind, _ in self.counts)
        return [
            f"{count:>8}  {kind:<{width}}  {outcome}"
            for (kind, outcome), count in sorted(self.counts.items())
        ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.description = "Damage a small log in every way, and cut the power at every moment."
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--bits", type=int, default=ALL_BITS, choices=range(ALL_BITS + 1), help="of each byte (8)"
    )
    parser.add_argument(
        "--most", type=whole, default=MOST, help=f"outcomes of one power cut tried ({MOST})"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is sampled (0)")


def damages(bits: int, seed: int) -> Iterator[Case]:
    """All damages, each with what came of it; so many `bits` of each byte are flipped."""
    rng = random.Random(seed)
    for stored in damage.lives():
        for case in damage.cases(stored, bits, rng):
            yield Case(case.kind, f"{stored.life}: {case.name}", damage.verdict(stored, case))


def power_cuts(most: int, seed: int) -> Iterator[Case]:
    """All power cuts, each with what came of it; of one about so many outcomes at `most`."""
    for cut in cuts.cuts(most, random.Random(seed)):
        yield Case(cut.kind, cut.name, cuts.verdict(cut))


def run(options: argparse.Namespace) -> int:
    """Print counts for each outcome; status 1 if one is wrong."""
    began_s = time.monotonic()
    tally = Tally()
    seed = options.seed
    for case in chain(damages(options.bits, seed), power_cuts(options.most, seed)):
        tally.add(case)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    for line in tally.lines():
        print(line)
    for line in tally.wrong[:SHOWN]:
        print(line)
    seconds = time.monotonic() - began_s
    state = f"{len(tally.wrong)} WRONG" if tally.wrong else "none wrong"
    print(f"{tally.counts.total()} cases in {seconds:.0f} s, seed {options.seed}: {state}")
    return 1 if tally.wrong else 0
