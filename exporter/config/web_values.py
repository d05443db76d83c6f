"""The values of the web configuration file: each function takes one as YAML gave it, and returns it as it is used.

Each raises RefusedError with a sentence that says what would be right, and that quotes neither a hash nor
anything else that could be a secret in the wrong place.
"""

import re
import ssl
import string
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from exporter.config.problems import RefusedError
from exporter.config.yaml_loading import read_bounded, read_pipe, refuse_pipe
from exporter.files import gives_once, shown
from exporter.web.tls import CIPHER_SUITES, CURVES, TLS13_CIPHER_SUITES

HEADERS: dict[str, tuple[str, ...]] = {
    "Content-Security-Policy": (),
    "X-Frame-Options": ("deny", "sameorigin"),
    "X-Content-Type-Options": ("nosniff",),
    "X-XSS-Protection": (),
    "Strict-Transport-Security": (),
}
"""The headers that exporter-toolkit lets be set, and to which values, where not to any."""

NO_CLIENT_CERT = "NoClientCert"
VERIFY_ALL = "RequireAndVerifyClientCert"
CLIENT_AUTH_TYPES = {
    NO_CLIENT_CERT: ssl.CERT_NONE,
    "RequestClientCert": ssl.CERT_NONE,  # As in Go, whatever is sent is not verified: it need not be asked for.
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    VERIFY_ALL: ssl.CERT_REQUIRED,
}
_UNVERIFIED = ("RequireAnyClientCert", "RequireClientCert")
VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = ("TLS10", "TLS11")

_LARGEST_PEM_BYTES = 8 * 1024 * 1024
_LONGEST_WAIT_SECONDS = 5.0
_LONGEST_QUOTED = 64
_LONGEST_HARMLESS = 40  # Of 32 bytes or more, base64 makes 43 characters or more.
_ENDS_OF_NAMES = (".pem", ".crt", ".cer", ".key")  # In base64 there is no dot.
_COSTLIEST = 16
_HASH = re.compile(r"(\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21})([./A-Za-z0-9])([./A-Za-z0-9]{31})")
_BASE64 = "./" + string.ascii_uppercase + string.ascii_lowercase + string.digits
_UNITS_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST_INTERVAL_SECONDS = 3600.0 * 24 * 365
_LARGEST_BURST = 1_000_000_000


def is_blank(value: Any) -> bool:
    """Tell whether a value is as good as none, as what is left of a template often is."""
    return value is None or value == ""


def file_name(value: Any) -> str:
    """Return the name of a file that holds PEM."""
    name = _text(value)
    if not name.isprintable() or "-----" in name:
        raise RefusedError("must be the name of a file; PEM itself goes into the key without _file at its end")
    return name


def read_pem(folder: Path, name: str, *, again: bool) -> bytes:
    """Return a PEM file's content. A pipe's is not there ``again``.

    A name that is long, and does not end like the name of such a file, could be a key in base64, of whose
    lines YAML makes one: it is not shown.
    """
    path = folder / name
    try:
        if again:
            refuse_pipe(path)
        if gives_once(path):
            return read_pipe(path, _LARGEST_PEM_BYTES, seconds=_LONGEST_WAIT_SECONDS)
        return read_bounded(path, _LARGEST_PEM_BYTES)
    except RefusedError as refusal:
        named = len(name) <= _LONGEST_QUOTED and name.endswith(_ENDS_OF_NAMES)
        harmless = named or len(name) <= _LONGEST_HARMLESS
        raise RefusedError(f"{shown(path) if harmless else 'the file of that name'} {refusal}") from None


def pem(value: Any) -> bytes:
    """Return PEM that the file holds itself."""
    text = _text(value)
    if "-----BEGIN" not in text:
        raise RefusedError("must be PEM, as a block of text (|); a file's name goes into the key with _file")
    return text.encode()


