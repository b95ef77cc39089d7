"""What single operations of the key space cost: microseconds, bytes per key, longest stalls.

    python -m benchmarks.store_micro [--keys 1000000] [--only-large]

The first part times the operations that every request takes, best of several rounds. The second
puts many keys into one directory and reports the longest single call of the long jobs: each has
to stay well below a heartbeat, since it runs on the event loop. The collector is off, as the
garbage it looks for is never made here.
"""

from __future__ import annotations

import argparse
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Final

from kvraft.store.codec import Restorer
from kvraft.store.request import Op, Request, decode_request, encode_request
from kvraft.store.store import Store
from kvraft.store.view import View

ROUNDS: Final = 7
LOOPS: Final = 20_000
VALUE: Final = b"v" * 100


def timed(call: Callable[[], object], loops: int = LOOPS) -> float:
    """Microseconds of one call: the best round, less what the loop itself takes."""

    def best(function: Callable[[], object]) -> float:
        fastest = float("inf")
        for _ in range(ROUNDS):
            start = perf_counter()
            for _ in range(loops):
                function()
            fastest = min(fastest, perf_counter() - start)
        return fastest

    return (best(call) - best(lambda: None)) / loops * 1e6


def show(what: str, figure: float, unit: str) -> None:
    print(f"{what:<44}{figure:10.2f} {unit}")


def small_operations() -> None:
    """The operations of the hot paths."""
    store = Store()
    store.apply(Request(Op.SET, b"/bench/key", VALUE))
    existing = Request(Op.SET, b"/bench/key", VALUE)
    show("apply(SET) of an existing file", timed(lambda: store.apply(existing)), "us")
    names = [b"/bench/dir/%08d" % number for number in range(ROUNDS * LOOPS)]
    fresh: Iterator[Request] = (Request(Op.SET, name, VALUE) for name in names)
    requests = iter(list(fresh))
    show("apply(SET) of a new file", timed(lambda: store.apply(next(requests))), "us")
    swap = Request(Op.COMPARE_AND_SWAP, b"/bench/key", VALUE, prev_value=VALUE)
    show("apply(COMPARE_AND_SWAP)", timed(lambda: store.apply(swap)), "us")
    with_ttl = Request(Op.SET, b"/bench/key", VALUE, ttl_seconds=60)
    store.apply(Request(Op.SYNC, b"", time_ns=1_790_000_000_000_000_000))
    show("apply(SET) with a ttl", timed(lambda: store.apply(with_ttl)), "us")
    store.apply(existing)
    show("get_body of a file", timed(lambda: store.get_body(b"/bench/key", False, False, 0)), "us")
    for number in range(100):
        store.apply(Request(Op.SET, b"/list/%03d" % number, VALUE))
    listing = timed(lambda: store.get_body(b"/list", False, True, 0), 500)
    show("get_body of 100 files, sorted", listing, "us")
    payload = encode_request(1 << 60, existing)
    show("encode_request", timed(lambda: encode_request(1 << 60, existing)), "us")
    show("decode_request", timed(lambda: decode_request(payload)), "us")
    event = store.apply(existing)
    assert event is not None

    def body() -> bytes:
        event._body = None
        return event.body()

    show("event.body() of a set with prevNode", timed(body), "us")
    watcher = store.watch(b"/elsewhere", True, True, 0)
    show("apply(SET), one watcher elsewhere", timed(lambda: store.apply(existing)), "us")
    store.unwatch(watcher)


def bytes_per_key(keys: int = 200_000) -> None:
    """Memory of a store of 20-byte keys with 100-byte values."""
    tracemalloc.start()
    store = Store()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(keys):
        store.apply(Request(Op.SET, b"/k/%020d" % number, b"%0100d" % number))
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    show("memory of a key", used / keys, "bytes")


def longest(calls: Iterator[object]) -> tuple[float, float, int]:
    """The longest step of an iterator and all of them, in milliseconds, and their number."""
    worst = total = 0.0
    count = 0
    while True:
        start = perf_counter()
        item = next(calls, calls)
        took = perf_counter() - start
        worst, total = max(worst, took), total + took
        if item is calls:
            return worst * 1e3, total * 1e3, count
        count += 1


def show_longest(what: str, calls: Iterator[object]) -> None:
    worst, total, count = longest(calls)
    print(f"{what:<44}{worst:10.2f} ms at most, {total:8.0f} ms in {count} steps")


def once(what: str, call: Callable[[], object]) -> object:
    start = perf_counter()
    result = call()
    show(what, (perf_counter() - start) * 1e3, "ms")
    return result


def filled(keys: int) -> Store:
    store = Store()
    requests = (
        Request(Op.SET, b"/big/%020d" % number, b"%0100d" % number) for number in range(keys)
    )
    show_longest(f"apply(SET) x {keys} into one directory", map(store.apply, requests))
    return store


def large_directory(keys: int) -> None:
    """The long jobs over one directory of many keys."""
    store = filled(keys)
    snapshot = once("snapshot: start", store.snapshot)
    show_longest("snapshot: chunk of 1000", store.snapshot().chunks(1000))
    once("first change under a snapshot", lambda: store.apply(Request(Op.SET, b"/big/new", b"")))
    chunks: list[bytes] = []
    show_longest(
        "snapshot of the old picture: chunk of 1000",
        map(chunks.append, snapshot.chunks(1000)),  # type: ignore[attr-defined]
    )
    restorer = Restorer()
    show_longest("restore: feed(chunk)", map(restorer.feed, chunks))
    once("restore: finish", restorer.finish)
    for sorted_ in (False, True):
        view = once(
            f"get_body of the directory, sorted={sorted_}",
            lambda order=sorted_: store.get_body(b"/big", False, order, 0),  # type: ignore[misc]
        )
        assert isinstance(view, View)
        show_longest("    chunk of 500", view.json_chunks(500))
    while store.reclaim(1000):
        pass
    view = store.get_body(b"/big", False, False, 0)
    assert isinstance(view, View)
    once("recursive delete under a view", lambda: store.apply(_delete(b"/big")))
    once("    closing the view", view.close)
    show_longest("reclaim(1000)", iter(lambda: store.reclaim(1000), False))


def _delete(path: bytes) -> Request:
    return Request(Op.DELETE, path, recursive=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--only-large", action="store_true")
    options = parser.parse_args()
    gc.disable()
    if not options.only_large:
        small_operations()
        bytes_per_key()
    large_directory(options.keys)


if __name__ == "__main__":
    main()
