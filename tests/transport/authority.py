"""Certificates for tests, written to files as an operator would keep them."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import trustme

from kvraft.transport.tls import TlsFiles

HOSTS = ("localhost", "127.0.0.1", "::1")
LONG_AGO = datetime.datetime(2019, 1, 1, tzinfo=datetime.UTC)
EXPIRED = datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
FAR = datetime.datetime(2900, 1, 1, tzinfo=datetime.UTC)


class Authority:
    """Signs certificates, and keeps everything in one directory."""

    def __init__(self, directory: Path, name: str = "ca") -> None:
        self.directory = directory
        self.name = name
        self.ca = trustme.CA(organization_name=name)
        self.file = directory / f"{name}.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def issue(
        self,
        name: str,
        *hosts: str,
        not_after: datetime.datetime | None = None,
        not_before: datetime.datetime | None = None,
        auth: bool = True,
        key_type: trustme.KeyType = trustme.KeyType.ECDSA,
    ) -> TlsFiles:
        """A certificate and key as two files; `auth` says that others have to show one, too."""
        issued = self.ca.issue_cert(
            *(hosts or HOSTS), not_after=not_after, not_before=not_before, key_type=key_type
        )
        certificate = self.directory / f"{name}.cert.pem"
        key = self.directory / f"{name}.key.pem"
        key.touch(0o600)
        key.write_bytes(issued.private_key_pem.bytes())
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return TlsFiles(str(certificate), str(key), auth, str(self.file))

    def context(self, files: TlsFiles | None = None) -> ssl.SSLContext:
        """What a client has that trusts this authority, with a certificate if files are given."""
        context = ssl.create_default_context(cafile=str(self.file))
        if files is not None:
            context.load_cert_chain(files.cert_file, files.key_file)
        return context
