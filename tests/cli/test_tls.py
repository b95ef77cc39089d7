"""Certificates: which files are refused, and why a handshake fails."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from kvraft_cli.endpoints import parse_url
from kvraft_cli.errors import ConfigError, TransportError
from kvraft_cli.http import Transport
from kvraft_cli.tls import TlsFiles, check, make_context
from tests.cli.stub import Stub, answer


class Files(NamedTuple):
    ca: str
    cert: str
    key: str
    other_ca: str
    other_key: str
    server: ssl.SSLContext


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    directory = tmp_path_factory.mktemp("tls")
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca")
    other.cert_pem.write_to_path(directory / "other")
    client = authority.issue_cert("client@x")
    client.cert_chain_pems[0].write_to_path(directory / "cert")
    client.private_key_pem.write_to_path(directory / "key")
    other.issue_cert("client@x").private_key_pem.write_to_path(directory / "other_key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    names = [str(directory / name) for name in ("ca", "cert", "key", "other", "other_key")]
    return Files(names[0], names[1], names[2], names[3], names[4], context)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    assert caught.value.code == 1
    return caught.value.message


def test_files_that_do_not_go_together(files: Files, tmp_path: Path) -> None:
    both = "KeyFile and CertFile must both be present"
    assert refused(lambda: check(TlsFiles("none", "c", ""))) == f"{both}[key: , cert: c]"
    assert refused(lambda: check(TlsFiles("", "", "k"))) == f"{both}[key: k, cert: ]"
    none = str(tmp_path / "none")
    missing = f"open {none}: no such file or directory"
    assert refused(lambda: check(TlsFiles("", none, "k"))) == missing
    assert refused(lambda: check(TlsFiles("", files.cert, none))) == missing
    assert refused(lambda: check(TlsFiles(none, "", ""))) == missing
    assert refused(lambda: check(TlsFiles(str(tmp_path), "", ""))) == (
        f"read {tmp_path}: is a directory"
    )
    check(TlsFiles("", "", ""))


def test_files_that_hold_something_else(files: Files, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    for cert, key, message in (
        (str(text), files.key, "tls: failed to find any PEM data in certificate input"),
        (files.cert, str(text), "tls: failed to find any PEM data in key input"),
        (files.cert, files.other_key, "tls: private key does not match public key"),
    ):
        assert refused(partial(make_context, TlsFiles("", cert, key))) == message
    assert "cannot use" in refused(lambda: make_context(TlsFiles("", files.cert, files.cert)))
    # authorities that are none: nobody is trusted
    assert make_context(TlsFiles(str(text), "", "")).get_ca_certs() == []


def test_both_sides_know_each_other(files: Files) -> None:
    with Stub(lambda _: answer(200, "safe"), files.server) as stub:
        transport = Transport(lambda: make_context(TlsFiles(files.ca, files.cert, files.key)))
        for _ in range(2):
            assert transport.exchange("GET", parse_url(stub.url)).body == b"safe"
        transport.close()
    assert stub.connections == 1


def failure(url: str, files: TlsFiles) -> str:
    transport = Transport(lambda: make_context(files))
    with pytest.raises(TransportError) as caught:
        transport.exchange("GET", parse_url(url))
    transport.close()
    assert not caught.value.dialing
    return caught.value.text


def test_strangers(files: Files) -> None:
    with Stub(lambda _: answer(200), files.server) as stub:
        stranger = TlsFiles(files.other_ca, files.cert, files.key)
        assert failure(stub.url, stranger) == "x509: certificate signed by unknown authority"
        known = TlsFiles(files.ca, files.cert, files.key)
        other_name = stub.url.replace("127.0.0.1", "localhost")
        assert failure(other_name, known) == "x509: certificate is not valid for localhost"
        # without a certificate the server ends the connection
        assert failure(stub.url, TlsFiles(files.ca, "", "")) != ""


def test_a_server_without_tls(files: Files) -> None:
    with Stub(lambda _: answer(200)) as stub:
        url = stub.url.replace("http:", "https:")
        text = "tls: first record does not look like a TLS handshake"
        assert failure(url, TlsFiles(files.ca, "", "")) in (text, "EOF")
