"""The small model against answers written down by hand."""

from __future__ import annotations

from jepsen_like.check.model import SECOND_NS, Change, Model, Refused


def _kind(result: Change | Refused) -> str:
    return result.kind if isinstance(result, Refused) else result.action


def test_indexes_grow_with_changes_only() -> None:
    model = Model()
    assert _kind(model.set(b"/a", b"1", None, False)) == "set"
    assert _kind(model.create(b"/a", b"2", None)) == "KEY_EXISTS"
    assert model.index == 1
    assert _kind(model.update(b"/a", b"3", None, False)) == "update"
    assert model.index == 2
    node = model.nodes[b"/a"]
    assert (node.value, node.created, node.modified) == (b"3", 1, 2)


def test_compare_looks_at_value_and_index() -> None:
    model = Model()
    model.set(b"/a", b"1", None, False)
    assert _kind(model.compare_and_swap(b"/a", b"2", None, b"x", 0)) == "COMPARE_FAILED"
    assert _kind(model.compare_and_swap(b"/a", b"2", None, b"1", 9)) == "COMPARE_FAILED"
    assert _kind(model.compare_and_swap(b"/a", b"2", None, b"1", 1)) == "compareAndSwap"
    assert _kind(model.compare_and_delete(b"/a", b"1", 0)) == "COMPARE_FAILED"
    assert _kind(model.compare_and_delete(b"/a", b"2", 0)) == "compareAndDelete"
    assert _kind(model.compare_and_delete(b"/a", b"2", 0)) == "KEY_NOT_FOUND"


def test_directories_and_files_stand_in_each_others_way() -> None:
    model = Model()
    model.set(b"/d/s/a", b"1", None, False)
    assert model.nodes[b"/d/s"].value is None
    assert _kind(model.set(b"/d", b"x", None, False)) == "NOT_A_FILE"
    assert _kind(model.set(b"/d/s/a/b", b"x", None, False)) == "NOT_A_DIRECTORY"
    assert _kind(model.delete(b"/d", False, False)) == "NOT_A_FILE"
    assert _kind(model.delete(b"/d", True, False)) == "DIRECTORY_NOT_EMPTY"
    removed = model.delete(b"/d", False, True)
    assert isinstance(removed, Change)
    assert removed.removed == {b"/d", b"/d/s", b"/d/s/a"}


def test_keys_expire_when_log_time_passes_and_take_what_is_below() -> None:
    model = Model()
    model.sync(10 * SECOND_NS)
    model.set(b"/t", None, 2, False)
    model.set(b"/t/a", b"1", 5, False)
    model.set(b"/u", b"1", 1, False)
    assert model.sync(10 * SECOND_NS) == []
    expired = model.sync(20 * SECOND_NS)
    assert [change.path for change in expired] == [b"/u", b"/t"]
    assert [change.index for change in expired] == [4, 5]


def test_a_refresh_keeps_the_value_and_is_silent() -> None:
    model = Model()
    assert _kind(model.set(b"/t", b"", 1, True)) == "KEY_NOT_FOUND"
    model.set(b"/t", b"1", 1, False)
    change = model.set(b"/t", b"", 9, True)
    assert isinstance(change, Change)
    assert change.silent
    assert model.nodes[b"/t"].value == b"1"


def test_every_version_can_be_looked_up() -> None:
    model = Model()
    model.set(b"/d/a", b"1", None, False)
    model.set(b"/d/a", b"2", None, False)
    model.set(b"/d/_h", b"3", None, False)
    model.delete(b"/d/a", False, False)
    values = [model.at(b"/d/a", index) for index in range(5)]
    assert [node.value if node else None for node in values] == [None, b"1", b"2", b"2", None]
    assert model.listing(b"/d", 3) == [b"/d/a"]
    assert model.listing(b"/d", 4) == []
