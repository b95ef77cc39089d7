"""Which endpoint is asked, and what may be tried again: the rules of failover.

Pure: time and randomness are handed in. Must not know connections.

**Choice.** A client begins with a random endpoint, so that many clients spread, and stays with one
that answers: its store never goes back, and its connection is warm. One that failed is passed over
for a while, longer each time; if all have failed, the one whose time is over first comes first.

**Retries.** What is done after a failure depends on what the server may have made of the request:

    | Failure | Read | Change |
    |---|---|---|
    | no connection: refused, no route, name unknown, TLS | next endpoint | next endpoint |
    | connected, nothing sent yet, time is up | next endpoint | next endpoint |
    | sent, then closed, reset, cut off or silent | next endpoint | OutcomeUnknown |
    | answered that nothing was done (overload, full disk) | next endpoint | next endpoint |
    | answered with a timeout, or a proxy failed | next endpoint | OutcomeUnknown |
    | refused (key exists, compare failed, not allowed ...) | raised | raised |

After all endpoints have failed, there are a few more rounds with pauses in between; then a read
ends with ReadFailed, a change that nobody took with DidNotHappen.

**No change is repeated in the dark, compare-and-swap included.** It may have succeeded the first
time; the repetition would then fail with CompareFailed, and its caller would believe that somebody
else has changed the key. Only who knows what the values mean can find out: read with
`quorum=True`, and compare.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from kvraft.limits import CLIENT_BACKOFF_MAX_S, CLIENT_BACKOFF_MIN_S, CLIENT_MIN_SHARE_S


def normal_url(text: str) -> str:
    """An endpoint's URL without a trailing slash; `http://` if no scheme is given.

    Raises ValueError for anything but http and https, and for credentials in the URL, which would
    end up in logs.
    """
    url = text if "://" in text else f"http://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"the endpoint {text!r} is neither http nor https")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an endpoint holds credentials; give them as username and password")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"the endpoint {text!r} is not of the form http://host:port")
    _ = parts.port  # raises ValueError if it is none
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port that a URL leads to."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), parts.port or default


class _State:
    __slots__ = ("failures", "resting_until_s")

    def __init__(self) -> None:
        self.failures = 0
        self.resting_until_s = 0.0


class Endpoints:
    """The endpoints of one client in the order of its preference."""

    def __init__(self, urls: Iterable[str], rng: random.Random) -> None:
        """Raises ValueError if a URL is malformed or there is none."""
        self._rng = rng
        self._states: dict[str, _State] = {}
        self._order: list[str] = []
        self.replace(urls)
        rng.shuffle(self._order)

    @property
    def urls(self) -> list[str]:
        """All of them, the one that is asked next first."""
        return list(self._order)

    def replace(self, urls: Iterable[str]) -> None:
        """Take another list; what is known of endpoints in both is kept, and their order."""
        wanted = list(dict.fromkeys(normal_url(url) for url in urls))
        if not wanted:
            raise ValueError("no endpoint is given")
        added = [url for url in wanted if url not in self._states]
        self._rng.shuffle(added)
        self._order = [url for url in self._order if url in wanted] + added
        self._states = {url: self._states.get(url) or _State() for url in self._order}

    def candidates(self, now_s: float) -> list[str]:
        """All endpoints, in the order in which one call tries them."""
        states = self._states
        ready = [url for url in self._order if states[url].resting_until_s <= now_s]
        resting = [url for url in self._order if states[url].resting_until_s > now_s]
        return ready + sorted(resting, key=lambda url: states[url].resting_until_s)

    def succeeded(self, url: str) -> None:
        """It answered: stay with it."""
        state = self._states.get(url)
        if state is not None:
            state.failures = 0
            state.resting_until_s = 0.0
            if self._order[0] != url:
                self._order.remove(url)
                self._order.insert(0, url)

    def failed(self, url: str, now_s: float) -> None:
        """It did not: leave it alone for a while."""
        state = self._states.get(url)
        if state is not None:
            rest_s = min(CLIENT_BACKOFF_MIN_S * 2.0**state.failures, CLIENT_BACKOFF_MAX_S)
            state.failures = min(state.failures + 1, 16)
            state.resting_until_s = now_s + rest_s * (0.5 + self._rng.random() / 2)


def share_s(remaining_s: float, untried: int, changes: bool, fixed_s: float | None) -> float:
    """How long one attempt may take of the time that remains.

    A read leaves time for the endpoints that have not been tried, so that one that hangs does not
    use up all of it. A change that was sent is not tried anywhere else, so it may have all.
    """
    if fixed_s is not None:
        return min(fixed_s, remaining_s)
    if changes or untried <= 1:
        return remaining_s
    return min(remaining_s, max(remaining_s / untried, CLIENT_MIN_SHARE_S))


def summary(problems: Sequence[tuple[str, str]]) -> str:
    """What went wrong, endpoint by endpoint; each failure once."""
    if not problems:
        return "the time was up before any endpoint was asked"
    return "; ".join(f"{url}: {text}" for url, text in dict.fromkeys(problems))