def client_auth_type(value: Any) -> str:
    """Return how clients are told apart."""
    if is_blank(value):
        return NO_CLIENT_CERT
    if value in _UNVERIFIED:
        raise RefusedError(
            f"{value} lets in any certificate, verified by nobody, which Python's TLS cannot do: "
            f"write {VERIFY_ALL}, with the CA in client_ca_file"
        )
    return _one_of(value, CLIENT_AUTH_TYPES)


def allowed_san(value: Any) -> str:
    """Return a name that a client's certificate may have."""
    return _text(value)


def version(value: Any) -> ssl.TLSVersion:
    """Return a version of TLS."""
    if value in _OLD_VERSIONS:
        raise RefusedError(f"{value} is insecure and not offered: write TLS12 or TLS13")
    return VERSIONS[_one_of(value, VERSIONS)]


def cipher_suite(value: Any) -> str:
    """Return a suite's name. Those of TLS 1.3 are always all on, as in Go."""
    return _one_of(value, (*CIPHER_SUITES, *TLS13_CIPHER_SUITES))


def curve(value: Any) -> str:
    """Return a curve's name."""
    return _one_of(value, CURVES)


def switch(value: Any) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise RefusedError("must be true or false")
    return value


def http2(value: Any) -> bool:
    """Return that there is no HTTP/2."""
    if switch(value):
        raise RefusedError("must be false or left out: this server speaks HTTP/1.1 alone")
    return False


def header(name: str, value: Any) -> str:
    """Return a header's value, empty for none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)  # "X-XSS-Protection: 0" needs no quotes.
    if is_blank(value):
        return ""
    # As in Go: a block's line breaks are spaces.
    text = re.sub(r"\s*[\r\n]\s*", " ", _text(value).strip())
    if HEADERS[name]:
        return _one_of(text, HEADERS[name])
    if not text.isascii() or not text.isprintable():
        raise RefusedError("must consist of printable ASCII characters")
    return text


def user_name(value: str) -> str:
    """Return a user's name."""
    if ":" in value:
        raise RefusedError("must not have a colon, where a name ends in basic auth")
    return value


def password_hash(value: Any) -> SecretStr:
    """Return a bcrypt hash, judged by its form alone."""
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RefusedError(
            f"must be a bcrypt hash of 60 characters, such as $2y$10$…, with a cost from 04 to {_COSTLIEST}: "
            'htpasswd -nBC 10 "" | tr -d ":\\n"'
        )
    if int(value[4:6]) > _COSTLIEST:
        raise RefusedError(
            f"has a cost of {value[4:6]}, with which a check takes several seconds, and all others wait: make the "
            f"hash with a cost from 04 to {_COSTLIEST}"
        )
    # The salt's last character carries two bits. The others are ignored by Go, and refused by bcrypt in Python.
    head, last, tail = match.groups()
    return SecretStr(f"{head}{_BASE64[_BASE64.index(last) & 0b110000]}{tail}")


def interval(value: Any) -> float:
    """Return the seconds of a duration as Go writes it; 0 for none."""
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        return 0.0
    text = value if isinstance(value, str) and len(value) <= _LONGEST_QUOTED else ""
    if text == "0":
        return 0.0
    amounts = _AMOUNT.findall(text)
    if not text or "".join(map("".join, amounts)) != text:
        raise RefusedError(
            "must be a duration such as 100ms, 1.5s or 1m30s, or 0 for none (units: h m s ms us ns)"
        )
    seconds = sum(float(amount) * _UNITS_SECONDS[unit] for amount, unit in amounts)
    if seconds > _LONGEST_INTERVAL_SECONDS:
        raise RefusedError("must be at most 8760h")
    return seconds


def burst(value: Any) -> int:
    """Return how many requests are answered at once."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_BURST:
        raise RefusedError("must be an integer from 0 to 1,000,000,000")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedError("must be text: put it in quotes")
    if not value:
        raise RefusedError("must not be empty")
    return value


def _one_of(value: Any, known: Collection[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise RefusedError(f"must be one of {', '.join(known)}")
    return value
