"""What is still to be done at the target, and in which order it may be done.

Steps run at the same time, a bounded number of them; what depends on each other does not: nothing
is written below a key whose removal waits or runs, nothing below a directory that is still to be
written, and one key has one step at a time. What waits is a set of keys and not a list of changes:
a key that changes a hundred times while the target is away is written once.

Pure. Invariant: of the keys that are neither waiting nor running, the target has what the source
had when it was last looked at.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

from kvraft_cli.mirror.model import Remove, Retime, Step, Write
from kvraft_cli.mirror.tree import is_within, parents_of

SCANNED: Final = 64  # waiting steps looked at for one that may run; running ones hold up few


class Pending:
    """Steps that wait or run; `len()` counts both."""

    def __init__(self) -> None:
        # ordered ones, since a plain dict whose front is taken off all the time gets slow
        self._writes: OrderedDict[str, Write | Retime] = OrderedDict()
        self._removals: OrderedDict[str, Remove] = OrderedDict()
        self._running: dict[str, Step] = {}
        self._touched: list[dict[str, bool]] = []

    def __len__(self) -> int:
        return len(self._writes) + len(self._removals) + len(self._running)

    @property
    def running(self) -> int:
        """How many steps run."""
        return len(self._running)

    def add(self, steps: Iterable[Step]) -> None:
        """More to be done, in this order where order matters."""
        for step in steps:
            for touched in self._touched:
                touched[step.key] = isinstance(step, Remove) or touched.get(step.key, False)
            if isinstance(step, Remove):
                self._writes.pop(step.key, None)
                for key in step.gone:
                    self._writes.pop(key, None)
                self._removals[step.key] = Remove(step.key)
            elif isinstance(step, Write) or step.key not in self._writes:
                self._writes[step.key] = step

    def take(self) -> Step | None:
        """The next step that may run, which counts as running from now on; None for now."""
        for removal in islice(self._removals, SCANNED):
            if self._free_for_removal(removal):
                step: Step = self._removals.pop(removal)
                self._running[removal] = step
                return step
        for key in islice(self._writes, SCANNED):
            first = self._to_be_done_first(key)
            if first is not None and self._free_for_write(first):
                step = self._writes.pop(first)
                self._running[first] = step
                return step
        return None

    def done(self, step: Step) -> None:
        """The step has been carried out; what came for its key meanwhile may run now."""
        del self._running[step.key]

    def failed(self, step: Step) -> None:
        """The step has to be tried again, unless something newer waits for its key."""
        del self._running[step.key]
        if isinstance(step, Remove):
            self._removals.setdefault(step.key, step)
        elif isinstance(step, Write) or step.key not in self._writes:
            self._writes[step.key] = step

    def follow(self) -> Touched:
        """Note from now on which keys have steps; those that wait or run are the first."""
        touched = dict.fromkeys((*self._writes, *self._running), False)
        touched.update(dict.fromkeys(self._removals, True))
        touched.update(
            {key: True for key, step in self._running.items() if isinstance(step, Remove)}
        )
        self._touched.append(touched)
        return Touched(self._touched, touched)

    def _free_for_removal(self, key: str) -> bool:
        if any(parent in self._running for parent in parents_of(key)):
            return False
        return not any(is_within(running, key) for running in self._running)

    def _to_be_done_first(self, key: str) -> str | None:
        """The key, or the highest directory above it that is to be written first."""
        first = key
        if key in self._removals:
            return None
        for parent in parents_of(key):
            if parent in self._removals:
                return None
            if parent in self._writes:
                first = parent
        return first

    def _free_for_write(self, key: str) -> bool:
        if key in self._running:
            return False
        return not any(parent in self._running for parent in parents_of(key))


class Touched:
    """The keys that had steps since `Pending.follow`; close it when it is not needed any more."""

    def __init__(self, all_touched: list[dict[str, bool]], touched: dict[str, bool]) -> None:
        self._all = all_touched
        self._touched = touched

    def __contains__(self, key: str) -> bool:
        if key in self._touched:
            return True
        return any(self._touched.get(parent, False) for parent in parents_of(key))

    def close(self) -> None:
        """Stop noting."""
        self._all[:] = [each for each in self._all if each is not self._touched]
