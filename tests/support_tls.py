"""Certificates for tests, made when they run, and handshakes without sockets."""

import contextlib
import datetime as dt
import ssl
from pathlib import Path
from typing import NamedTuple

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

HASH = "$2b$04$hwrqkGh2H5km4p2Qp8IaxeqKbz1aV8ul8bvPeaqA8sAtaV8ejlmka"
"""The bcrypt hash of PASSWORD, at the lowest cost."""
PASSWORD = "secret"


class Issued(NamedTuple):
    """A certificate with its key, as PEM."""

    certificate: str
    key: str


def issue(authority: trustme.CA, *names: str) -> Issued:
    """Have a certificate issued for these names."""
    issued = authority.issue_cert(*names)
    chain = "".join(pem.bytes().decode() for pem in issued.cert_chain_pems)
    return Issued(chain, issued.private_key_pem.bytes().decode())


def certify(
    *names: x509.GeneralName,
    authority: trustme.CA | None = None,
    rsa_bits: int = 0,
    days: tuple[int, int] = (-1, 1),
) -> Issued:
    """Make a certificate of one's own, signed by an authority or by itself, valid between two days from now.

    The key is an elliptic one unless it has bits. Names may be of all kinds.
    """
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "common")])
    issuer, signing_key = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
        signing_key = load_pem_private_key(authority.private_key_pem.bytes(), None)  # type: ignore[assignment] # EC
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + dt.timedelta(days[0]))
        .not_valid_after(now + dt.timedelta(days[1]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
        )
        .sign(signing_key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(certificate.public_bytes(Encoding.PEM).decode(), private.decode())


def rewritten(key: str, form: PrivateFormat = PrivateFormat.PKCS8, *, passphrase: str = "") -> str:
    """Return a key in another form, encrypted if there is a passphrase."""
    encryption = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    return load_pem_private_key(key.encode(), None).private_bytes(Encoding.PEM, form, encryption).decode()


def certificate_of(authority: trustme.CA) -> str:
    """Return an authority's own certificate, as PEM."""
    return authority.cert_pem.bytes().decode()


def client_context(
    authority: trustme.CA,
    own: Issued | None = None,
    *,
    folder: Path | None = None,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None,
    ciphers: str | None = None,
) -> ssl.SSLContext:
    """Make the context of a client that trusts an authority, with a certificate of its own in a folder or none."""
    context = ssl.create_default_context(cadata=certificate_of(authority))
    if own is not None:
        assert folder is not None
        file = folder / "client-own.pem"
        file.write_text(own.key + own.certificate)
        context.load_cert_chain(file)
    if versions is not None:
        context.minimum_version, context.maximum_version = versions
    if ciphers is not None:
        context.set_ciphers(ciphers)
    return context


class Handshake(NamedTuple):
    """Both ends of a connection after a handshake."""

    server: ssl.SSLObject
    client: ssl.SSLObject


def shake_hands(server_context: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost") -> Handshake:
    """Connect two contexts in memory; raise the SSLError of whichever end refuses the other first."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = Handshake(
        server_context.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    )
    for _ in range(4):
        for end in (ends.client, ends.server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends
