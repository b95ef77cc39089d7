"""What a command gets to work with: options, streams, and the cluster.

Everything expensive is made when it is first used: endpoints, TLS, the password, the
synchronisation. The order in which these may fail is etcdctl's: endpoints, files, password.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from kvraft.limits import CTL_MAX_CONNECT_S
from kvraft_cli.errors import ConfigError
from kvraft_cli.flags import Flags

if TYPE_CHECKING:
    import ssl

    from kvraft.client.client import Client
    from kvraft_cli.endpoints import Url
    from kvraft_cli.http import Reply, Transport
    from kvraft_cli.session import Session
    from kvraft_cli.tls import TlsFiles


class Context:
    """One run of the program.

    The streams are text in UTF-8 with "surrogateescape", so that any bytes pass through them; their
    `buffer` takes and gives bytes.
    """

    def __init__(
        self,
        options: Flags,
        environ: Mapping[str, str],
        stdin: TextIO,
        stdout: TextIO,
        stderr: TextIO,
    ) -> None:
        self.options = options
        self.environ = environ
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._session: Session | None = None
        self._synchronised = False
        self._transport: Transport | None = None
        self._tls: ssl.SSLContext | None = None

    @property
    def output(self) -> str:
        """The format that --output asks for, whatever it is."""
        return self.options.string("output")

    @property
    def total_timeout_s(self) -> float:
        """What --total-timeout says; not positive: everything is too late at once."""
        return self.options.seconds("total-timeout")

    @property
    def api(self) -> Session:
        """The cluster; synchronised, unless --no-sync.

        Raises Failure, complete with text and code, when that is not possible.
        """
        session = self._connected()
        if not self._synchronised:
            self._synchronised = True
            if not self.options.boolean("no-sync"):
                session.synchronise()
            session.announce()
        return session

    @property
    def unsynced_api(self) -> Session:
        """The cluster through the endpoints as they were given."""
        session = self._connected()
        if not self._synchronised:
            self._synchronised = True
            session.announce()
        return session

    def close(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            self._transport.close()

    def _connected(self) -> Session:
        if self._session is None:
            from kvraft_cli.session import Session

            endpoints = self.endpoints()
            transport = self.transport
            self._session = Session(
                transport,
                endpoints,
                timeout_s=self.options.seconds("timeout"),
                total_timeout_s=max(self.total_timeout_s, 0.0),
                credentials=self.credentials(),
                report=self._report if self.options.boolean("debug") else None,
            )
        return self._session

    def _report(self, line: str) -> None:
        self.stdout.flush()
        self.stderr.write(line + "\n")
        self.stderr.flush()

    def endpoints(self) -> list[Url]:
        """The endpoints as given by flags, variables or the DNS; raises ConfigError."""
        from kvraft_cli.endpoints import given_endpoints, look_up_service

        return given_endpoints(self.options, self.environ, look_up_service)

    def tls_files(self) -> TlsFiles:
        """The TLS files, each from its flag or else its variable; not looked at yet."""
        from kvraft_cli.tls import TlsFiles

        return TlsFiles(*(self._file(name) for name in ("ca", "cert", "key")))

    def _file(self, name: str) -> str:
        variable = f"ETCDCTL_{name.upper()}_FILE"
        return self.options.string(f"{name}-file") or self.environ.get(variable, "")

    @property
    def transport(self) -> Transport:
        """Connections for single exchanges; made once. Raises ConfigError for bad TLS files."""
        if self._transport is None:
            from kvraft_cli.http import Transport

            if any(self._file(name) for name in ("ca", "cert", "key")):
                self._tls_context()  # bad files are refused, whether they will be needed or not
            limit = min(self.total_timeout_s, CTL_MAX_CONNECT_S)
            self._transport = Transport(self._tls_context, limit if limit > 0 else None)
        return self._transport

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            from kvraft_cli.tls import make_context

            self._tls = make_context(self.tls_files())
        return self._tls

    def credentials(self) -> str | None:
        """`name:password` of --username; asks for a password that is left out. None: nobody."""
        given = self.options.string("username")
        if not given or ":" in given:
            return given or None
        from kvraft_cli.prompts import ask

        return f"{given}:{ask('Password: ', self.stdin.buffer, self.stdout)}"

    def fetch(self, url: str, *, timeout_s: float | None = None) -> Reply:
        """GET a URL, once, without failover, credentials or --debug line.

        Raises TransportError with Go's text, and UrlError for what is no URL.
        """
        from kvraft_cli.endpoints import parse_url

        return self.transport.exchange("GET", parse_url(url), header_timeout_s=timeout_s)

    def client(self) -> Client:
        """A `kvraft.client.client.Client` with the same endpoints, user, TLS files and time limit.

        To be used with `async with`. Raises ConfigError.
        """
        from kvraft.client.client import Client
        from kvraft_cli.tls import check

        endpoints = self.endpoints()
        files = self.tls_files()
        check(files)
        name, colon, password = (self.credentials() or "").partition(":")
        try:
            return Client(
                [str(endpoint) for endpoint in endpoints],
                username=name if colon else None,
                password=password if colon else None,
                ca_file=files.ca or None,
                cert_file=files.cert or None,
                key_file=files.key or None,
                timeout_s=self.total_timeout_s,
                sync_endpoints=not self.options.boolean("no-sync"),
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
