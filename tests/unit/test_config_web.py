"""The web configuration file: what each key of exporter-toolkit's format says, and what is refused."""

import base64
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from support import ROOT
from support_tls import HASH, Issued, certificate_of, issue

from exporter.config import web_values
from exporter.config.web import RequestLimit, WebConfigurationError, WebSettings, load_web
from exporter.errors import ConfigurationError
from exporter.files import fingerprint
from exporter.web.tls import CIPHER_SUITES, CURVES, TLS13_CIPHER_SUITES, Pem, TlsSettings

AUTHORITY = trustme.CA()
SERVER = issue(AUTHORITY, "localhost")
OTHER = issue(AUTHORITY, "localhost")
OWN = "cert_file: server.crt, key_file: server.key"
TLS_KEYS = (
    "cert_file, key_file, cert, key, client_ca_file, client_ca, client_auth_type, client_allowed_sans, "
    "min_version, max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences"
)
FILE_KEYS = "tls_server_config, http_server_config, basic_auth_users, rate_limit"
HEADERS = ", ".join(web_values.HEADERS)
SUITES = ", ".join([*CIPHER_SUITES, *TLS13_CIPHER_SUITES])
NO_HASH = (
    "must be a bcrypt hash of 60 characters, such as $2y$10$…, with a cost from 04 to 16: "
    'htpasswd -nBC 10 "" | tr -d ":\\n"'
)
TOO_COSTLY = (
    "with which a check takes several seconds, and all others wait: make the hash with a cost from 04 to 16"
)
A_USER = "a user, not shown as the name may be a piece of a secret, "
HIDDEN = "an unknown key, not shown as it may be a piece of a secret"
TEXT = "must be text: put it in quotes"
NO_PEM = "must be PEM, as a block of text (|); a file's name goes into the key with _file"
GONE = "cannot be read: no such file or directory"
UNNAMED = f"the file of that name {GONE}"
GIVEN = "is not a regular file, and cannot be read a second time"
NO_NAME = "must be the name of a file; PEM itself goes into the key without _file at its end"
UNVERIFIED = (
    "lets in any certificate, verified by nobody, which Python's TLS cannot do: "
    "write RequireAndVerifyClientCert, with the CA in client_ca_file"
)
NOT_PUBLIC = "would let in whatever any public CA has issued"
NO_EFFECT = "is without effect where client_auth_type is not set: write RequireAndVerifyClientCert"
NEEDED = "needs client_auth_type RequireAndVerifyClientCert: with"
ONE_CURVE = "must have one curve at most, as Python cannot set several: leave it out for OpenSSL's choice"
AUTH_TYPES = "must be one of NoClientCert, RequestClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
DURATION = "must be a duration such as 100ms, 1.5s or 1m30s, or 0 for none (units: h m s ms us ns)"
BURST = "must be an integer from 0 to 1,000,000,000"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a server's certificate, its key and its CA."""
    (tmp_path / "server.crt").write_text(SERVER.certificate)
    (tmp_path / "server.key").write_text(SERVER.key)
    (tmp_path / "ca.crt").write_text(certificate_of(AUTHORITY))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_documented_example_is_a_web_configuration(folder: Path) -> None:
    """The document's first example loads, once its certificates and a whole hash are there."""
    document = (ROOT / "docs/web-configuration.md").read_text(encoding="utf-8")
    example = document.split("```yaml\n")[1].split("```")[0].replace("$2y$10$…", HASH)
    for name, source in (("tls.crt", "server.crt"), ("tls.key", "server.key"), ("client-ca.crt", "ca.crt")):
        (folder / name).write_bytes((folder / source).read_bytes())
    settings = loaded(example)
    assert settings.tls is not None
    assert settings.tls.client_verification is ssl.CERT_REQUIRED
    assert list(settings.users) == ["prometheus"]


def loaded(text: str) -> WebSettings:
    """Return what a file of that text says."""
    Path("web.yaml").write_text(text, encoding="utf-8")
    return load_web(Path("web.yaml"))


def tls(text: str) -> TlsSettings:
    """Return what a section says, beside a server's certificate and key."""
    settings = loaded(f"tls_server_config: {{{OWN}, {text}}}").tls
    assert settings is not None
    return settings


