"""TLS for one side of a member: from files to contexts, renewed while the member runs.

A side is a port and the role of a client that goes with it: members dial each other with the
certificate of their peer port. Connections get the context that is current when they begin; a
renewed file makes a new context, and old connections live on with theirs. The messages about
unusable files are those of etcd 2.3.

Must not know what runs over a connection. Invariant: `reload_if_changed` leaves either
everything new or everything as it was, whatever it finds on the disk.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final, NamedTuple

from kvraft.errors import KvraftError
from kvraft.limits import CERTIFICATE_NOTICE_S
from kvraft.storage.files import PosixFiles

ContextSource = Callable[[], ssl.SSLContext]
handshaking: Final[ContextVar[socket.socket | None]] = ContextVar("handshaking", default=None)
"""The accepted socket that the current task is about to give to the event loop."""

_log = logging.getLogger("kvraft.tls")
_files = PosixFiles()
_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME; ssl has no name
_OTHERS_MAY_READ: Final = 0o004


class TlsFiles(NamedTuple):
    """Paths as given by the flags of one side; an empty one means: not given.

    `client_cert_auth`: a caller has to show a certificate that chains to `trusted_ca_file`, or to
    the system's roots if that is empty.
    """

    cert_file: str = ""
    key_file: str = ""
    client_cert_auth: bool = False
    trusted_ca_file: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that are given."""
        return tuple(path for path in (self.cert_file, self.key_file, self.trusted_ca_file) if path)


class TlsError(KvraftError):
    """The files of a side cannot be used; the text is for the operator."""


class _OutspokenObject(ssl.SSLObject):
    """The server's end of a connection that also tells the client why a handshake failed.

    Event loops drop what OpenSSL wants to say then, so the client would see nothing but the end.
    """

    outgoing: ssl.MemoryBIO
    socket: socket.socket | None

    def do_handshake(self) -> None:
        """Go on as far as what has arrived allows. Raises ssl.SSLError."""
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError:
            alert = self.outgoing.read()
            if alert and self.socket is not None:
                try:
                    self.socket.send(alert)
                except OSError:
                    pass  # the client is gone
            raise


class _ServerContext(ssl.SSLContext):
    """Makes such ends."""

    sslobject_class = _OutspokenObject

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See `ssl.SSLContext.wrap_bio`; called by event loops."""
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _OutspokenObject)
        made.outgoing = outgoing
        made.socket = handshaking.get()
        return made


class Validity(NamedTuple):
    """When a certificate is good: Unix seconds."""

    what: str
    begin_s: float
    end_s: float


class _Loaded(NamedTuple):
    """Everything made from one state of the files."""

    server: ssl.SSLContext | None
    client: ssl.SSLContext
    dates: tuple[Validity, ...]
    remarks: tuple[str, ...]


class Tls:
    """The TLS of one side of a member; see the module's description."""

    def __init__(self, files: TlsFiles, *, peer: bool) -> None:
        """Nothing is read yet: see `load`."""
        self.files = files
        self.side = "peer" if peer else "client"
        self._marks: object = None
        self._loaded: _Loaded | None = None

    @classmethod
    def load(cls, files: TlsFiles, *, peer: bool) -> Tls:
        """Read the files. Raises TlsError. Blocks for some milliseconds."""
        tls = cls(files, peer=peer)
        if files.paths or files.client_cert_auth:
            tls._marks = tls._marks_now()
            tls._loaded = _load(files, peer)
        return tls

    def server_context(self) -> ssl.SSLContext | None:
        """For a connection accepted now; None if there is no certificate to show."""
        return None if self._loaded is None else self._loaded.server

    def client_context(self) -> ssl.SSLContext:
        """For a connection dialled now; with our certificate if there is one."""
        if self._loaded is None:
            # Reading the system's roots takes 20 ms, and few members without files need them.
            self._loaded = _load(self.files, self.side == "peer")
        return self._loaded.client

    def listener(self, url: str) -> ContextSource | None:
        """What connections to a listening URL use; None for http. Raises TlsError."""
        if not url.startswith("https:"):
            return None
        if self.server_context() is None:
            where = url if self.side == "peer" else "given listener"
            raise TlsError(
                f"cannot listen on TLS for {where}: KeyFile and CertFile are not presented"
            )
        return self._current_server_context

    def reload_if_changed(self) -> None:
        """Use the files anew if one of them is another one; what is bad is logged and left.

        Blocks: not for the event loop's thread. One call at a time.
        """
        marks = self._marks_now()
        if marks == self._marks:
            return
        self._marks = marks
        try:
            self._loaded = _load(self.files, self.side == "peer")
        except TlsError as error:
            _log.error(
                "the changed TLS files of the %s side cannot be used, those read before stay: %s",
                self.side,
                error,
            )
            return
        _log.info(
            "new connections on the %s side use the changed files %s",
            self.side,
            ", ".join(self.files.paths),
        )

    @property
    def validities(self) -> tuple[Validity, ...]:
        """How long the certificates that were read last are good for."""
        return () if self._loaded is None else self._loaded.dates

    def refusal_of_name(self, host: str) -> str:
        """Why a client that trusts our certificate refuses it at this host; empty if it does not.

        Takes some milliseconds.
        """
        if self._loaded is None or self._loaded.server is None:
            return ""
        try:
            _decoded(self.files, both_roles=False, host=host)
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        return ""

    def problems(self, now_s: float) -> list[str]:
        """What others will refuse, or soon will, at this time (Unix seconds)."""
        if self._loaded is None:
            return []
        return [*self._loaded.remarks, *_date_problems(self._loaded.dates, now_s)]

    def _current_server_context(self) -> ssl.SSLContext:
        context = self.server_context()
        assert context is not None, "a listener has had one from the start"
        return context

    def _marks_now(self) -> object:
        return [_files.mark(path) for path in self.files.paths]


