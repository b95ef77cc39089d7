"""The log in memory, against plain lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvraft.limits import ENTRY_OVERHEAD_BYTES
from kvraft.raft.entry import Entry, EntryKind
from kvraft.raft.log import UNKNOWN_TERM, RaftLog

TERMS = st.lists(st.integers(1, 6), max_size=12).map(sorted)


def log_of(terms: list[int], base: int = 0, base_term: int = 0) -> RaftLog:
    entries = [Entry(term, base + i, 0, b"x" * term) for i, term in enumerate(terms, 1)]
    return RaftLog(base, base_term, entries)


def is_sound(log: RaftLog) -> bool:
    sizes = [b - a for a, b in zip(log.sizes, log.sizes[1:], strict=False)]
    return (
        [entry.index for entry in log.entries] == list(range(log.first, log.last + 1))
        and sizes == [len(entry.data) + ENTRY_OVERHEAD_BYTES for entry in log.entries]
        and log.durable <= log.handed <= log.last
        and list(log.configs) == [entry.index for entry in log.entries if entry.kind]
    )


def test_terms_within_and_around() -> None:
    log = log_of([2, 2, 3], base=10, base_term=1)
    assert [log.term_at(i) for i in range(8, 15)] == [
        UNKNOWN_TERM,
        UNKNOWN_TERM,
        1,
        2,
        2,
        3,
        UNKNOWN_TERM,
    ]
    assert log.last_term() == 3
    assert log_of([], base=4, base_term=2).last_term() == 2


@given(TERMS, st.integers(0, 5), st.integers(0, 15), st.integers(0, 7))
def test_last_not_after_term(terms: list[int], base: int, index: int, term: int) -> None:
    log = log_of(terms, base, 1)
    expected = min(index, log.last)
    while expected >= log.first and log.term_at(expected) > term:
        expected -= 1
    assert log.last_not_after_term(index, term) == expected


@given(TERMS, TERMS, st.data())
def test_merge_gives_the_leaders_log(own: list[int], new: list[int], data: st.DataObject) -> None:
    prev = data.draw(st.integers(0, len(own)))
    base_term = own[prev - 1] if prev else 0
    entries = [
        Entry(max(term, base_term), prev + i, data.draw(st.integers(0, 1)), b"n")
        for i, term in enumerate(new, 1)
    ]
    log = log_of(own)
    before = list(log.entries)
    log.merge(prev, entries, 0)
    assert is_sound(log)
    assert [e.term for e in log.entries[:prev]] == own[:prev]
    assert [e.term for e in log.entries[prev : prev + len(new)]] == [e.term for e in entries]
    kept = all(old.term == entry.term for old, entry in zip(before[prev:], entries, strict=False))
    assert len(log.entries) == (max(len(own), prev + len(new)) if kept else prev + len(new))
    assert log.durable <= len(own)


def test_merge_never_overwrites_what_is_committed() -> None:
    log = log_of([1, 1, 1])
    with pytest.raises(AssertionError, match="committed"):
        log.merge(1, [Entry(2, 2, 0, b"")], 2)


@given(TERMS, st.lists(st.integers(0, 300), max_size=5))
def test_payloads_become_entries(terms: list[int], sizes: list[int]) -> None:
    log = log_of(terms)
    if sizes:
        log.append_payloads(9, [b"p" * size for size in sizes])
    assert is_sound(log)
    new = log.entries[len(terms) :]
    assert [(type(e), e.term, e.kind, len(e.data)) for e in new] == [
        (Entry, 9, EntryKind.NORMAL, size) for size in sizes
    ]


@given(st.lists(st.integers(0, 100), min_size=1, max_size=10), st.integers(1, 800), st.data())
def test_fit_takes_as_much_as_fits(sizes: list[int], limit: int, data: st.DataObject) -> None:
    log = RaftLog(5, 1, [Entry(1, 5 + i, 0, b"x" * size) for i, size in enumerate(sizes, 1)])
    first = data.draw(st.integers(log.first, log.last))
    bound = data.draw(st.integers(first, log.last))
    last = log.fit(first, bound, limit)
    assert first <= last <= bound
    assert last == first or log.size_between(first - 1, last) <= limit
    assert last == bound or log.size_between(first - 1, last + 1) > limit


@given(TERMS, st.integers(0, 12))
def test_compaction_keeps_the_rest(terms: list[int], index: int) -> None:
    log = log_of(terms)
    index = min(index, log.last)
    term = log.term_at(index)
    rest = log.entries[index:]
    log.compact(index)
    assert is_sound(log)
    assert log.entries == rest
    assert log.term_at(index) == term
    log.compact(index)
    assert log.entries == rest


def test_changes_are_noted_until_applied_or_truncated() -> None:
    log = RaftLog(0, 0, [Entry(1, i, int(i in (2, 4)), b"") for i in range(1, 6)])
    assert list(log.configs) == [2, 4]
    log.applied(2)
    assert list(log.configs) == [4]
    log.truncate(3)
    assert list(log.configs) == []
    log.reset(9, 3)
    assert (log.first, log.last, log.durable, log.last_term()) == (10, 9, 9, 3)