def problems(text: str) -> list[str]:
    """Return what is wrong with a file of that text."""
    with pytest.raises(ConfigurationError) as caught:
        loaded(text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def indented(issued: Issued) -> str:
    """Return a certificate and its key as a section has them inline."""
    certificate, key = (indent(text, "    ") for text in issued)
    return f"  cert: |\n{certificate}  key: |\n{key}"


ENCODINGS = (base64.b64encode, base64.urlsafe_b64encode, lambda secret: base64.b64encode(secret).rstrip(b"="))
OWN_SETTINGS = TlsSettings(
    certificate=Pem("cert_file", SERVER.certificate.encode()), private_key=Pem("key_file", SERVER.key.encode())
)
EVERY_KEY = f"""
tls_server_config:
  cert_file: server.crt
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example, 10.0.0.1]
  min_version: TLS12
  max_version: TLS13
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]
  prefer_server_cipher_suites: false
  curve_preferences: [X25519]
http_server_config:
  http2: false
  headers:
    Content-Security-Policy: default-src 'self'
    X-Frame-Options: sameorigin
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 0
    Strict-Transport-Security: max-age=31536000
basic_auth_users:
  alice: {HASH}
  "": {HASH}
rate_limit:
  interval: 500ms
  burst: 20
"""


def test_every_key_is_read(folder: Path) -> None:
    """Each key of the format arrives where the server looks for it; paths start at the file's folder."""
    (folder / "sub").mkdir()
    path = Path("sub", "web.yaml")
    for name in ("server.crt", "server.key", "ca.crt"):
        (folder / name).rename(folder / "sub" / name)
    path.write_text(EVERY_KEY)
    settings = load_web(path)
    assert settings == WebSettings(
        path=path,
        tls=replace(
            OWN_SETTINGS,
            client_ca=Pem("client_ca_file", certificate_of(AUTHORITY).encode()),
            client_verification=ssl.CERT_REQUIRED,
            allowed_sans=frozenset({"prometheus.example", "10.0.0.1"}),
            cipher_suites=("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"),
            prefer_server_cipher_suites=False,
            curve="X25519",
        ),
        headers={
            "Content-Security-Policy": "default-src 'self'",
            "X-Frame-Options": "sameorigin",
            "X-Content-Type-Options": "nosniff",
            "X-XSS-Protection": "0",
            "Strict-Transport-Security": "max-age=31536000",
        },
        users={"alice": SecretStr(HASH), "": SecretStr(HASH)},
        rate_limit=RequestLimit(interval_seconds=0.5, burst=20),
    )
    names = ("web.yaml", "server.crt", "server.key", "ca.crt")
    assert settings.files == {Path("sub", name): fingerprint(Path("sub", name)) for name in names}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing\n",
        "{}",
        "tls_server_config:\nhttp_server_config:\nbasic_auth_users:\nrate_limit:\n",
        "tls_server_config: {}\nhttp_server_config: {}\nbasic_auth_users: {}\nrate_limit: {}\n",
        "http_server_config: {http2: false, headers: }\nrate_limit: {interval: 0, burst: 0}\n",
        "http_server_config: {headers: {Content-Security-Policy: '', X-Frame-Options: }}\n",
        "rate_limit: {burst: 5}\n",
    ],
)
def test_file_that_asks_for_nothing_is_valid(text: str) -> None:
    """It means plain HTTP for everybody."""
    assert loaded(text) == WebSettings(path=Path("web.yaml"))