def prepare(files: TlsFiles, urls: Sequence[str], *, peer: bool) -> tuple[Tls, list[str]]:
    """The TLS of a side that listens at these URLs, and what to warn about. Raises TlsError.

    The files of a client side without https are not read at all; those of the peer side are, as
    a member dials others with them.
    """
    side = "peer" if peer else "client"
    plain = [url for url in urls if not url.startswith("https:")]
    warnings = []
    if files.cert_file or files.key_file:
        warnings = [
            f"The scheme of {side} url {url} is http while {side} key/cert files are presented. "
            f"Ignored {side} key/cert files."
            for url in plain
        ]
    elif files.client_cert_auth:
        warnings = [
            f"The scheme of {side} url {url} is http: no certificate is asked for there, "
            f"whatever the {side} flags say."
            for url in plain
        ]
    unused = not peer and len(plain) == len(urls)
    tls = Tls.load(TlsFiles() if unused else files, peer=peer)
    for url in urls:
        tls.listener(url)
    return tls, warnings


# --- from files to contexts ----------------------------------------------------------------


def _load(files: TlsFiles, peer: bool) -> _Loaded:
    if bool(files.cert_file) != bool(files.key_file):
        raise TlsError(
            "KeyFile and CertFile must both be present"
            f"[key: {files.key_file}, cert: {files.cert_file}]"
        )
    server = None
    dates: list[Validity] = []
    remarks: list[str] = []
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.hostname_checks_common_name = False
    _harden(client)
    if files.cert_file:
        _check_pair(files)
        server = _ServerContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(server)
        server.num_tickets = 0  # a resumed session would outlive the certificate it began with
        for context in (server, client):
            _load_pair(context, files)
        remarks += _key_remarks(files.key_file)
        try:
            dates += _validity(f"the certificate in {files.cert_file}", _decoded(files, peer))
        except ssl.SSLError as error:
            remarks.append(
                f"the certificate in {files.cert_file} will not do: {_reason(error)}"
                + ("; members need it for both the server's and the client's role" * peer)
            )
    _load_authorities(client, files.trusted_ca_file)
    if server is not None and files.client_cert_auth:
        server.verify_mode = ssl.CERT_REQUIRED
        _load_authorities(server, files.trusted_ca_file)
    if files.trusted_ca_file:
        for authority in client.get_ca_certs():
            dates += _validity(f"a certificate in {files.trusted_ca_file}", authority)
    return _Loaded(server, client, tuple(dates), tuple(remarks))


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    # An intermediate authority, or a single certificate, may be what is trusted, as in etcd.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def _load_pair(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.cert_file, files.key_file, _no_password(files.key_file))
    except OSError as error:  # ssl.SSLError is one
        raise TlsError(_pair_reason(error, files)) from error


def _no_password(path: str) -> Callable[[], str]:
    def ask() -> str:
        raise TlsError(f"the key in {path} is encrypted, and there is nobody to ask for the word")

    return ask


# What OpenSSL refuses to use, and what an operator can do about it.
_WEAKNESSES: Final = {
    "CA_MD_TOO_WEAK": "it is signed with SHA-1 or MD5, which prove nothing any more: renew it",
    "EE_KEY_TOO_SMALL": "its key is too short: renew it with RSA 2048 or P-256",
    "CA_KEY_TOO_SMALL": "the key of its authority is too short: renew both",
}


