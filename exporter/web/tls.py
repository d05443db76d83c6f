"""TLS at the server's end: a context made from settings.

The rule: what is checked is what is used. Certificates and keys are bytes here, and none is put on a disk for
OpenSSL, which takes files alone; a context that failed to load something is never used.
"""

import contextlib
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from exporter.errors import ExporterError

CIPHER_SUITES = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""The suites of TLS 1.2 that Go holds for secure: its names, which are IANA's, and OpenSSL's."""

TLS13_CIPHER_SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
"""The suites of TLS 1.3, which neither Go nor Python lets anybody choose from."""

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Go's names and OpenSSL's."""

Problem = tuple[tuple[str | int, ...], str]
"""Where among the settings' keys, and what is wrong there."""


class TlsError(ExporterError):
    """Settings that OpenSSL cannot use; ``problems`` has all that is wrong."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{location[0]}: {text}" for location, text in problems))
        self.problems = problems


@dataclass(frozen=True)
class Pem:
    """Certificates or a key in PEM format, and the configuration's key that they came from."""

    key: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """What a server's TLS should be like."""

    certificate: Pem
    """The server's own, and what leads to its CA."""
    private_key: Pem
    client_ca: Pem | None = None
    client_verification: ssl.VerifyMode = ssl.CERT_NONE
    allowed_sans: frozenset[str] = frozenset()
    """Names of which a client's certificate must have one; empty: any verified certificate will do."""
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    cipher_suites: tuple[str, ...] = ()
    """Keys of CIPHER_SUITES, in the order of preference, and any of TLS13_CIPHER_SUITES; empty: OpenSSL's."""
    prefer_server_cipher_suites: bool = True
    curve: str | None = None
    """A key of CURVES; None: OpenSSL's."""


def make_context(tls: TlsSettings) -> ssl.SSLContext:
    """Return a new context for a server. Raise TlsError with everything that is wrong with the settings."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = tls.minimum_version
    context.maximum_version = tls.maximum_version
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if not tls.prefer_server_cipher_suites:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # As in Go, each certificate of the CA file is an anchor by itself, an intermediate one too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = tls.client_verification
    context.set_alpn_protocols(["http/1.1"])
    if tls.curve is not None:
        context.set_ecdh_curve(CURVES[tls.curve])
    problems = [
        *_choose_suites(context, tls),
        *_load_own(context, tls.certificate, tls.private_key),
        *_load_client_ca(context, tls.client_ca),
    ]
    if problems:
        raise TlsError(problems)
    return context


def _choose_suites(context: ssl.SSLContext, tls: TlsSettings) -> Iterator[Problem]:
    names = []
    for index, suite in enumerate(tls.cipher_suites):
        if suite in TLS13_CIPHER_SUITES:
            continue
        try:
            # Among several, OpenSSL leaves those out that it does not have.
            context.set_ciphers(CIPHER_SUITES[suite])
            names.append(CIPHER_SUITES[suite])
        except ssl.SSLError:
            yield ("cipher_suites", index), f"{suite} is not among what this system's OpenSSL offers"
    if names:
        context.set_ciphers(":".join(names))
    elif tls.cipher_suites and tls.maximum_version < ssl.TLSVersion.TLSv1_3:
        yield ("cipher_suites",), "names no suite of TLS 1.2, which max_version allows alone"
    elif tls.cipher_suites:
        context.minimum_version = ssl.TLSVersion.TLSv1_3


def _load_own(context: ssl.SSLContext, certificate: Pem, private_key: Pem) -> Iterator[Problem]:
    text = _no_certificate(certificate)
    if text is not None:
        yield (certificate.key,), text
        return
    try:
        with _as_file(certificate.content) as certificate_file, _as_file(private_key.content) as key_file:
            context.load_cert_chain(certificate_file, key_file, password=_refuse_to_answer)
    except _EncryptedError:
        yield (private_key.key,), "is encrypted with a passphrase, which nobody is there to enter: decrypt it"
    except ssl.SSLError as error:
        if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED"}:
            yield (private_key.key,), f"is not the key of the certificate in {certificate.key}"
        elif error.reason is not None and error.library == "SSL":
            yield (certificate.key,), f"is refused by OpenSSL: {error.reason.replace('_', ' ').lower()}"
        else:
            yield (private_key.key,), "holds no private key in PEM format"
    except OSError as error:  # Too many files are open, for instance.
        yield (certificate.key,), f"cannot be handed to OpenSSL: {os.strerror(error.errno or 0).lower()}"


def _load_client_ca(context: ssl.SSLContext, client_ca: Pem | None) -> Iterator[Problem]:
    if client_ca is None:
        return
    text = _no_certificate(client_ca)
    if text is not None:
        yield (client_ca.key,), text
    else:
        context.load_verify_locations(cadata=_ascii(client_ca.content))


def _no_certificate(pem: Pem) -> str | None:
    """Say why no certificates can be read; None where they can."""
    scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        scratch.load_verify_locations(cadata=_ascii(pem.content))
    except (ssl.SSLError, ValueError):
        begun = b"-----BEGIN CERTIFICATE-----" in pem.content
        return "holds a broken certificate" if begun else "holds no certificates in PEM format"
    return None


def _ascii(content: bytes) -> str:
    """Return PEM as OpenSSL takes it from memory; beside it there may be comments in any language."""
    return content.decode("ascii", "ignore")


class _EncryptedError(Exception):
    """OpenSSL has asked for a passphrase."""


def _refuse_to_answer() -> str:
    # Without this, it is asked for on the terminal.
    raise _EncryptedError


@contextlib.contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """Give the name of a file in memory alone."""
    with os.fdopen(os.memfd_create("pem", os.MFD_CLOEXEC), "wb") as file:
        file.write(content)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