@pytest.mark.usefixtures("folder")
def test_inline_pem_is_read() -> None:
    """Certificate, key and CA may stand in the file itself; a key without a value is as good as none."""
    authority = indent(certificate_of(AUTHORITY), "    ")
    settings = loaded(
        f"tls_server_config:\n{indented(SERVER)}  client_ca: |\n{authority}"
        "  cert_file: ''\n  key_file:\n  client_ca_file: ''\n  client_auth_type: VerifyClientCertIfGiven\n"
    )
    assert settings.tls == TlsSettings(
        certificate=Pem("cert", SERVER.certificate.encode()),
        private_key=Pem("key", SERVER.key.encode()),
        client_ca=Pem("client_ca", certificate_of(AUTHORITY).encode()),
        client_verification=ssl.CERT_OPTIONAL,
    )
    assert list(settings.files) == [Path("web.yaml")]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("", ssl.CERT_NONE),
        ("NoClientCert", ssl.CERT_NONE),
        ("RequestClientCert", ssl.CERT_NONE),
        ("VerifyClientCertIfGiven", ssl.CERT_OPTIONAL),
        ("RequireAndVerifyClientCert", ssl.CERT_REQUIRED),
    ],
)
def test_client_auth_type_says_who_is_verified(kind: str, expected: ssl.VerifyMode) -> None:
    """Each type of the format that verifies, or that lets everybody in, does the same here."""
    authority = "client_ca_file: ca.crt, " if expected else ""
    assert tls(f"{authority}client_auth_type: '{kind}'").client_verification is expected


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("min_version: TLS13", {"minimum_version": ssl.TLSVersion.TLSv1_3}),
        ("max_version: TLS12", {"maximum_version": ssl.TLSVersion.TLSv1_2}),
        ("cipher_suites: [], curve_preferences: [], client_allowed_sans: ", {}),
        ("cipher_suites: , curve_preferences: ", {}),
        *((f"cipher_suites: [{suite}]", {"cipher_suites": (suite,)}) for suite in SUITES.split(", ")),
        *((f"curve_preferences: [{curve}]", {"curve": curve}) for curve in CURVES),
        ("prefer_server_cipher_suites: true", {}),
        ("client_auth_type: RequestClientCert, client_ca_file: ca.crt", {"client_ca": "ca.crt"}),
    ],
)
def test_value_of_tls_is_read(text: str, changed: dict[str, object]) -> None:
    """Each value changes what it says, beside the defaults: TLS 1.2 and 1.3, and OpenSSL's suites and curves."""
    if "client_ca" in changed:
        changed = {"client_ca": Pem("client_ca_file", certificate_of(AUTHORITY).encode())}
    assert tls(text) == replace(OWN_SETTINGS, **changed)  # type: ignore[arg-type] # fields of several types


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("X-Frame-Options: deny", "deny"),
        ("X-XSS-Protection: 1; mode=block", "1; mode=block"),
        ("X-XSS-Protection: 0", "0"),
        (
            "Content-Security-Policy: |\n      default-src 'self';\n      img-src *\n",
            "default-src 'self'; img-src *",
        ),
        ("Content-Security-Policy: >-\n      default-src\n      'self'\n", "default-src 'self'"),
    ],
)
def test_header_is_read(text: str, value: str) -> None:
    """Numbers need no quotes, and line breaks are spaces."""
    settings = loaded(f"http_server_config:\n  headers:\n    {text}")
    assert settings.headers == {text.partition(":")[0]: value}


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("1s", 1.0), ("100ms", 0.1), ("1m30s", 90.0), ("1.5s", 1.5), (".5s", 0.5), ("2h", 7200.0)),
        *(("250us", 0.00025), ("250µs", 0.00025), ("1000000ns", 0.001), ("8760h", 31_536_000.0), ("1s1m", 61.0)),
    ],
)
def test_interval_is_read_as_go_writes_it(text: str, seconds: float) -> None:
    """Fractions, any order and units below a millisecond are Go's."""
    limit = loaded(f"rate_limit: {{interval: {text}, burst: 1}}").rate_limit
    assert limit is not None
    assert limit.interval_seconds == pytest.approx(seconds)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("interval", ["0", "'0'", "0s", "0h0ms"])
def test_interval_of_nothing_is_no_limit(interval: str) -> None:
    """As in the format: whatever the burst is."""
    assert loaded(f"rate_limit: {{interval: {interval}, burst: 0}}").rate_limit is None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("prefix", ["$2a$04$", "$2b$10$", "$2y$16$"])
def test_hash_is_judged_by_its_form(prefix: str) -> None:
    """Each cost that can be served is taken, without a check that would take it; what it is stays hidden."""
    settings = loaded(f"basic_auth_users:\n  alice: {prefix}{HASH[7:]}\n")
    assert settings.users == {"alice": SecretStr(prefix + HASH[7:])}
    assert HASH[7:] not in repr(settings)