def _pair_reason(error: OSError, files: TlsFiles) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "tls: private key does not match public key"
    if reason in ("KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"):
        return "tls: private key type does not match public key type"
    if reason is None:
        return f"open {files.cert_file}: {error.strerror or error}"
    cannot = f"tls: cannot use {files.cert_file} with {files.key_file}: {_reason(error)}"
    weakness = _WEAKNESSES.get(reason)
    return f"{cannot} ({weakness})" if weakness else cannot


def _check_pair(files: TlsFiles) -> None:
    """Say what is wrong in the words of etcd, where OpenSSL would only say `PEM lib`."""
    certificate, key = _read(files.cert_file), _read(files.key_file)
    found = list(_pem_types(certificate))
    if not found:
        raise TlsError("tls: failed to find any PEM data in certificate input")
    if "CERTIFICATE" not in found:
        if len(found) == 1 and found[0].endswith("PRIVATE KEY"):
            raise TlsError(
                "tls: failed to find certificate PEM data in certificate input, but did find a "
                "private key; PEM inputs may have been switched"
            )
        raise TlsError(
            'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM '
            f"blocks of the following types: [{' '.join(found)}]"
        )
    found = list(_pem_types(key))
    if not found:
        raise TlsError("tls: failed to find any PEM data in key input")
    if not any(kind.endswith("PRIVATE KEY") for kind in found):
        if found == ["CERTIFICATE"]:
            raise TlsError(
                "tls: found a certificate rather than a key in the PEM for the private key"
            )
        raise TlsError(
            'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after '
            f"skipping PEM blocks of the following types: [{' '.join(found)}]"
        )


def _pem_types(data: bytes) -> Iterator[str]:
    for line in data.splitlines():
        if line.startswith(b"-----BEGIN ") and line.rstrip().endswith(b"-----"):
            yield line.rstrip()[11:-5].decode("ascii", "replace")


def _load_authorities(context: ssl.SSLContext, path: str) -> None:
    if not path:
        context.load_default_certs(
            ssl.Purpose.CLIENT_AUTH
            if context.protocol == ssl.PROTOCOL_TLS_SERVER
            else ssl.Purpose.SERVER_AUTH
        )
        return
    data = _read(path)
    try:
        if "CERTIFICATE" in _pem_types(data):
            context.load_verify_locations(path)
    except OSError as error:
        raise TlsError(f"cannot use the CA file {path}: {_reason(error)}") from error
    if not context.cert_store_stats()["x509"]:
        raise TlsError(f"there is no certificate in the CA file {path}: nobody could be trusted")


def _read(path: str) -> bytes:
    try:
        return _files.read(path)
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        reason = (error.strerror or str(error)).lower()
        raise TlsError(f"{verb} {path}: {reason}") from error


def _key_remarks(path: str) -> list[str]:
    if _files.mode(path) & _OTHERS_MAY_READ:
        return [f"every user of this machine may read the private key: run chmod 600 {path}"]
    return []


def _reason(error: OSError) -> str:
    """The part of an OpenSSL error that means something to people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    reason = getattr(error, "reason", None)
    return reason.replace("_", " ").lower() if reason else str(error.strerror or error)


# --- what others will see ------------------------------------------------------------------


def _decoded(files: TlsFiles, both_roles: bool, host: str = "") -> dict[str, Any]:
    """Our own certificate, as somebody sees it who trusts it, whatever the date is.

    With a host, as somebody sees it who came to us by that name or address.
    The standard library decodes a certificate only as part of a connection, so one is made in
    memory. Raises ssl.SSLError if the certificate does not allow the use that is made of it.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = bool(host)
    client.hostname_checks_common_name = False
    for context in (server, client):
        _load_pair(context, files)
        context.load_verify_locations(files.cert_file)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    if both_roles:
        server.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    named = client.wrap_bio(back, there, server_hostname=host or None)
    sides = [named, server.wrap_bio(there, back, server_side=True)]
    waiting = list(sides)
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return sides[0].getpeercert() or {}


def _validity(what: str, certificate: dict[str, Any]) -> list[Validity]:
    try:
        begin, end = certificate["notBefore"], certificate["notAfter"]
        return [Validity(what, ssl.cert_time_to_seconds(begin), ssl.cert_time_to_seconds(end))]
    except (KeyError, ValueError):
        return []


def _date_problems(dates: Sequence[Validity], now_s: float) -> Iterator[str]:
    for what, begin_s, end_s in dates:
        if now_s < begin_s:
            yield f"{what} is not valid before {_date(begin_s)}: others will refuse it until then"
        elif now_s >= end_s:
            yield f"{what} expired on {_date(end_s)}: others refuse it"
        elif now_s >= end_s - CERTIFICATE_NOTICE_S:
            yield f"{what} expires on {_date(end_s)}: others will refuse it from then on"


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
