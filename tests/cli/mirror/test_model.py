"""The model of a source follows its events, and the steps bring a target to the same state."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from kvraft.client.model import KeyNode, WatchEvent
from kvraft_cli.mirror.model import Model, Remove, Retime, Step, Write, steps_between
from kvraft_cli.mirror.pending import Pending
from kvraft_cli.mirror.tree import Entry, Tree, is_within, parents_of


def event(
    action: str, key: str, index: int = 9, value: str | None = "v", ttl: int | None = None
) -> WatchEvent:
    is_dir = value is None and action not in ("delete", "expire")
    return WatchEvent(action, KeyNode(key, value, is_dir, 0, index, ttl), None, index)


def model() -> Model:
    tree: Tree = {"/a": Entry(None), "/a/b": Entry(None), "/a/b/c": Entry("1"), "/x": Entry("2")}
    return Model("/", tree)


def test_a_write_makes_the_directories_above() -> None:
    followed = model()
    assert followed.apply(event("set", "/n/m/k", 12, ttl=5), 100.0) == [
        Write("/n"),
        Write("/n/m"),
        Write("/n/m/k"),
    ]
    assert followed.get("/n/m/k") == Entry("v", 105.0, 12)
    assert followed.get("/n") == Entry(None, None, 12)


def test_a_removal_takes_everything_below() -> None:
    followed = model()
    assert followed.apply(event("delete", "/a", value=None), 0) == [
        Remove("/a", ("/a", "/a/b", "/a/b/c"))
    ]
    assert set(followed.entries) == {"/x"}
    assert followed.apply(event("expire", "/a", value=None), 0) == []


def test_a_removal_above_the_root_removes_the_root() -> None:
    followed = Model("/a/b", {"/a/b": Entry(None), "/a/b/c": Entry("1")})
    assert followed.apply(event("delete", "/a", value=None), 0) == [
        Remove("/a/b", ("/a/b", "/a/b/c"))
    ]
    assert not followed.entries


def test_the_directories_above_the_root_are_not_in_the_model() -> None:
    followed = Model("/a/b")
    followed.apply(event("set", "/a/b/c"), 0)
    assert set(followed.entries) == {"/a/b", "/a/b/c"}


def test_hidden_and_strange_keys_are_left_out() -> None:
    followed = Model("/a")
    assert followed.apply(event("set", "/a/_h/k"), 0) == []
    assert followed.apply(event("set", "/ab"), 0) == []
    assert followed.apply(event("delete", "/a/_h", value=None), 0) == []
    hidden = Model("/_h")
    assert hidden.apply(event("set", "/_h/k"), 0) == [Write("/_h"), Write("/_h/k")]


def test_a_file_in_place_of_a_directory_means_that_the_directory_went() -> None:
    followed = model()
    assert followed.apply(event("create", "/a"), 0) == [
        Remove("/a", ("/a", "/a/b", "/a/b/c")),
        Write("/a"),
    ]
    assert set(followed.entries) == {"/a", "/x"}


def test_a_newer_tree_says_what_happened_meanwhile() -> None:
    followed = model()
    newer: Tree = {"/a": Entry(None, 50.0), "/x": Entry("3"), "/n": Entry(None), "/n/k": Entry("")}
    assert followed.become(Model("/", newer), 2.0) == [
        Remove("/a/b", ("/a/b", "/a/b/c")),
        Retime("/a"),
        Write("/x"),
        Write("/n"),
        Write("/n/k"),
    ]
    assert dict(followed.entries) == newer


def test_a_directory_that_became_a_file_goes_first() -> None:
    before: Tree = {"/a": Entry(None), "/a/b": Entry("1")}
    assert list(steps_between(before, {"/a": Entry("2")}, 0)) == [
        Remove("/a", ("/a", "/a/b")),
        Write("/a"),
    ]


# --- what waits ------------------------------------------------------------------------


def test_nothing_is_written_below_what_is_to_be_removed() -> None:
    pending = Pending()
    pending.add([Write("/a/b"), Remove("/a", ("/a", "/a/b")), Write("/a/c"), Write("/x")])
    assert len(pending) == 3
    assert pending.take() == Remove("/a")
    assert pending.take() == Write("/x")
    assert pending.take() is None
    pending.done(Remove("/a"))
    assert pending.take() == Write("/a/c")
    assert pending.running == 2


def test_nothing_is_removed_while_something_below_is_written() -> None:
    pending = Pending()
    pending.add([Write("/a/b")])
    assert pending.take() == Write("/a/b")
    pending.add([Remove("/a", ("/a", "/a/b")), Write("/a/b")])
    assert pending.take() is None
    pending.failed(Write("/a/b"))
    assert pending.take() == Remove("/a")


def test_a_directory_is_written_before_its_content() -> None:
    pending = Pending()
    pending.add([Write("/a/b/c"), Write("/a"), Retime("/a/b")])
    assert pending.take() == Write("/a")
    assert pending.take() is None
    pending.done(Write("/a"))
    assert pending.take() == Retime("/a/b")
    pending.done(Retime("/a/b"))
    assert pending.take() == Write("/a/b/c")


def test_a_key_waits_once_and_a_write_beats_a_new_time() -> None:
    pending = Pending()
    pending.add([Retime("/a"), Write("/a"), Retime("/a"), Write("/a")])
    assert len(pending) == 1
    assert pending.take() == Write("/a")
    pending.add([Retime("/a")])
    pending.failed(Write("/a"))
    assert pending.take() == Write("/a")


def test_what_had_steps_is_noted() -> None:
    pending = Pending()
    pending.add([Write("/before")])
    touched = pending.follow()
    pending.add([Remove("/gone", ("/gone",)), Write("/now")])
    assert "/before" in touched
    assert "/now" in touched
    assert "/gone/below" in touched
    assert "/other" not in touched
    assert "/now/below" not in touched
    touched.close()
    pending.add([Write("/later")])
    assert "/later" not in touched


@dataclass
class Store:
    """The rules of v2 that matter here, in a dict; raises what a server refuses."""

    entries: dict[str, str | None] = field(default_factory=dict)

    def set(self, key: str, value: str | None) -> None:
        for parent in parents_of(key):
            if self.entries.get(parent) is not None:
                raise ValueError(f"{parent} is a file")
        if key in self.entries and self.entries[key] is None:
            raise ValueError(f"{key} is a directory")
        self.entries.update(dict.fromkeys(parents_of(key)))
        self.entries[key] = value

    def delete(self, key: str) -> bool:
        gone = [each for each in self.entries if is_within(each, key)]
        for each in gone:
            del self.entries[each]
        return bool(gone)


class World:
    """A source that changes at random, and a target that is kept like it, with failures."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.source = Store()
        self.target = Store()
        self.model = Model("/")
        self.pending = Pending()
        self.running: list[tuple[Step, Entry | None]] = []
        self.index = 0

    def key(self) -> str:
        return "/" + "/".join(self.random.choices("abc", k=self.random.randint(1, 4)))

    def change(self) -> None:
        key = self.key()
        self.index += 1
        if self.random.random() < 0.3:
            if self.source.delete(key):
                self.follow(event("delete", key, self.index, None))
            return
        value = self.random.choice(["1", "2", None])
        try:
            self.source.set(key, value)
        except ValueError:
            return
        self.follow(event("set", key, self.index, value))

    def follow(self, change: WatchEvent) -> None:
        self.pending.add(self.model.apply(change, 0.0))

    def start(self) -> None:
        step = self.pending.take()
        if step is not None:
            self.running.append((step, self.model.get(step.key)))

    def finish(self) -> None:
        if not self.running:
            return
        step, entry = self.running.pop(self.random.randrange(len(self.running)))
        fails = self.random.random()
        if fails > 0.1:
            self.carry_out(step, entry)
        if fails < 0.2:
            self.pending.failed(step)  # it may have happened all the same
        else:
            self.pending.done(step)

    def carry_out(self, step: Step, entry: Entry | None) -> None:
        if isinstance(step, Remove):
            self.target.delete(step.key)
            return
        if entry is None:
            return
        if entry.is_dir and self.target.entries.get(step.key, "") is None:
            return  # only its TTL would change
        self.target.set(step.key, entry.value)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_the_target_ends_up_the_same(seed: int) -> None:
    world = World(seed)
    print(f"seed {seed}")
    for _ in range(400):
        world.random.choice([world.change, world.change, world.start, world.start, world.finish])()
    while world.pending:
        world.start()
        world.finish()
    assert world.target == world.source
    assert {key: entry.value for key, entry in world.model.entries.items()} == world.source.entries
