"""A cluster as commands see it: requests that go to whichever endpoint answers, and its members.

A request is tried at each endpoint in turn, beginning with the one that answered last, until one
answers with something else than 5xx. The end of the total time ends the round at once.
(etcdctl reference, sections 1.4 to 1.6.)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from kvraft.limits import CTL_MAX_REDIRECTS
from kvraft_cli.endpoints import Url, UrlError, clean_path, encode_form, parse_url
from kvraft_cli.errors import (
    BadAnswer,
    ClusterUnavailable,
    DeadlineExceeded,
    Failure,
    HeaderTimeout,
    NoEndpoints,
    RequestError,
    TransportError,
    command_failure,
)
from kvraft_cli.exitcodes import BAD_CONNECTION, SERVER_ERROR
from kvraft_cli.http import Reply, Transport, basic

Report = Callable[[str], None]  # takes one line of --debug, without its end


def shuffled(urls: Sequence[Url]) -> list[Url]:
    """The same in random order, so that clients spread over the members."""
    return sorted(urls, key=lambda _: os.urandom(8)) if len(urls) > 1 else list(urls)


class Session:
    """Requests to a cluster. `report` gets the lines of --debug, if they are wanted."""

    def __init__(
        self,
        transport: Transport,
        endpoints: Sequence[Url],
        *,
        timeout_s: float = 0.0,
        total_timeout_s: float | None = None,
        credentials: str | None = None,
        report: Report | None = None,
    ) -> None:
        self.transport = transport
        self.endpoints = shuffled(endpoints)
        self._in_use = 0
        self._timeout_s = timeout_s if timeout_s > 0 else None
        self._total_timeout_s = total_timeout_s
        self._deadline: float | None = None
        self._credentials = credentials
        self._report = report

    def twin(self) -> Session:
        """The same cluster over connections of its own, for another thread."""
        from copy import copy

        other = copy(self)
        other.transport = self.transport.twin()
        return other

    def restart_clock(self) -> None:
        """Let the total time begin anew with the next request."""
        self._deadline = None

    def announce(self) -> None:
        """The line of --debug that names the endpoints."""
        if self._report:
            self._report("Cluster-Endpoints: " + ", ".join(map(str, self.endpoints)))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str | None = None,
        *,
        query: Sequence[tuple[str, str]] = (),
        limited: bool = True,
        waits: bool = False,
    ) -> Reply:
        """The first answer that is not 5xx.

        `path` is plain text: it is cleaned and escaped here. `limited=False` is not bound by
        --total-timeout, `waits=True` not by --timeout. Raises ClusterUnavailable, DeadlineExceeded
        or NoEndpoints.
        """
        if not self.endpoints:
            raise NoEndpoints
        if limited and self._deadline is None and self._total_timeout_s is not None:
            self._deadline = time.monotonic() + self._total_timeout_s
        headers = [("Content-Type", content_type)] if content_type else []
        if self._credentials is not None:
            headers.append(("Authorization", basic(self._credentials)))
        attempts: list[TransportError] = []
        count = len(self.endpoints)
        first = self._in_use
        for number in range(first, first + count):
            endpoint = self.endpoints[number % count]
            url = endpoint.with_path(clean_path(endpoint.path + path), encode_form(query))
            try:
                reply = self._follow(
                    method, url, headers, body, self._deadline if limited else None, waits
                )
            except HeaderTimeout:
                text = f"client: endpoint {endpoint} exceeded header timeout"
                attempts.append(TransportError(text))
                continue
            except TransportError as error:
                attempts.append(error)
                continue
            if reply.status // 100 == 5:
                attempts.append(TransportError(_server_error(endpoint, reply.status)))
                continue
            self._in_use = number % count
            return reply
        raise ClusterUnavailable(attempts)

    def _follow(
        self,
        method: str,
        url: Url,
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
        deadline: float | None,
        waits: bool,
    ) -> Reply:
        for _ in range(CTL_MAX_REDIRECTS + 1):
            if self._report:
                self._report(_curl_line(method, url, body))
            reply = self.transport.exchange(
                method,
                url,
                headers=headers,
                body=body,
                deadline=deadline,
                header_timeout_s=None if waits else self._timeout_s,
            )
            if reply.status // 100 != 3:
                return reply
            location = reply.headers.get("location", "")
            if not location:
                raise TransportError("Location header not set")
            try:
                url = parse_url(location)
            except UrlError:
                text = f"Location header not valid URL: {location}"
                raise TransportError(text) from None
        raise TransportError("client: too many redirects")

    # the members

    def synchronise(self) -> None:
        """Use the members' own client URLs from here on; raises Failure with the final words."""
        if self._report:
            self._report(f"start to sync cluster using endpoints({self._listed()})")
        try:
            self._use(self._members_urls())
        except NoEndpoints as error:
            text = (
                "etcd cluster has no published client endpoints.\n"
                "Try '--no-sync' if you want to access non-published client endpoints"
                f"({self._listed()}).\nError:  {error.text}\n"
            )
            raise Failure(text, SERVER_ERROR, error) from None
        except ClusterUnavailable as error:
            if error.nobody_there:
                raise command_failure(error, BAD_CONNECTION) from None
            self._ask_old_servers()
        except RequestError:
            self._ask_old_servers()
        self.restart_clock()
        if self._report:
            self._report(f"got endpoints({self._listed()}) after sync")

    def _listed(self) -> str:
        return ",".join(map(str, self.endpoints))

    def _use(self, urls: Sequence[Url]) -> None:
        if not urls:
            raise NoEndpoints
        self.endpoints = shuffled(urls)
        self._in_use = 0

    def _members_urls(self) -> list[Url]:
        import json

        reply = self.request("GET", "/v2/members")
        if reply.status != 200:
            raise BadAnswer(f"unexpected status code {reply.status}")
        try:
            members = json.loads(reply.body).get("members") or []
            return [parse_url(url) for m in members for url in m.get("clientURLs") or []]
        except (ValueError, TypeError, AttributeError) as error:
            raise BadAnswer(str(error)) from None

    def _ask_old_servers(self) -> None:
        """Etcd 0.4 lists its members elsewhere; whoever answers, but not with that, leaves a URL
        to nowhere."""
        answered = False
        failed: RequestError = NoEndpoints()
        for endpoint in self.endpoints:
            url = endpoint.with_path(clean_path(endpoint.path + "/v2/peers"))
            try:
                reply = self.transport.exchange(
                    "GET", url, deadline=self._deadline, header_timeout_s=self._timeout_s
                )
                if reply.status == 200:
                    text = reply.body.decode("utf-8", "replace")
                    self._use([parse_url(one) for one in text.split(", ")])
                    return
                answered = True
            except DeadlineExceeded as error:
                raise command_failure(error) from None
            except TransportError as error:
                failed = error
            except UrlError as error:
                raise Failure(f"Error:  {error}\n", SERVER_ERROR) from None
        if not answered:
            raise command_failure(failed)
        self._use([parse_url("")])


def _server_error(endpoint: Url, status: int) -> str:
    if status in (500, 503):
        return f"client: etcd member {endpoint} has no leader"
    from http import HTTPStatus

    known = status in HTTPStatus._value2member_map_
    phrase = HTTPStatus(status).phrase if known else ""
    return f"client: etcd member {endpoint} returns server error [{phrase}]"


def _curl_line(method: str, url: Url, body: bytes | None) -> str:
    line = f"cURL Command: curl -X {method} {url}"
    if body is None:
        return line
    from kvraft.server.quoting import quote

    return f"{line} -d {quote(body.decode('utf-8', 'surrogateescape'))}"
