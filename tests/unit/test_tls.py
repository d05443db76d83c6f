"""TLS contexts as two ends in memory use them, what is refused when one is made, and names of clients."""

import ipaddress
import resource
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from support_tls import Issued, certificate_of, certify, client_context, issue, rewritten, shake_hands

from exporter.web.policy import permitted
from exporter.web.tls import (
    CIPHER_SUITES,
    TLS13_CIPHER_SUITES,
    Pem,
    TlsError,
    TlsSettings,
    make_context,
)

OURS = trustme.CA()
THEIRS = trustme.CA()
SERVER = issue(OURS, "localhost")
CLIENT = issue(OURS, "prometheus.example")
FOREIGN = issue(THEIRS, "prometheus.example")
LOCALHOST = x509.DNSName("localhost")
TLS12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)
SETTINGS = TlsSettings(
    certificate=Pem("cert_file", SERVER.certificate.encode()), private_key=Pem("key_file", SERVER.key.encode())
)
VERIFYING = replace(
    SETTINGS,
    client_ca=Pem("client_ca_file", certificate_of(OURS).encode()),
    client_verification=ssl.CERT_REQUIRED,
)
BROKEN = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def own(issued: Issued) -> TlsSettings:
    """Return settings with that certificate and key."""
    return with_own(issued.certificate, issued.key)


def with_own(certificate: str, key: str) -> TlsSettings:
    """Return settings with that certificate and key."""
    return replace(
        SETTINGS, certificate=Pem("cert_file", certificate.encode()), private_key=Pem("key_file", key.encode())
    )


def problems(settings: TlsSettings) -> list[tuple[tuple[str | int, ...], str]]:
    """Return what is wrong with settings."""
    with pytest.raises(TlsError) as caught:
        make_context(settings)
    return caught.value.problems


def test_context_serves_the_certificate_over_http_1() -> None:
    """By default it is TLS 1.3 with http/1.1, however much the client would like HTTP/2."""
    client = client_context(OURS)
    client.set_alpn_protocols(["h2", "http/1.1"])
    ends = shake_hands(make_context(SETTINGS), client)
    assert (ends.client.version(), ends.client.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    assert ends.server.getpeercert() is None


def test_context_is_hardened() -> None:
    """No version below 1.2, no compression, no renegotiation; the server's preference decides."""
    context = make_context(SETTINGS)
    assert (context.minimum_version, context.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    needed = ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    assert context.options & needed == needed


def test_old_client_is_refused() -> None:
    """A client that can do nothing newer than TLS 1.1 gets no connection."""
    client = client_context(OURS, ciphers="ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        client.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL"):
        shake_hands(make_context(SETTINGS), client)


@pytest.mark.parametrize(
    ("minimum", "maximum", "offered", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, None, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, None, "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3, TLS12, "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3, TLS12, None),
        (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2, TLS13, None),
    ],
)
def test_versions_are_bounds(
    minimum: ssl.TLSVersion,
    maximum: ssl.TLSVersion,
    offered: tuple[ssl.TLSVersion, ssl.TLSVersion] | None,
    agreed: str | None,
) -> None:
    """Only what lies between the versions of the settings can be agreed on."""
    context = make_context(replace(SETTINGS, minimum_version=minimum, maximum_version=maximum))
    client = client_context(OURS, versions=offered)
    if agreed is None:
        with pytest.raises(ssl.SSLError):
            shake_hands(context, client)
    else:
        assert shake_hands(context, client).client.version() == agreed


@pytest.mark.parametrize("suite", [name for name in CIPHER_SUITES if "_ECDSA_" in name])
def test_suite_is_the_only_one_of_tls_1_2(suite: str) -> None:
    """A client that offers them all gets that one; TLS 1.3 is as it was."""
    context = make_context(replace(SETTINGS, cipher_suites=(suite,)))
    agreed = shake_hands(context, client_context(OURS, versions=TLS12, ciphers="ALL")).client.cipher()
    assert agreed is not None
    assert agreed[0] == CIPHER_SUITES[suite]
    assert shake_hands(context, client_context(OURS)).client.version() == "TLSv1.3"
    assert context.security_level == ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).security_level