@settings(deadline=None)  # A busy machine is no failure.
@given(st.sampled_from("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"))
def test_bits_of_a_salt_that_do_not_count_are_dropped(last: str) -> None:
    """Some tools leave them; bcrypt's library in Python would refuse such a hash, and Go's does not mind them."""
    known = web_values.password_hash(f"{HASH[:28]}{last}{HASH[29:]}").get_secret_value()
    assert (known[:28], known[29:]) == (HASH[:28], HASH[29:])
    assert known[28] in ".Oeu"
    assert known[28] == last or last not in ".Oeu"


@pytest.mark.usefixtures("folder")
def test_equal_files_are_equal_whenever_they_were_read() -> None:
    """A file that was touched says the same as before."""
    before = loaded(EVERY_KEY)
    os.utime("web.yaml", ns=(1, 1))
    after = load_web(Path("web.yaml"))
    assert before == after
    assert before.files != after.files


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[]", [f"must be a mapping with the keys {FILE_KEYS}"]),
        ("x", [f"must be a mapping with the keys {FILE_KEYS}"]),
        ("{}\n---\n{}\n", ["line 2, column 1: a second document begins: a file holds one"]),
        ("rate_limits: {}", [f"rate_limits: unknown key; did you mean rate_limit? known are: {FILE_KEYS}"]),
        ("auth_excluded_paths: [/]", [f"auth_excluded_paths: unknown key; known are: {FILE_KEYS}"]),
        ("{a: 1, b: }", [f"{HIDDEN}; known are: {FILE_KEYS}", f"a: unknown key; known are: {FILE_KEYS}"]),
        (
            "tls_server_config: x\nhttp_server_config: []\nbasic_auth_users: [x]\nrate_limit: 5",
            [
                f"tls_server_config: must be a mapping with the keys {TLS_KEYS}",
                "http_server_config: must be a mapping with the keys http2, headers",
                "basic_auth_users: must be a mapping of user names to bcrypt hashes",
                "rate_limit: must be a mapping with the keys interval, burst",
            ],
        ),
        (
            "rate_limit: {burst: 1}\nrate_limit: {burst: 2}",
            ["rate_limit: lines 1 and 2: the same key is given twice"],
        ),
        (
            "tls_server_config: {min_version: TLS12}",
            [
                "tls_server_config.cert_file: is missing (or cert)",
                "tls_server_config.key_file: is missing (or key)",
            ],
        ),
        (
            "tls_server_config: {cert_file: '', key_file: server.key}",
            ["tls_server_config.cert_file: is missing (or cert)"],
        ),
        (
            "tls_server_config: {cert_file: server.crt, key: }",
            ["tls_server_config.key_file: is missing (or key)"],
        ),
    ],
)
def test_wrong_structure_is_refused(text: str, expected: list[str]) -> None:
    """Unknown keys, which could be misspelt protection, and half a certificate are refused."""
    assert problems(text) == [f"web.yaml: {line}" for line in expected]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_version: TLS10", "min_version: TLS10 is insecure and not offered: write TLS12 or TLS13"),
        ("min_version: TLS11", "min_version: TLS11 is insecure and not offered: write TLS12 or TLS13"),
        ("max_version: TLS11", "max_version: TLS11 is insecure and not offered: write TLS12 or TLS13"),
        ("min_version: tls12", "min_version: must be one of TLS12, TLS13"),
        ("min_version: 1.2", "min_version: must be one of TLS12, TLS13"),
        ("min_version: [TLS12]", "min_version: must be one of TLS12, TLS13"),
        ("max_version: ''", "max_version: must be one of TLS12, TLS13"),
        (
            "min_version: TLS13, max_version: TLS12",
            "max_version: must not be below min_version, which is TLS13",
        ),
        ("client_auth_type: RequireAnyClientCert", f"client_auth_type: RequireAnyClientCert {UNVERIFIED}"),
        (
            "client_auth_type: RequireClientCert, client_ca_file: ca.crt, client_allowed_sans: [a]",
            f"client_auth_type: RequireClientCert {UNVERIFIED}",
        ),
        ("client_auth_type: requireandverify", f"client_auth_type: {AUTH_TYPES}"),
        ("client_auth_type: 5", f"client_auth_type: {AUTH_TYPES}"),
        (
            "client_auth_type: RequireAndVerifyClientCert",
            f"client_ca_file: is missing (or client_ca): RequireAndVerifyClientCert {NOT_PUBLIC}",
        ),
        (
            "client_auth_type: VerifyClientCertIfGiven, client_ca: ''",
            f"client_ca_file: is missing (or client_ca): VerifyClientCertIfGiven {NOT_PUBLIC}",
        ),
        (
            "client_ca_file: ca.crt",
            f"client_ca_file: {NO_EFFECT}",
        ),
        (
            "client_ca_file: ca.crt, client_auth_type: NoClientCert",
            f"client_ca_file: {NO_EFFECT}",
        ),
        (
            "client_allowed_sans: [a]",
            f"client_allowed_sans: {NEEDED} NoClientCert, clients need no certificate",
        ),
        (
            "client_allowed_sans: [a], client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt",
            f"client_allowed_sans: {NEEDED} VerifyClientCertIfGiven, clients need no certificate",
        ),
        (
            "client_allowed_sans: [], client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt",
            "client_allowed_sans: must not be empty: leave it out to let in all of the CA's",
        ),
        (
            "client_allowed_sans: [''], client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt",
            "client_allowed_sans[0]: must not be empty",
        ),
        (
            "client_allowed_sans: [a, 5], client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt",
            f"client_allowed_sans[1]: {TEXT}",
        ),
        (
            "client_allowed_sans: a, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt",
            "client_allowed_sans: must be a list",
        ),
        ("cipher_suites: TLS_AES_128_GCM_SHA256", "cipher_suites: must be a list"),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_RSA_WITH_AES_128_GCM_SHA256]",
            f"cipher_suites[1]: must be one of {SUITES}",
        ),
        ("cipher_suites: [5]", f"cipher_suites[0]: must be one of {SUITES}"),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256], max_version: TLS12",
            "cipher_suites: names no suite of TLS 1.2, which max_version allows alone",
        ),
        ("prefer_server_cipher_suites: 'true'", "prefer_server_cipher_suites: must be true or false"),
        ("prefer_server_cipher_suites: 1", "prefer_server_cipher_suites: must be true or false"),
        (
            "curve_preferences: [CurveP256, X25519]",
            f"curve_preferences: {ONE_CURVE}",
        ),
        (
            "curve_preferences: [P-256]",
            "curve_preferences[0]: must be one of CurveP256, CurveP384, CurveP521, X25519",
        ),
        ("curve_preferences: X25519", "curve_preferences: must be a list"),
        ("client_cas: ca.crt", f"client_cas: unknown key; did you mean client_ca? known are: {TLS_KEYS}"),
        ("client_ca: ca.crt, client_auth_type: RequestClientCert", f"client_ca: {NO_PEM}"),
        ("client_ca: 5, client_auth_type: RequestClientCert", f"client_ca: {TEXT}"),
        (
            "client_ca_file: none.crt, client_auth_type: RequestClientCert",
            "client_ca_file: none.crt cannot be read: no such file or directory",
        ),
        (
            "client_ca_file: server.key, client_auth_type: RequestClientCert",
            "client_ca_file: holds no certificates in PEM format",
        ),
    ],
)
def test_tls_that_cannot_be_had_is_refused(text: str, message: str) -> None:
    """What would be less safe than it looks, and what Python's TLS cannot do, is refused with the way out."""
    assert problems(f"tls_server_config: {{{OWN}, {text}}}") == [f"web.yaml: tls_server_config.{message}"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("certificate", "key", "message"),
    [
        ("none.crt", "server.key", "cert_file: none.crt cannot be read: no such file or directory"),
        ("server.crt", ".", "key_file: . cannot be read: is a directory"),
        ("server.crt", '"a\\0"', f"key_file: {NO_NAME}"),
        ("5", "server.key", f"cert_file: {TEXT}"),
        ("server.crt", "[]", f"key_file: {TEXT}"),
        ("x" * 40, "server.key", f"cert_file: {'x' * 40} cannot be read: no such file or directory"),
        ("x" * 41, "server.key", f"cert_file: {UNNAMED}"),
        ("x" * 60 + ".pem", "server.key", f"cert_file: {'x' * 60}.pem cannot be read: no such file or directory"),
        ("x" * 61 + ".pem", "server.key", f"cert_file: {UNNAMED}"),
        ("/none/ssl/private/exporter.key", "server.key", f"cert_file: /none/ssl/private/exporter.key {GONE}"),
        ("server.crt", f"'{HASH}'", f"key_file: {UNNAMED}"),
        ("server.crt", "other.key", "key_file: is not the key of the certificate in cert_file"),
        ("server.key", "server.key", "cert_file: holds no certificates in PEM format"),
        ("server.crt", "server.crt", "key_file: holds no private key in PEM format"),
        ("empty", "server.key", "cert_file: holds no certificates in PEM format"),
        ("large", "server.key", "cert_file: large is larger than 8,388,608 bytes"),
    ],
)
def test_certificate_files_of_no_use_are_refused(folder: Path, certificate: str, key: str, message: str) -> None:
    """Each says which key of the file is to blame, and why."""
    (folder / "other.key").write_text(OTHER.key)
    (folder / "empty").touch()
    with (folder / "large").open("wb") as file:
        file.truncate(8 * 1024 * 1024 + 1)
    text = f"tls_server_config: {{cert_file: {certificate}, key_file: {key}}}"
    assert problems(text) == [f"web.yaml: tls_server_config.{message}"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("style", ["|", "|-", ">", ">-"])
def test_key_in_the_place_of_its_file_is_not_shown(style: str) -> None:
    """A key that was pasted into key_file appears in no message, however YAML joins its lines."""
    text = f"tls_server_config:\n  cert_file: server.crt\n  key_file: {style}\n{indent(SERVER.key, '    ')}"
    assert problems(text) == [f"web.yaml: tls_server_config.key_file: {NO_NAME}"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # It holds no state.
@given(secret=st.binary(min_size=32, max_size=200), width=st.integers(1, 80), encode=st.sampled_from(ENCODINGS))
def test_base64_in_the_place_of_a_file_is_not_shown(
    folder: Path, secret: bytes, width: int, encode: Callable[[bytes], bytes]
) -> None:
    """Without its first and last line, a key looks like a path, whose parts are as short as one likes."""
    key = encode(secret).decode()
    lines = "".join(f"    {key[at : at + width]}\n" for at in range(0, len(key), width))
    (folder / "web.yaml").write_text(f"tls_server_config:\n  cert_file: server.crt\n  key_file: >-\n{lines}")
    with pytest.raises(ConfigurationError) as caught:
        load_web(folder / "web.yaml")
    (problem,) = caught.value.problems
    assert problem.removeprefix(f"{folder}/web.yaml: tls_server_config.key_file: ") in {
        f"the file of that name cannot be read: {why}"
        for why in ("no such file or directory", "file name too long", "is a directory")
    } | {NO_NAME}


@pytest.mark.usefixtures("folder")
def test_pem_and_file_exclude_each_other() -> None:
    """What is given in both ways is refused, where exporter-toolkit would take the file."""
    authority = indent(certificate_of(AUTHORITY), "    ")
    text = (
        f"tls_server_config:\n  cert_file: server.crt\n{indented(SERVER)}  key_file: server.key\n"
        f"  client_ca_file: ca.crt\n  client_ca: |\n{authority}  client_auth_type: VerifyClientCertIfGiven\n"
    )
    assert problems(text) == [
        "web.yaml: tls_server_config.cert: does not go with cert_file: give one of them",
        "web.yaml: tls_server_config.key_file: does not go with key: give one of them",
        "web.yaml: tls_server_config.client_ca: does not go with client_ca_file: give one of them",
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("http2: true", "http2: must be false or left out: this server speaks HTTP/1.1 alone"),
        ("http2: 'false'", "http2: must be true or false"),
        ("http3: true", "http3: unknown key; did you mean http2? known are: http2, headers"),
        ("headers: []", "headers: must be a mapping of headers to values"),
        ("headers: {X-Frame-Options: DENY}", "headers.X-Frame-Options: must be one of deny, sameorigin"),
        ("headers: {X-Frame-Options: allow}", "headers.X-Frame-Options: must be one of deny, sameorigin"),
        ("headers: {X-Content-Type-Options: x}", "headers.X-Content-Type-Options: must be one of nosniff"),
        ("headers: {X-XSS-Protection: true}", f"headers.X-XSS-Protection: {TEXT}"),
        ("headers: {X-XSS-Protection: [1]}", f"headers.X-XSS-Protection: {TEXT}"),
        (
            "headers: {Content-Security-Policy: ä}",
            "headers.Content-Security-Policy: must consist of printable ASCII characters",
        ),
        (
            'headers: {Content-Security-Policy: "a\\0b"}',
            "headers.Content-Security-Policy: must consist of printable ASCII characters",
        ),
        (
            "headers: {x-frame-options: deny}",
            f"headers.x-frame-options: unknown key; did you mean X-Frame-Options? known are: {HEADERS}",
        ),
        ("headers: {Server: x}", f"headers.Server: unknown key; known are: {HEADERS}"),
        ("headers: {Server: }", f"headers: {HIDDEN}; known are: {HEADERS}"),
    ],
)
def test_http_that_cannot_be_had_is_refused(text: str, message: str) -> None:
    """There is no HTTP/2, and headers are those of exporter-toolkit with its values."""
    assert problems(f"http_server_config: {{{text}}}") == [f"web.yaml: http_server_config.{message}"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("interval: 1", f"interval: {DURATION}"),
        ("interval: 1.5", f"interval: {DURATION}"),
        ("interval: -1s", f"interval: {DURATION}"),
        ("interval: 1d", f"interval: {DURATION}"),
        ("interval: 1 s", f"interval: {DURATION}"),
        ("interval: s", f"interval: {DURATION}"),
        ("interval: ''", f"interval: {DURATION}"),
        ("interval: true", f"interval: {DURATION}"),
        ("interval: 8761h", "interval: must be at most 8760h"),
        ("interval: 1s", "burst: must be at least 1: otherwise no request is answered at all"),
        ("interval: 1s, burst: 0", "burst: must be at least 1: otherwise no request is answered at all"),
        ("interval: 1s, burst: -1", f"burst: {BURST}"),
        ("interval: 1s, burst: 1.5", f"burst: {BURST}"),
        ("interval: 1s, burst: '1'", f"burst: {BURST}"),
        ("interval: 1s, burst: true", f"burst: {BURST}"),
        ("interval: 1s, burst: 1000000001", f"burst: {BURST}"),
        ("limit: 5", "limit: unknown key; known are: interval, burst"),
    ],
)
def test_rate_limit_of_no_use_is_refused(text: str, message: str) -> None:
    """A limit that would answer nobody, or that is none, is a mistake."""
    assert problems(f"rate_limit: {{{text}}}") == [f"web.yaml: rate_limit.{message}"]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alice: s3cr3t", f".alice: {NO_HASH}"),
        ("alice: 5", f".alice: {NO_HASH}"),
        ("alice: ", f": {A_USER}{NO_HASH}"),
        ("a.b@c-d+e: s3cr3t", f".'a.b@c-d+e': {NO_HASH}"),
        (f"alice: {HASH[:-1]}", f".alice: {NO_HASH}"),
        (f"alice: {HASH}A", f".alice: {NO_HASH}"),
        (f"alice: {HASH[:-1]}!", f".alice: {NO_HASH}"),
        (f"alice: $2x${HASH[4:]}", f".alice: {NO_HASH}"),
        (f"alice: $2$04${HASH[7:]}A", f".alice: {NO_HASH}"),
        (f"alice: $2b$03${HASH[7:]}", f".alice: {NO_HASH}"),
        (f"alice: $2b$32${HASH[7:]}", f".alice: {NO_HASH}"),
        (f"alice: $2b$17${HASH[7:]}", f".alice: has a cost of 17, {TOO_COSTLY}"),
        (f"alice: $2y$31${HASH[7:]}", f".alice: has a cost of 31, {TOO_COSTLY}"),
        (f"alice: '{HASH} '", f".alice: {NO_HASH}"),
        (f"{HASH}: alice", f": {A_USER}{NO_HASH}"),
        (f"'a:b': {HASH}", f": {A_USER}must not have a colon, where a name ends in basic auth"),
        (f"{'x' * 65}: s3cr3t", f": {A_USER}{NO_HASH}"),
    ],
)
def test_user_without_a_hash_is_refused(text: str, message: str) -> None:
    """What stands in a hash's place, and names that could be a piece of one, are not shown."""
    assert problems(f"basic_auth_users:\n  {text}\n") == [f"web.yaml: basic_auth_users{message}"]


