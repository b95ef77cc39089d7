"""From certificate files to contexts: what is refused, what is warned of, what is renewed."""

from __future__ import annotations

import datetime
import logging
import os
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kvraft.limits import CERTIFICATE_NOTICE_S
from kvraft.transport.tls import Tls, TlsError, TlsFiles, prepare
from tests.transport.authority import EXPIRED, FAR, LONG_AGO, Authority

URL = "https://127.0.0.1:2379"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def load(files: TlsFiles, *, peer: bool = False) -> Tls:
    return Tls.load(files, peer=peer)


def refusal(files: TlsFiles, *, peer: bool = False) -> str:
    with pytest.raises(TlsError) as caught:
        prepare(files, [URL], peer=peer)
    return str(caught.value)


# --- what is refused ------------------------------------------------------------------------


def test_https_needs_a_certificate() -> None:
    reason = "KeyFile and CertFile are not presented"
    assert refusal(TlsFiles()) == f"cannot listen on TLS for given listener: {reason}"
    assert refusal(TlsFiles(), peer=True) == f"cannot listen on TLS for {URL}: {reason}"


def test_a_ca_alone_is_no_certificate(authority: Authority) -> None:
    files = TlsFiles(trusted_ca_file=str(authority.file))
    assert "are not presented" in refusal(files)


def test_certificate_and_key_come_together(authority: Authority) -> None:
    files = authority.issue("a")
    assert refusal(TlsFiles(cert_file="/x")) == (
        "KeyFile and CertFile must both be present[key: , cert: /x]"
    )
    assert refusal(TlsFiles(key_file=files.key_file)) == (
        f"KeyFile and CertFile must both be present[key: {files.key_file}, cert: ]"
    )


@pytest.mark.parametrize("field", ["cert_file", "key_file", "trusted_ca_file"])
def test_files_that_cannot_be_read_are_named(authority: Authority, field: str) -> None:
    files = authority.issue("a")
    directory = str(authority.directory)
    for path, reason in (
        ("/no/x", "open /no/x: no such file or directory"),
        (directory, f"read {directory}: is a directory"),
    ):
        fields: dict[str, Any] = {field: path}
        assert refusal(files._replace(**fields)) == reason


