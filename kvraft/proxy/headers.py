"""What a proxy changes in the headers of requests and answers.

Pure. Names and values are `str` as aiohttp wants them; bytes that are no UTF-8, which no header of
the API contains, are replaced rather than refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from multidict import CIMultiDict

RawHeaders = Iterable[tuple[bytes, bytes]]

# They belong to one connection, not to the message (RFC 9110, section 7.6.1).
HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    )
)
_FORWARDED_FOR: Final = "X-Forwarded-For"
_VIA: Final = "Via"


def _connection_names(fields: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that are for one connection only, those included that it names itself."""
    named = [value for name, value in fields if name.lower() == b"connection"]
    if not named:
        return HOP_BY_HOP
    words = {word.strip().lower() for value in named for word in value.split(b",")}
    return HOP_BY_HOP | words


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def for_member(
    fields: RawHeaders, *, host: str, client: str, mark: str, keep_origin: bool
) -> CIMultiDict[str]:
    """The headers of a request as it goes to the member at `host`.

    `client` is the address the request came from, `mark` the name of this proxy. The length is left
    out: whoever sends the body states it. The Origin goes along unless this proxy has judged
    it already: the member would compare it with its own name.
    """
    known = list(fields)
    dropped = _connection_names(known) | {b"host", b"content-length", b"expect"}
    headers: CIMultiDict[str] = CIMultiDict()
    headers["Host"] = host
    forwarded_for, via = [], []
    for name, value in known:
        lowered = name.lower()
        if lowered in dropped or (lowered == b"origin" and not keep_origin):
            continue
        if lowered == b"x-forwarded-for":
            forwarded_for.append(_text(value))
        elif lowered == b"via":
            via.append(_text(value))
        else:
            headers.add(_text(name), _text(value))
    headers[_FORWARDED_FOR] = ", ".join((*forwarded_for, client))
    headers[_VIA] = ", ".join((*via, f"1.1 {mark}"))
    return headers


def for_client(fields: RawHeaders) -> CIMultiDict[str]:
    """The headers of an answer as it goes to the client."""
    known = list(fields)
    dropped = _connection_names(known)
    return CIMultiDict(
        (_text(name), _text(value)) for name, value in known if name.lower() not in dropped
    )


def has_passed(fields: RawHeaders, mark: str) -> bool:
    """Whether the proxy of this name has forwarded this very request before."""
    wanted = mark.encode()
    return any(
        name.lower() == b"via" and any(hop.split()[-1:] == [wanted] for hop in value.split(b","))
        for name, value in fields
    )