def test_problems_are_reported_at_once_in_the_order_of_the_file(folder: Path) -> None:
    """Neither section hides another's, and wrong words hide no wrong certificate."""
    (folder / "other.key").write_text(OTHER.key)
    assert problems(
        "rate_limit: {interval: 1s}\n"
        "tls_server_config: {cert_file: server.crt, key_file: other.key}\n"
        "basic_auth_users: {alice: x, bob: y}\n"
        "http_server_config: {headers: {X-Frame-Options: x, Server: y}, http2: true}\n"
        "more: 1\n"
    ) == [
        "web.yaml: rate_limit.burst: must be at least 1: otherwise no request is answered at all",
        "web.yaml: tls_server_config.key_file: is not the key of the certificate in cert_file",
        f"web.yaml: basic_auth_users.alice: {NO_HASH}",
        f"web.yaml: basic_auth_users.bob: {NO_HASH}",
        "web.yaml: http_server_config.headers.X-Frame-Options: must be one of deny, sameorigin",
        f"web.yaml: http_server_config.headers.Server: unknown key; known are: {HEADERS}",
        "web.yaml: http_server_config.http2: must be false or left out: this server speaks HTTP/1.1 alone",
        f"web.yaml: more: unknown key; known are: {FILE_KEYS}",
    ]


