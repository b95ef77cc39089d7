"""What a member is told about TLS for one of its two ports."""

from __future__ import annotations

from typing import NamedTuple


class TlsFiles(NamedTuple):
    """Paths as given by the flags of one side; an empty one means: not given.

    `client_cert_auth`: a caller has to show a certificate that chains to `trusted_ca_file`, or to
    the system's roots if that is empty.
    """

    cert_file: str = ""
    key_file: str = ""
    client_cert_auth: bool = False
    trusted_ca_file: str = ""