def test_a_key_that_proves_nothing(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(LONG_AGO)
        .not_valid_after(FAR)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = TlsFiles(str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"))
    Path(files.cert_file).write_bytes(certificate.public_bytes(pem))
    Path(files.key_file).write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    assert "its key is too short: renew it" in refusal(files)


def test_a_key_of_another_certificate(authority: Authority) -> None:
    files = authority.issue("a")._replace(key_file=authority.issue("b").key_file)
    assert refusal(files) == "tls: private key does not match public key"


def test_a_key_of_another_kind(authority: Authority) -> None:
    other = authority.issue("b", key_type=trustme.KeyType.RSA)
    files = authority.issue("a")._replace(key_file=other.key_file)
    assert refusal(files) == "tls: private key type does not match public key type"


def test_files_without_what_they_should_hold(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("a")
    empty = tmp_path / "empty"
    empty.touch()
    assert refusal(files._replace(cert_file=str(empty))) == (
        "tls: failed to find any PEM data in certificate input"
    )
    assert refusal(files._replace(key_file=str(empty))) == (
        "tls: failed to find any PEM data in key input"
    )
    assert "may have been switched" in refusal(
        files._replace(cert_file=files.key_file, key_file=files.cert_file)
    )
    assert "a certificate rather than a key" in refusal(
        files._replace(key_file=str(authority.file))
    )


def test_a_damaged_certificate(authority: Authority) -> None:
    files = authority.issue("a")
    text = Path(files.cert_file).read_text()
    Path(files.cert_file).write_text(text.replace("MII", "AAA", 1))
    assert files.cert_file in refusal(files)


def test_an_encrypted_key_does_not_ask_the_terminal(authority: Authority) -> None:
    files = authority.issue("a")
    key = serialization.load_pem_private_key(Path(files.key_file).read_bytes(), None)
    Path(files.key_file).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    assert f"the key in {files.key_file} is encrypted" in refusal(files)


def test_an_authority_without_a_certificate(authority: Authority, tmp_path: Path) -> None:
    files = authority.issue("a")
    empty = tmp_path / "empty"
    empty.write_text("# nothing here\n")
    for auth in (True, False):
        reason = refusal(files._replace(client_cert_auth=auth, trusted_ca_file=str(empty)))
        assert reason.startswith(f"there is no certificate in the CA file {empty}")
    key_as_ca = files._replace(trusted_ca_file=files.key_file)
    assert "there is no certificate in the CA file" in refusal(key_as_ca)


# --- what is ignored, with a warning --------------------------------------------------------


def test_http_ignores_the_files_and_says_so(authority: Authority) -> None:
    _, warnings = prepare(authority.issue("a"), ["http://127.0.0.1:1", URL], peer=True)
    (warning,) = warnings
    assert warning == (
        "The scheme of peer url http://127.0.0.1:1 is http while peer key/cert files are "
        "presented. Ignored peer key/cert files."
    )


def test_unused_client_files_are_not_read_but_unused_peer_files_are() -> None:
    files = TlsFiles("/no/cert", "/no/key")
    tls, warnings = prepare(files, ["http://127.0.0.1:1"], peer=False)
    assert tls.listener("http://127.0.0.1:1") is None
    assert len(warnings) == 1
    with pytest.raises(TlsError, match="open /no/cert: no such file"):
        prepare(files, ["http://127.0.0.1:1"], peer=True)


def test_asking_for_certificates_on_http_is_warned_of() -> None:
    _, warnings = prepare(TlsFiles(client_cert_auth=True), ["http://127.0.0.1:1"], peer=False)
    assert "no certificate is asked for there" in warnings[0]


def test_nothing_to_warn_of() -> None:
    tls, warnings = prepare(TlsFiles(), ["http://127.0.0.1:1"], peer=True)
    assert warnings == []
    assert tls.server_context() is None
    assert tls.problems(time.time()) == []


# --- what others will refuse ----------------------------------------------------------------


def test_good_files_are_no_problem(authority: Authority) -> None:
    for peer in (True, False):
        assert load(authority.issue("a"), peer=peer).problems(time.time()) == []


def test_dates_that_do_not_fit(authority: Authority) -> None:
    files = authority.issue("a", not_before=LONG_AGO, not_after=EXPIRED)
    tls = load(files)
    what = f"the certificate in {files.cert_file}"
    end = EXPIRED.timestamp()
    assert tls.problems(end) == [f"{what} expired on 2020-01-02 03:04:05 UTC: others refuse it"]
    assert tls.problems(end - 1) == [
        f"{what} expires on 2020-01-02 03:04:05 UTC: others will refuse it from then on"
    ]
    assert tls.problems(end - CERTIFICATE_NOTICE_S - 1) == []
    assert tls.problems(LONG_AGO.timestamp() - 1) == [
        f"{what} is not valid before 2019-01-01 00:00:00 UTC: others will refuse it until then"
    ]


def test_an_expired_authority(tmp_path: Path, authority: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = certificate(key, LONG_AGO, EXPIRED, is_ca=True)
    old = tmp_path / "old.pem"
    old.write_bytes(pem)
    tls = load(authority.issue("a")._replace(trusted_ca_file=str(old)))
    assert tls.problems(time.time()) == [
        f"a certificate in {old} expired on 2020-01-02 03:04:05 UTC: others refuse it"
    ]


def test_a_key_that_everybody_may_read(authority: Authority) -> None:
    files = authority.issue("a")
    os.chmod(files.key_file, 0o644)
    assert load(files).problems(0)[0].endswith(f"run chmod 600 {files.key_file}")


def certificate(
    key: ec.EllipticCurvePrivateKey,
    begin: datetime.datetime,
    end: datetime.datetime,
    *usages: x509.ObjectIdentifier,
    is_ca: bool = False,
) -> bytes:
    """A self-signed one, as trustme does not make it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("usage", "client_side", "peer_side"),
    [
        (ExtendedKeyUsageOID.SERVER_AUTH, 0, 1),
        (ExtendedKeyUsageOID.CLIENT_AUTH, 1, 1),
    ],
)
def test_a_member_needs_a_certificate_for_both_roles(
    tmp_path: Path, usage: x509.ObjectIdentifier, client_side: int, peer_side: int
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path = tmp_path / "both.pem"
    path.touch(0o600)
    path.write_bytes(
        certificate(key, LONG_AGO, FAR, usage)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    files = TlsFiles(str(path), str(path))
    for peer, count in ((False, client_side), (True, peer_side)):
        problems = load(files, peer=peer).problems(time.time())
        assert len(problems) == count
        assert all("unsuitable certificate purpose" in problem for problem in problems)
        assert all(("both the server's and the client's" in p) == peer for p in problems)


# --- handshakes -----------------------------------------------------------------------------


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "localhost"
) -> ssl.SSLSocket | str:
    """Connect both over a socket pair; the client's end, or why the server refused."""
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    theirs.settimeout(5)
    reasons: list[str] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as end:
                end.send(b"!")
        except OSError as error:
            reasons.append(getattr(error, "reason", "") or str(error))

    thread = threading.Thread(target=serve)
    thread.start()
    end = None
    try:
        end = client.wrap_socket(ours, server_hostname=host)
        if end.recv(1) == b"!":
            return end
        return reasons[0]
    except OSError:
        if end is not None:
            end.close()
        ours.close()
        thread.join()
        if reasons:
            return reasons[0]
        raise
    finally:
        if not reasons:
            ours.close()
        thread.join()


def test_client_certificates(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger").issue("stranger")
    server = load(authority.issue("server")).server_context()
    assert server is not None
    good = authority.issue("good")
    end = shake(server, authority.context(good))
    assert isinstance(end, ssl.SSLSocket)
    end.close()
    assert shake(server, authority.context()) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert shake(server, authority.context(stranger)) == "CERTIFICATE_VERIFY_FAILED"
    expired = authority.issue("old", not_before=LONG_AGO, not_after=EXPIRED)
    assert shake(server, authority.context(expired)) == "CERTIFICATE_VERIFY_FAILED"


def test_a_ca_without_client_cert_auth_asks_for_nothing(authority: Authority) -> None:
    server = load(authority.issue("server", auth=False)).server_context()
    assert server is not None
    end = shake(server, authority.context())
    assert isinstance(end, ssl.SSLSocket)
    end.close()


def test_client_cert_auth_without_a_ca_asks_the_systems_roots(authority: Authority) -> None:
    files = authority.issue("server")._replace(trusted_ca_file="")
    server = load(files).server_context()
    assert server is not None
    assert shake(server, authority.context()) == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert shake(server, authority.context(files)) == "CERTIFICATE_VERIFY_FAILED"


@pytest.mark.parametrize(
    ("version", "taken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (None, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_versions(authority: Authority, version: ssl.TLSVersion | None, taken: bool) -> None:
    server = load(authority.issue("server", auth=False)).server_context()
    assert server is not None
    client = authority.context()
    if version is not None:
        client.minimum_version = client.maximum_version = version
    if version is ssl.TLSVersion.TLSv1_1:
        client.set_ciphers("ALL:@SECLEVEL=0")
    try:
        end = shake(server, client)
    except ssl.SSLError:
        end = "refused"
    assert isinstance(end, ssl.SSLSocket) == taken
    if isinstance(end, ssl.SSLSocket):
        assert end.selected_alpn_protocol() is None
        end.close()


def test_members_check_each_other(authority: Authority, tmp_path: Path) -> None:
    one = load(authority.issue("one", "127.0.0.1"), peer=True)
    server = one.server_context()
    assert server is not None
    two = load(authority.issue("two", "10.0.0.2"), peer=True).client_context()
    end = shake(server, two, "127.0.0.1")
    assert isinstance(end, ssl.SSLSocket)
    end.close()
    with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
        shake_failing(server, two, "10.0.0.9")
    stranger = load(Authority(tmp_path, "stranger").issue("three"), peer=True).client_context()
    with pytest.raises(ssl.SSLCertVerificationError, match="certificate verify failed"):
        shake_failing(server, stranger, "127.0.0.1")


def shake_failing(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
    """Only the client's side, which is the one to refuse."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = client.wrap_bio(back, there, server_hostname=host)
    b = server.wrap_bio(there, back, server_side=True)
    for _ in range(5):
        for side in (a, b):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


# --- renewal --------------------------------------------------------------------------------


def serial(tls: Tls, authority: Authority) -> int:
    """Of the certificate that a new connection gets to see."""
    context = tls.server_context()
    assert context is not None
    end = shake(context, authority.context())
    assert isinstance(end, ssl.SSLSocket)
    with end:
        der = end.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def test_renewed_files_are_used(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "kvraft.tls")
    files = authority.issue("server", auth=False)
    tls = load(files)
    source = tls.listener(URL)
    assert source is not None
    before, first = serial(tls, authority), source()
    tls.reload_if_changed()
    assert source() is first, "nothing has changed"
    authority.issue("server", auth=False)
    tls.reload_if_changed()
    assert serial(tls, authority) != before
    assert source() is tls.server_context() is not first
    assert [record.levelname for record in caplog.records] == ["INFO"]


def test_half_a_renewal_changes_nothing(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("server", auth=False)
    tls = load(files)
    before = serial(tls, authority)
    key = Path(files.key_file).read_bytes()
    authority.issue("server", auth=False)
    new_key = Path(files.key_file).read_bytes()
    Path(files.key_file).write_bytes(key)
    for _ in range(3):
        tls.reload_if_changed()
    assert serial(tls, authority) == before
    assert len(caplog.records) == 1, "said once, not every minute"
    assert "private key does not match public key" in caplog.text
    Path(files.key_file).write_bytes(new_key)
    tls.reload_if_changed()
    assert serial(tls, authority) != before


def test_a_file_that_vanishes_is_survived(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue("server")
    tls = load(files)
    context = tls.server_context()
    os.rename(files.cert_file, files.cert_file + ".away")
    tls.reload_if_changed()
    assert tls.server_context() is context
    assert "no such file or directory" in caplog.text
    os.rename(files.cert_file + ".away", files.cert_file)
    tls.reload_if_changed()
    assert tls.server_context() is not context


def test_a_changed_authority_lets_others_in_and_the_old_ones_out(
    authority: Authority, tmp_path: Path
) -> None:
    tls = load(authority.issue("server"))
    other = Authority(tmp_path, "other")
    old, new = authority.issue("old"), other.issue("new")
    both_trusted = authority.context(new)
    first = tls.server_context()
    assert first is not None
    assert shake(first, both_trusted) == "CERTIFICATE_VERIFY_FAILED"
    authority.file.write_bytes(other.file.read_bytes())
    tls.reload_if_changed()
    second = tls.server_context()
    assert second is not None
    end = shake(second, both_trusted)
    assert isinstance(end, ssl.SSLSocket)
    end.close()
    context = ssl.create_default_context()
    context.load_verify_locations(cadata=authority.ca.cert_pem.bytes().decode())
    context.load_cert_chain(old.cert_file, old.key_file)
    assert shake(second, context) == "CERTIFICATE_VERIFY_FAILED"


def test_without_files_a_member_can_still_dial_with_the_systems_roots() -> None:
    tls = load(TlsFiles(), peer=True)
    context = tls.client_context()
    assert context is tls.client_context()
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