@pytest.mark.parametrize("suite", [name for name in CIPHER_SUITES if "_RSA_" in name])
def test_suite_of_an_rsa_key_is_there(suite: str) -> None:
    """The other half of the suites needs another kind of key; OpenSSL has them under that name."""
    context = make_context(replace(SETTINGS, cipher_suites=(suite, *TLS13_CIPHER_SUITES)))
    chosen = [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"]
    assert chosen == [CIPHER_SUITES[suite]]


@pytest.mark.parametrize(("preferred", "expected"), [(True, "AES256-GCM-SHA384"), (False, "AES128-GCM-SHA256")])
def test_order_of_suites_counts_where_the_server_decides(*, preferred: bool, expected: str) -> None:
    """The first suite of the settings that the client has is used, or the client's first."""
    settings = replace(
        SETTINGS,
        cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"),
        prefer_server_cipher_suites=preferred,
    )
    client = client_context(
        OURS, versions=TLS12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    )
    agreed = shake_hands(make_context(settings), client).client.cipher()
    assert agreed is not None
    assert agreed[0] == f"ECDHE-ECDSA-{expected}"


def test_suites_of_tls_1_3_alone_leave_no_tls_1_2() -> None:
    """As in Go, where a list without a suite of TLS 1.2 lets nobody agree on that version."""
    context = make_context(replace(SETTINGS, cipher_suites=TLS13_CIPHER_SUITES[:1]))
    assert shake_hands(context, client_context(OURS)).client.version() == "TLSv1.3"
    with pytest.raises(ssl.SSLError):
        shake_hands(context, client_context(OURS, versions=TLS12))


def test_suites_of_no_allowed_version_are_refused() -> None:
    """A server that could not agree with anybody is not started."""
    settings = replace(SETTINGS, cipher_suites=TLS13_CIPHER_SUITES, maximum_version=ssl.TLSVersion.TLSv1_2)
    text = "names no suite of TLS 1.2, which max_version allows alone"
    assert problems(settings) == [(("cipher_suites",), text)]


def test_suite_that_openssl_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As some distributions build it; among others, OpenSSL itself would leave it out in silence."""
    monkeypatch.setitem(CIPHER_SUITES, "TLS_OTHER", "OTHER")
    settings = replace(SETTINGS, cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_OTHER"))
    text = "TLS_OTHER is not among what this system's OpenSSL offers"
    assert problems(settings) == [(("cipher_suites", 1), text)]


@pytest.mark.parametrize("curve", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_curve_is_set(curve: str) -> None:
    """A client with another curve finds none in common; with that one, or all, it connects."""
    context = make_context(replace(SETTINGS, curve=curve))
    assert shake_hands(context, client_context(OURS)).client.version() == "TLSv1.3"
    other = client_context(OURS)
    other.set_ecdh_curve("prime256v1" if curve != "CurveP256" else "X25519")
    with pytest.raises(ssl.SSLError):
        shake_hands(context, other)


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize(
    ("client", "required", "optional"), [(CLIENT, True, True), (FOREIGN, False, False), (None, False, True)]
)
def test_client_certificate_is_verified(
    tmp_path: Path,
    version: tuple[ssl.TLSVersion, ssl.TLSVersion],
    client: Issued | None,
    *,
    required: bool,
    optional: bool,
) -> None:
    """One of the CA comes in, a foreign one never, and none where it may be left out."""
    for verification, expected in ((ssl.CERT_REQUIRED, required), (ssl.CERT_OPTIONAL, optional)):
        context = make_context(replace(VERIFYING, client_verification=verification))
        with_own_certificate = client_context(OURS, client, folder=tmp_path, versions=version)
        if expected:
            certificate = shake_hands(context, with_own_certificate).server.getpeercert()
            names = (certificate or {}).get("subjectAltName")
            assert names == (None if client is None else (("DNS", "prometheus.example"),))
        else:
            with pytest.raises(ssl.SSLError):
                shake_hands(context, with_own_certificate)


@pytest.mark.parametrize("verification", [ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED])
def test_python_asks_for_no_certificate_without_verifying_it(tmp_path: Path, verification: ssl.VerifyMode) -> None:
    """What Go calls RequireAnyClientCert cannot be had: without a CA, every certificate is refused."""
    context = make_context(replace(SETTINGS, client_verification=verification))
    with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        shake_hands(context, client_context(OURS, CLIENT, folder=tmp_path))


def test_every_certificate_of_the_ca_file_is_an_anchor(tmp_path: Path) -> None:
    """As in Go, also an intermediate authority whose own root is not there, and a client's own certificate."""
    middle = OURS.create_child_ca()
    client = issue(middle, "prometheus.example")
    single = certify(x509.DNSName("prometheus.example"))
    for anchor, known, unknown in (
        (certificate_of(middle), client, CLIENT),
        (single.certificate, single, CLIENT),
        (certificate_of(THEIRS) + certificate_of(OURS), CLIENT, single),
    ):
        context = make_context(replace(VERIFYING, client_ca=Pem("client_ca", anchor.encode())))
        shake_hands(context, client_context(OURS, known, folder=tmp_path))
        with pytest.raises(ssl.SSLError):
            shake_hands(context, client_context(OURS, unknown, folder=tmp_path))


@pytest.mark.parametrize("days", [(-2, -1), (1, 2)])
def test_time_of_a_certificate_is_no_matter(days: tuple[int, int]) -> None:
    """An expired one, or one for tomorrow, is served: it is for clients to refuse, as with exporter-toolkit."""
    make_context(own(certify(LOCALHOST, days=days)))


def test_chain_and_comments_are_served(tmp_path: Path) -> None:
    """A file with text in any language between certificates is read, and all of the chain is sent."""
    middle = OURS.create_child_ca()
    issued = issue(middle, "localhost")
    context = make_context(with_own(f"# Prüfstand\n{issued.certificate}", f"# Schlüssel\n{issued.key}"))
    assert shake_hands(context, client_context(OURS)).client.version() == "TLSv1.3"
    authority = f"# Prüfstand\n{certificate_of(OURS)}"
    settings = replace(VERIFYING, client_ca=Pem("client_ca", authority.encode()))
    shake_hands(make_context(settings), client_context(OURS, CLIENT, folder=tmp_path))


def open_files() -> list[Path]:
    """Return the descriptors of this process."""
    return sorted(Path("/proc/self/fd").iterdir())


def test_contexts_leave_nothing_open() -> None:
    """What was put in memory for OpenSSL is gone, whether it could be used or not."""
    make_context(SETTINGS)
    before = open_files()
    make_context(SETTINGS)
    problems(with_own(SERVER.certificate, CLIENT.key))
    assert open_files() == before


NO_CERTIFICATES = ("cert_file", "holds no certificates in PEM format")
BROKEN_CERTIFICATE = ("cert_file", "holds a broken certificate")
NO_KEY = ("key_file", "holds no private key in PEM format")
ANOTHERS = ("key_file", "is not the key of the certificate in cert_file")
ENCRYPTED = ("key_file", "is encrypted with a passphrase, which nobody is there to enter: decrypt it")
RSA = certify(LOCALHOST, rsa_bits=2048)
OLDER = PrivateFormat.TraditionalOpenSSL
EC_KEY = certify(LOCALHOST).key


@pytest.mark.parametrize(
    ("certificate", "key", "problem"),
    [
        ("", SERVER.key, NO_CERTIFICATES),
        ("x", SERVER.key, NO_CERTIFICATES),
        (SERVER.key, SERVER.key, NO_CERTIFICATES),
        (BROKEN, SERVER.key, BROKEN_CERTIFICATE),
        (SERVER.certificate + BROKEN, SERVER.key, BROKEN_CERTIFICATE),
        (SERVER.certificate[:200], SERVER.key, BROKEN_CERTIFICATE),
        (SERVER.certificate, "", NO_KEY),
        (SERVER.certificate, "x", NO_KEY),
        (SERVER.certificate, SERVER.certificate, NO_KEY),
        (SERVER.certificate, BROKEN.replace("CERTIFICATE", "PRIVATE KEY"), NO_KEY),
        (SERVER.certificate, SERVER.key[:100], NO_KEY),
        (SERVER.certificate, CLIENT.key, ANOTHERS),
        (SERVER.certificate, EC_KEY, ANOTHERS),
        (SERVER.certificate, RSA.key, ANOTHERS),
        (RSA.certificate, SERVER.key, ANOTHERS),
        (SERVER.certificate, rewritten(SERVER.key, passphrase="words"), ENCRYPTED),
        (
            SERVER.certificate,
            rewritten(SERVER.key, PrivateFormat.TraditionalOpenSSL, passphrase="words"),
            ENCRYPTED,
        ),
    ],
    ids=[
        "no-certificate",
        "nonsense-for-a-certificate",
        "key-for-a-certificate",
        "broken-certificate",
        "broken-authority",
        "cut-certificate",
        "no-key",
        "nonsense-for-a-key",
        "certificate-for-a-key",
        "broken-key",
        "cut-key",
        "key-of-another",
        "key-of-another-in-pkcs8",
        "rsa-key",
        "rsa-certificate",
        "encrypted-key",
        "encrypted-older-key",
    ],
)
def test_own_certificate_that_is_of_no_use_is_refused(
    certificate: str, key: str, problem: tuple[str, str]
) -> None:
    """The key of the configuration that is to blame is named, and nobody is asked for a passphrase."""
    where, text = problem
    assert problems(with_own(certificate, key)) == [((where,), text)]


def test_weak_key_is_refused_in_openssls_words() -> None:
    """What OpenSSL does not want to serve is refused before somebody connects."""
    text = "is refused by OpenSSL: ee key too small"
    assert problems(own(certify(LOCALHOST, rsa_bits=1024))) == [(("cert_file",), text)]


def test_process_without_a_file_handle_says_so() -> None:
    """What goes wrong on the way to OpenSSL is a problem like the others, even in the middle of a reload."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        found = problems(SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found == [(("cert_file",), "cannot be handed to OpenSSL: too many open files")]


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, OLDER])
def test_key_is_read_in_both_forms(form: PrivateFormat) -> None:
    """Keys come as PKCS #8 and in OpenSSL's older form."""
    context = make_context(with_own(SERVER.certificate, rewritten(SERVER.key, form)))
    assert shake_hands(context, client_context(OURS)).client.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "holds no certificates in PEM format"),
        (SERVER.key, "holds no certificates in PEM format"),
        (BROKEN, "holds a broken certificate"),
        (certificate_of(OURS) + BROKEN, "holds a broken certificate"),
    ],
)
def test_client_ca_without_certificates_is_refused(content: str, text: str) -> None:
    """A CA that cannot verify anybody is a mistake."""
    settings = replace(VERIFYING, client_ca=Pem("client_ca", content.encode()))
    assert problems(settings) == [(("client_ca",), text)]