def test_file_that_cannot_be_read_is_refused() -> None:
    """The path is told as it was given."""
    with pytest.raises(ConfigurationError) as caught:
        load_web(Path("none", "web.yaml"))
    assert caught.value.problems == ["none/web.yaml: cannot be read: no such file or directory"]


def test_certificate_from_a_pipe_is_read_once(folder: Path) -> None:
    """Whoever hands a key over by a pipe does it once: it is not kept, and not waited for a second time."""
    os.mkfifo(folder / "pipe")
    writer = threading.Thread(target=(folder / "pipe").write_text, args=[SERVER.key])
    writer.start()
    before = loaded("tls_server_config: {cert_file: server.crt, key_file: pipe}")
    writer.join()
    assert before == WebSettings(path=Path("web.yaml"), tls=OWN_SETTINGS)
    with pytest.raises(WebConfigurationError) as caught:
        load_web(Path("web.yaml"), again=True)
    assert caught.value.problems == [f"web.yaml: tls_server_config.key_file: pipe {GIVEN}"]


def test_file_from_a_pipe_is_not_read_again(folder: Path) -> None:
    """The file itself as well: nobody is there who would write it."""
    os.mkfifo(folder / "web.yaml")
    with pytest.raises(WebConfigurationError) as caught:
        load_web(Path("web.yaml"), again=True)
    assert (caught.value.problems, caught.value.files) == ([f"web.yaml: {GIVEN}"], {Path("web.yaml"): None})


@pytest.mark.usefixtures("folder")
def test_refusal_tells_which_files_it_was_about() -> None:
    """Those that are missing too, so that somebody can wait for them."""
    Path("web.yaml").write_text("tls_server_config: {cert_file: none.crt, key_file: server.key}")
    with pytest.raises(WebConfigurationError) as caught:
        load_web(Path("web.yaml"))
    names = ("web.yaml", "none.crt", "server.key")
    assert caught.value.files == {Path(name): fingerprint(Path(name)) for name in names}
    assert caught.value.files[Path("none.crt")] is None
