"""TLS for the client: contexts out of files, and failures in Go's words."""

from __future__ import annotations

import errno
import os
import ssl
from typing import NamedTuple

from kvraft.limits import CTL_MAX_PEM_BYTES
from kvraft_cli.errors import ConfigError

# What OpenSSL calls a certificate that leads to nobody who is trusted.
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
_EXPIRED = (9, 10)
_WRONG_NAME = (62, 64)


class TlsFiles(NamedTuple):
    """The files that identify both sides; empty where none is given."""

    ca: str
    cert: str
    key: str


def check(files: TlsFiles) -> None:
    """Look whether the files go together and can be read; raises ConfigError."""
    if files.cert or files.key:
        if not (files.cert and files.key):
            pair = f"[key: {files.key}, cert: {files.cert}]"
            raise ConfigError(f"KeyFile and CertFile must both be present{pair}")
        _check_readable(files.cert)
        _check_readable(files.key)
    if files.ca:
        _check_readable(files.ca)


def _check_readable(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(CTL_MAX_PEM_BYTES)
    except OSError as error:
        verb = "read" if error.errno == errno.EISDIR else "open"
        text = os.strerror(error.errno or 0).lower()
        raise ConfigError(f"{verb} {path}: {text}") from None


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """A context that verifies servers and shows the client's certificate; raises ConfigError."""
    check(files)
    if not files.ca:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(files.ca)
        except ssl.SSLError:
            pass  # no certificate in it: nobody is trusted
    if files.cert:
        for name, path in (("certificate", files.cert), ("key", files.key)):
            if b"-----BEGIN " not in _check_readable(path):
                raise ConfigError(f"tls: failed to find any PEM data in {name} input")
        try:
            # an encrypted key is refused, not asked for: the terminal belongs to the command
            context.load_cert_chain(files.cert, files.key, password="")
        except ssl.SSLError as error:
            if error.reason == "KEY_VALUES_MISMATCH":
                raise ConfigError("tls: private key does not match public key") from None
            text = f"tls: cannot use {files.cert} with {files.key}: {error.reason or error}"
            raise ConfigError(text) from None
    return context


def describe(error: OSError, host: str) -> str:
    """Why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _UNKNOWN_AUTHORITY:
            return "x509: certificate signed by unknown authority"
        if error.verify_code in _EXPIRED:
            return "x509: certificate has expired or is not yet valid"
        if error.verify_code in _WRONG_NAME:
            return f"x509: certificate is not valid for {host}"
        return f"x509: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        text = (error.reason or str(error)).lower().replace("_", " ")
        if text == "unexpected eof while reading":
            return "EOF"
        if text in ("wrong version number", "http request", "record layer failure"):
            return "tls: first record does not look like a TLS handshake"
        return f"tls: {text}"
    if isinstance(error, EOFError) or not error.errno:
        return "EOF"
    return os.strerror(error.errno).lower()