def test_problems_are_reported_at_once() -> None:
    """One broken file does not hide another, and no message holds what is in it."""
    settings = replace(
        VERIFYING,
        private_key=Pem("key", CLIENT.key.encode()),
        client_ca=Pem("client_ca", b"x"),
        cipher_suites=TLS13_CIPHER_SUITES,
        maximum_version=ssl.TLSVersion.TLSv1_2,
    )
    with pytest.raises(TlsError) as caught:
        make_context(settings)
    assert str(caught.value) == (
        "cipher_suites: names no suite of TLS 1.2, which max_version allows alone\n"
        "key: is not the key of the certificate in cert_file\n"
        "client_ca: holds no certificates in PEM format"
    )


def test_secrets_do_not_show() -> None:
    """Neither settings nor what they are made of show a key."""
    assert repr(SETTINGS.private_key) == "Pem(key='key_file')"
    assert "BEGIN" not in repr(VERIFYING)


SANS = {
    "subjectAltName": (
        ("DNS", "prometheus.example"),
        ("IP Address", "10.0.0.1"),
        ("IP Address", "2001:DB8:0:0:0:0:0:1"),
        ("IP Address", "0:0:0:0:0:FFFF:102:304"),
        ("IP Address", "<invalid>"),
        ("email", "ops@example.org"),
        ("URI", "spiffe://example.org/prometheus"),
        ("DirName", ((("commonName", "directory"),),)),
        ("Registered ID", "1.2.3"),
    ),
    "subject": ((("commonName", "common"),),),
}


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        ("prometheus.example", True),
        ("Prometheus.example", False),
        ("*.example", False),
        ("example", False),
        ("10.0.0.1", True),
        ("10.0.0.01", False),
        ("2001:db8::1", True),
        ("2001:0db8::0001", True),
        ("2001:DB8:0:0:0:0:0:1", True),
        ("1.2.3.4", True),
        ("::ffff:1.2.3.4", True),
        ("ops@example.org", True),
        ("spiffe://example.org/prometheus", True),
        ("spiffe://example.org/prometheus/", False),
        ("directory", False),
        ("1.2.3", False),
        ("common", False),
        ("", False),
    ],
)
def test_one_of_the_names_must_be_allowed(allowed: str, *, expected: bool) -> None:
    """Names are compared as exporter-toolkit does it, addresses however they are written."""
    assert permitted(SANS, {allowed}) is expected
    assert permitted(SANS, {"other", allowed}) is expected


def test_without_allowed_names_everybody_is_permitted() -> None:
    """Names restrict who has passed the verification already, where they are given."""
    assert permitted(SANS, ())
    assert permitted({}, ())
    assert permitted(None, ())


def test_whoever_has_no_name_is_not_permitted() -> None:
    """Neither no certificate nor one without names is among those that may come in."""
    assert not permitted(None, {"prometheus.example"})
    assert not permitted({}, {"prometheus.example"})
    assert not permitted({"subject": SANS["subject"]}, {"common"})


@settings(deadline=None)  # A busy machine is no failure.
@given(st.ip_addresses())
def test_address_matches_itself_in_any_notation(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """However long it is written, and as OpenSSL does it."""
    exploded = address.exploded.upper()
    assert permitted({"subjectAltName": (("IP Address", exploded),)}, {str(address)})
    assert permitted({"subjectAltName": (("IP Address", str(address)),)}, {exploded})
