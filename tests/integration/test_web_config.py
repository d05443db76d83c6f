"""The web configuration file at a real exporter: each key and value of exporter-toolkit's documentation.

Most tests share one exporter. It serves plain HTTP for everybody until a test has its file loaded, and after it.
"""

import base64
import http.client
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from textwrap import indent
from typing import NamedTuple

import bcrypt
import pytest
import trustme
from cryptography import x509
from support import (
    ROOT,
    TIMEOUT_SECONDS,
    ExporterProcess,
    Mounted,
    StartExporter,
    api_section,
    exporter_arguments,
    replace_file,
    wait_until,
)
from support_metrics import Metrics
from support_tls import HASH, PASSWORD, Issued, certificate_of, certify, client_context, issue, rewritten

from exporter.web.access import SECURITY_HEADERS
from exporter.web.tls import CIPHER_SUITES, TLS13_CIPHER_SUITES

OURS = trustme.CA()
THEIRS = trustme.CA()
SERVER = issue(OURS, "127.0.0.1")
RENEWED = issue(OURS, "127.0.0.1", "renewed.example")
RSA = certify(x509.IPAddress(ip_address("127.0.0.1")), authority=OURS, rsa_bits=2048)
CLIENT = issue(OURS, "prometheus.example", "10.0.0.1", "ops@example.org")
SPIFFE = certify(x509.UniformResourceIdentifier("spiffe://example.org/prometheus"), authority=OURS)
FOREIGN = issue(THEIRS, "prometheus.example")
EXPIRED = certify(x509.DNSName("prometheus.example"), authority=OURS, days=(-2, -1))
CLIENTS: Mapping[str, Issued | None] = {"none": None, "own": CLIENT, "foreign": FOREIGN, "expired": EXPIRED}

TLS11 = (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_1)
TLS12 = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
TLS13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)

# Nobody is there, which is no matter here.
CONFIGURATION = {
    "api": api_section("http://127.0.0.1:1"),
    "actions": [1],
    "poll": {"interval": "1h", "stale_after": "0s"},
}
FILES = {
    "tls.crt": SERVER.certificate,
    "tls.key": SERVER.key,
    "rsa.crt": RSA.certificate,
    "rsa.key": RSA.key,
    "ca.crt": certificate_of(OURS),
    "other.key": CLIENT.key,
    "encrypted.key": rewritten(SERVER.key, passphrase="words"),
}
OWN = "cert_file: tls.crt, key_file: tls.key"
VERIFYING = "client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt"
TLS = f"tls_server_config: {{{OWN}}}\n"
MUTUAL_TLS = f"tls_server_config: {{{OWN}, {VERIFYING}}}\n"
ALICE = f"basic_auth_users:\n  alice: {HASH}\n"
AS_ALICE = ("alice", PASSWORD)
PATHS = ("/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/api/v1/actions", "/none", "/-/none?x=y")
LOADED = "web configuration loaded anew"
NOT_LOADED = "web configuration not loaded, what runs is kept"


class Answer(NamedTuple):
    """What a client sees of an answer, and of the connection that it came by."""

    status: int
    headers: http.client.HTTPMessage
    text: str
    version: str | None = None
    cipher: str | None = None
    protocol: str | None = None
    names: tuple[str, ...] = ()
    """Those of the server's certificate."""


class Site:
    """An exporter with a web configuration file in its folder, which may use ``FILES``."""

    def __init__(self, process: ExporterProcess, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.port = int(process.url.rpartition(":")[2])

    def write(self, text: str) -> None:
        """Put another web configuration file in place."""
        replace_file(self.folder / "web.yaml", text)

    def put(self, issued: Issued) -> None:
        """Put another certificate and its key in place."""
        replace_file(self.folder / "tls.crt", issued.certificate)
        replace_file(self.folder / "tls.key", issued.key)

    def load(self, text: str) -> None:
        """Have a web configuration file loaded, while plain HTTP is served.

        Where this process is slow, the exporter has looked at the file already, and asks for the password, or TLS.
        """
        self.write(text)
        try:
            answer = self.ask("/-/reload", method="POST", credentials=AS_ALICE)
        except (OSError, http.client.HTTPException):
            assert "tls_server_config" in text
            return
        assert (answer.status, answer.text) == (200, "The configuration was reloaded.\n")

    def refusal(self, text: str) -> str:
        """Have a web configuration file refused, while plain HTTP is served, and return why."""
        self.write(text)
        answer = self.ask("/-/reload", method="POST")
        assert answer.status == 500
        return answer.text.removeprefix("Not reloaded:\n").replace(f"{self.folder}/", "")

    def reset(self) -> None:
        """Return to plain HTTP for everybody."""
        self.write("")
        self.process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (answer := self.try_to_ask()) is not None and answer.status == 200, self.process.url)
        for name, text in FILES.items():
            (self.folder / name).write_text(text)

    def ask(
        self,
        path: str = "/-/healthy",
        tls: ssl.SSLContext | None = None,
        *,
        method: str = "GET",
        credentials: tuple[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """Ask over a connection of its own, from one of the addresses that this machine has for itself."""
        headers = {}
        if credentials is not None:
            headers["Authorization"] = f"Basic {base64.b64encode(':'.join(credentials).encode()).decode()}"
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=TIMEOUT_SECONDS, source_address=(source, 0)
        )
        if tls is not None:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS, context=tls)
        try:
            connection.connect()
            of_tls = _seen_of(connection.sock)
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode(), *of_tls)
        finally:
            connection.close()

    def try_to_ask(
        self,
        tls: ssl.SSLContext | None = None,
        credentials: tuple[str, str] | None = None,
        source: str = "127.0.0.1",
    ) -> Answer | None:
        """Ask, and return None if the connection comes to an end without an answer."""
        try:
            return self.ask(tls=tls, credentials=credentials, source=source)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None

    def serves(self, name: str, tls: ssl.SSLContext) -> bool:
        """Tell whether it answers with a certificate for that name; at the very change there may be no answer."""
        answer = self.try_to_ask(tls=tls)
        return answer is not None and name in answer.names

    def in_force(self, tls: ssl.SSLContext | None = None) -> float | None:
        """Return the metric that says whether the file, as it is, is in force."""
        return Metrics(self.ask("/metrics", tls).text).value("exporter_web_config_last_reload_successful")

    def told(self, *events: str) -> list[tuple[str, str | None]]:
        """Return those lines of its log, in their order, with the problem of each."""
        lines = map(json.loads, self.process.log.splitlines())
        return [
            (line["msg"], str(line.get("problem", "")).replace(f"{self.folder}/", "") or None)
            for line in lines
            if line["msg"] in events
        ]


def _seen_of(connection: object) -> tuple[str | None, str | None, str | None, tuple[str, ...]]:
    if not isinstance(connection, ssl.SSLSocket):
        return None, None, None, ()
    certificate = connection.getpeercert() or {}
    cipher = connection.cipher()
    names = tuple(str(name[1]) for name in certificate.get("subjectAltName", ()))
    return connection.version(), cipher and cipher[0], connection.selected_alpn_protocol(), names


def start(arguments: Sequence[str], folder: Path) -> Site:
    """Start an exporter whose web configuration file is in the folder, empty unless it is there."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "web.yaml").touch()
    complete = [*arguments, f"--web.config.file={folder / 'web.yaml'}", "--log.format=json"]
    return Site(ExporterProcess(exporter_arguments(CONFIGURATION, complete, folder), folder), folder)


def wait_for_change(condition: Callable[[], object]) -> None:
    """Wait until something is in force. Whoever has just connected when TLS changes gets no answer."""

    def changed() -> object:
        try:
            return condition()
        except (ConnectionError, http.client.HTTPException):
            return None

    wait_until(changed)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Start the exporter that tests share."""
    site = start(["--web.enable-lifecycle"], tmp_path_factory.mktemp("shared"))
    try:
        yield site
    finally:
        site.process.clean_up()


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """Return the shared exporter, and take back what was loaded."""
    try:
        yield shared
    finally:
        shared.reset()


@pytest.fixture
def context() -> ssl.SSLContext:
    """Make the TLS of a client that trusts our authority and has no certificate."""
    return client_context(OURS)


def client(
    own: Issued | None,
    folder: Path,
    versions: tuple[ssl.TLSVersion, ssl.TLSVersion] | None = None,
) -> ssl.SSLContext:
    """Make the TLS of a client with a certificate."""
    return client_context(OURS, own, folder=folder, versions=versions)


def of_version(versions: tuple[ssl.TLSVersion, ssl.TLSVersion], ciphers: str | None = None) -> ssl.SSLContext:
    """Make the TLS of a client without a certificate that can do one version."""
    return client_context(OURS, versions=versions, ciphers=ciphers)


def inline(key: str, text: str) -> str:
    """Return PEM as it stands in the file."""
    return f"  {key}: |\n{indent(text, '    ')}"


@pytest.mark.parametrize(
    "text",
    [
        TLS,
        f"tls_server_config:\n{inline('cert', SERVER.certificate)}{inline('key', SERVER.key)}",
        f"tls_server_config:\n  cert_file: tls.crt\n{inline('key', SERVER.key)}",
        f"tls_server_config:\n{inline('cert', SERVER.certificate)}  key_file: tls.key\n  cert_file: ''\n",
        f"{TLS}http_server_config: {{http2: false}}\n",
        f"tls_server_config: {{{OWN}, cipher_suites: [], curve_preferences: , client_allowed_sans: }}\n",
    ],
)
def test_certificate_is_served_over_http_1(site: Site, text: str) -> None:
    """From files or from the text itself; plain HTTP gets no answer any more, and HTTP/2 is not offered."""
    site.load(text)
    context = client_context(OURS)
    context.set_alpn_protocols(["h2", "http/1.1"])
    answer = site.ask(tls=context)
    assert answer == (200, answer.headers, answer.text, "TLSv1.3", answer.cipher, "http/1.1", ("127.0.0.1",))
    assert site.try_to_ask() is None


@pytest.mark.parametrize(
    ("text", "agreed"),
    [
        ("", ("TLSv1.2", "TLSv1.3")),
        ("min_version: TLS12", ("TLSv1.2", "TLSv1.3")),
        ("min_version: TLS13", (None, "TLSv1.3")),
        ("max_version: TLS13", ("TLSv1.2", "TLSv1.3")),
        ("max_version: TLS12", ("TLSv1.2", None)),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", (None, "TLSv1.3")),
    ],
)
def test_versions_are_bounds(site: Site, text: str, agreed: tuple[str | None, str | None]) -> None:
    """TLS 1.2 and 1.3 are spoken as far as the file says, and nothing older whatever it says."""
    site.load(f"tls_server_config: {{{OWN}, {text}}}")
    answers = [site.try_to_ask(of_version(version)) for version in (TLS12, TLS13)]
    assert tuple(answer and answer.version for answer in answers) == agreed
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old = of_version(TLS11, "ALL:@SECLEVEL=0")
    assert site.try_to_ask(old) is None


@pytest.mark.parametrize("suite", CIPHER_SUITES)
def test_cipher_suite_is_the_only_one_of_tls_1_2(site: Site, suite: str) -> None:
    """Each name of the format stands for that suite; TLS 1.3 has its own, which may be named without effect."""
    own = OWN if "ECDSA" in suite else OWN.replace("tls.", "rsa.")
    site.load(f"tls_server_config: {{{own}, cipher_suites: [{suite}, {', '.join(TLS13_CIPHER_SUITES)}]}}")
    name = CIPHER_SUITES[suite]
    assert site.ask(tls=of_version(TLS12, "ALL")).cipher == name
    assert site.ask(tls=of_version(TLS13)).version == "TLSv1.3"
    other = "ECDHE-ECDSA-AES256-SHA384" if "ECDSA" in suite else "ECDHE-RSA-AES256-SHA384"
    assert site.try_to_ask(of_version(TLS12, other)) is None


@pytest.mark.parametrize(
    ("preferred", "expected"), [("true", "AES256-GCM-SHA384"), ("false", "AES128-GCM-SHA256")]
)
def test_order_of_suites_counts_where_the_server_decides(site: Site, preferred: str, expected: str) -> None:
    """The first in the file that the client has, or the client's first."""
    suites = "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
    text = f"cipher_suites: [{suites}], prefer_server_cipher_suites: {preferred}"
    site.load(f"tls_server_config: {{{OWN}, {text}}}")
    clients = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384"
    assert site.ask(tls=of_version(TLS12, clients)).cipher == f"ECDHE-ECDSA-{expected}"


@pytest.mark.parametrize(
    ("curve", "name"),
    [("CurveP256", "prime256v1"), ("CurveP384", "secp384r1"), ("CurveP521", "secp521r1"), ("X25519", "X25519")],
)
def test_curve_is_the_only_one(site: Site, curve: str, name: str) -> None:
    """A client that has it comes in, and one that has another does not."""
    site.load(f"tls_server_config: {{{OWN}, curve_preferences: [{curve}]}}")
    context = client_context(OURS)
    context.set_ecdh_curve(name)
    assert site.ask(tls=context).status == 200
    context.set_ecdh_curve("prime256v1" if name != "prime256v1" else "X25519")
    assert site.try_to_ask(context) is None


EVERYBODY = {"none", "own", "foreign", "expired"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", EVERYBODY),
        ("client_auth_type: ''", EVERYBODY),
        ("client_auth_type: NoClientCert", EVERYBODY),
        ("client_auth_type: RequestClientCert", EVERYBODY),
        ("client_auth_type: RequestClientCert, client_ca_file: ca.crt", EVERYBODY),
        ("client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.crt", {"none", "own"}),
        ("client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt", {"own"}),
    ],
)
@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_client_auth_type_says_who_comes_in(
    site: Site, text: str, expected: set[str], version: tuple[ssl.TLSVersion, ssl.TLSVersion], tmp_path: Path
) -> None:
    """A certificate of the CA, a foreign one, an expired one and none, with each type of the format."""
    site.load(f"tls_server_config: {{{OWN}, {text}}}")
    came_in = {
        name for name, own in CLIENTS.items() if site.try_to_ask(client(own, tmp_path, version)) is not None
    }
    assert came_in == expected


def test_client_ca_may_stand_in_the_text(site: Site, tmp_path: Path) -> None:
    """It is the same CA, and as strict."""
    site.load(
        "tls_server_config:\n  cert_file: tls.crt\n  key_file: tls.key\n"
        f"  client_auth_type: RequireAndVerifyClientCert\n{inline('client_ca', certificate_of(OURS))}"
    )
    came_in = {name for name, own in CLIENTS.items() if site.try_to_ask(client(own, tmp_path)) is not None}
    assert came_in == {"own"}


@pytest.mark.parametrize(
    ("sans", "own", "spiffe"),
    [
        ("prometheus.example", True, False),
        ("10.0.0.1", True, False),
        ("ops@example.org", True, False),
        ("'spiffe://example.org/prometheus'", False, True),
        ("other.example, 'spiffe://example.org/prometheus', 10.0.0.1", True, True),
        ("other.example", False, False),
        ("'*.example', example, common, 'spiffe://example.org'", False, False),
    ],
)
def test_client_allowed_sans_say_who_comes_in(
    site: Site, sans: str, tmp_path: Path, *, own: bool, spiffe: bool
) -> None:
    """One name of each kind, letter by letter; what the CA has certified with other names stays outside."""
    site.load(f"tls_server_config: {{{OWN}, {VERIFYING}, client_allowed_sans: [{sans}]}}")
    for version in (TLS12, TLS13):
        assert (site.try_to_ask(client(CLIENT, tmp_path, version)) is not None) is own
        assert (site.try_to_ask(client(SPIFFE, tmp_path, version)) is not None) is spiffe
        assert site.try_to_ask(client(FOREIGN, tmp_path, version)) is None


def test_headers_are_on_every_path(site: Site) -> None:
    """Without a word in the file, each answer has what keeps browsers from mischief; a page may say more."""
    for path in PATHS:
        answer = site.ask(path)
        page = ("Content-Security-Policy", "Cache-Control")
        fixed = {name: value for name, value in SECURITY_HEADERS.items() if path != "/" or name not in page}
        assert {name: answer.headers.get_all(name) for name in fixed} == {name: [fixed[name]] for name in fixed}
        assert {name for name in SECURITY_HEADERS if answer.headers.get(name) is None} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Security-Policy", "default-src 'self'; img-src *"),
        ("X-Frame-Options", "deny"),
        ("X-Frame-Options", "sameorigin"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-XSS-Protection", "1; mode=block"),
        ("X-XSS-Protection", "0"),
        ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ],
)
def test_header_of_the_file_is_on_every_answer(site: Site, name: str, value: str) -> None:
    """On each path, in the place of ours, and on refusals as well."""
    limit = "rate_limit: {interval: 1h, burst: 16}\n"
    site.load(f"http_server_config:\n  headers:\n    {name}: {value}\n{ALICE}{limit}")
    asked = [site.ask(path, credentials=credentials) for path in PATHS for credentials in (None, AS_ALICE)]
    statuses = {answer.status for answer in [*asked, site.ask()]}
    assert {200, 401, 404, 405, 429} <= statuses
    assert {tuple(answer.headers.get_all(name) or []) for answer in [*asked, site.ask()]} == {(value,)}


def test_blank_header_is_as_good_as_none(site: Site) -> None:
    """What the format calls unset leaves ours."""
    site.load("http_server_config: {headers: {X-Frame-Options: '', Content-Security-Policy: }}")
    answer = site.ask()
    assert (answer.headers["X-Frame-Options"], answer.headers["X-XSS-Protection"]) == ("DENY", None)


@pytest.mark.parametrize("path", PATHS)
def test_every_path_needs_the_password(site: Site, path: str) -> None:
    """Probes, the reload and what does not exist are behind it, for each method."""
    open_to_all = {method: site.ask(path, method=method).status for method in ("GET", "HEAD", "OPTIONS", "DELETE")}
    site.load(ALICE)
    for method, status in open_to_all.items():
        refused = site.ask(path, method=method)
        text = "A user name and password are needed\n" if method != "HEAD" else ""
        assert (refused.status, refused.text) == (401, text)
        assert refused.headers["WWW-Authenticate"] == 'Basic realm="cortex-xdr-exporter", charset="UTF-8"'
        assert site.ask(path, method=method, credentials=AS_ALICE).status == status
    assert site.ask("/-/reload", method="POST").status == 401
    assert site.ask("/-/reload", method="POST", credentials=AS_ALICE).status == 200


def test_each_user_has_a_password(site: Site) -> None:
    """Each of bcrypt's prefixes and costs is taken; another's password is a wrong one."""
    bob = bcrypt.hashpw("päss:wörd".encode(), bcrypt.gensalt(5)).decode()
    site.load(f"{ALICE}  bob: {bob.replace('$2b$', '$2y$')}\n  carol: {HASH.replace('$2b$', '$2a$')}\n")
    expected = {
        AS_ALICE: 200,
        ("bob", "päss:wörd"): 200,
        ("carol", PASSWORD): 200,
        ("alice", "päss:wörd"): 401,
        ("bob", PASSWORD): 401,
        ("bob", "päss"): 401,
        ("mallory", PASSWORD): 401,
        ("alice", ""): 401,
        ("alice", PASSWORD + "x" * 100): 401,
        ("alice", f"{PASSWORD}\0"): 401,
        ("", ""): 401,
    }
    for _ in range(2):  # The second answers are remembered ones.
        assert {pair: site.ask(credentials=pair).status for pair in expected} == expected


def test_scrapes_are_answered_while_somebody_guesses(site: Site) -> None:
    """Whoever has the password is not held up by those who do not, though a check takes a while."""
    site.load(f"basic_auth_users:\n  alice: {bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()}\n")
    assert site.ask(credentials=AS_ALICE).status == 200
    order: list[int] = []

    def guess(password: str) -> None:
        order.append(site.ask(credentials=("alice", password)).status)

    guesses = [threading.Thread(target=guess, args=[str(number)]) for number in range(20)]
    for thread in guesses:
        thread.start()
    while any(thread.is_alive() for thread in guesses):
        order.append(site.ask("/metrics", credentials=AS_ALICE).status)
    assert set(order) <= {200, 401, 503}
    assert order.count(401) >= 1
    assert order.count(401) + order.count(503) == 20
    assert order.count(200) >= 1


def test_guesses_of_another_address_do_not_keep_the_password_out(site: Site) -> None:
    """However many wait from one, whoever comes from another has a place and a turn; too many are told so."""
    site.load(f"basic_auth_users:\n  alice: {bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()}\n")
    refused: list[Answer] = []
    done = threading.Event()

    def guess(name: str) -> None:
        for number in itertools.takewhile(lambda _: not done.is_set(), itertools.count()):
            answer = site.ask(credentials=("alice", f"{name} {number}"))
            if answer.status == 503:
                refused.append(answer)

    guesses = [threading.Thread(target=guess, args=[name]) for name in "abcdefghijklmnopqrst"]
    for thread in guesses:
        thread.start()
    try:
        wait_until(lambda: refused)
        # Nobody has asked this before.
        assert site.ask(credentials=AS_ALICE, source="127.0.0.2").status == 200
    finally:
        done.set()
        for thread in guesses:
            thread.join()
    told = {(answer.text, answer.headers["Retry-After"]) for answer in refused}
    assert told == {("Too many passwords to check\n", "1")}


def test_rate_limit_is_kept(site: Site) -> None:
    """After the burst requests are refused, on every path, and are told when to come again."""
    site.load(f"rate_limit: {{interval: 1h, burst: 3}}\n{ALICE}")
    assert [site.ask(credentials=AS_ALICE).status, site.ask().status, site.ask("/none").status] == [200, 401, 401]
    for path in PATHS:
        refused = site.ask(path, credentials=AS_ALICE)
        assert (refused.status, refused.text) == (429, "Too many requests\n")
        assert 3000 < int(refused.headers["Retry-After"]) <= 3600


def test_rate_limit_lets_one_through_each_interval(site: Site) -> None:
    """Who was refused comes in again."""
    site.load("rate_limit: {interval: 200ms, burst: 1}\n")
    wait_until(lambda: site.ask().status == 429)
    wait_until(lambda: site.ask().status == 200)


@pytest.mark.parametrize("text", ["{interval: 0, burst: 1}", "{interval: 0s}", "{burst: 1}", "{}", ""])
def test_rate_limit_of_nothing_is_none(site: Site, text: str) -> None:
    """As the format has it by default."""
    site.load(f"rate_limit: {text}\n")
    assert {site.ask().status for _ in range(20)} == {200}


FILE_KEYS = "tls_server_config, http_server_config, basic_auth_users, rate_limit"
TLS_KEYS = (
    "cert_file, key_file, cert, key, client_ca_file, client_ca, client_auth_type, client_allowed_sans, "
    "min_version, max_version, cipher_suites, prefer_server_cipher_suites, curve_preferences"
)
HEADERS = (
    "Content-Security-Policy, X-Frame-Options, X-Content-Type-Options, X-XSS-Protection, Strict-Transport-Security"
)
UNVERIFIED = (
    "lets in any certificate, verified by nobody, which Python's TLS cannot do: "
    "write RequireAndVerifyClientCert, with the CA in client_ca_file"
)
PUBLIC = "would let in whatever any public CA has issued"
NEEDED = "needs client_auth_type RequireAndVerifyClientCert: with"
SUITES = ", ".join([*CIPHER_SUITES, *TLS13_CIPHER_SUITES])
ONE_CURVE = "must have one curve at most, as Python cannot set several: leave it out for OpenSSL's choice"
DURATION = "must be a duration such as 100ms, 1.5s or 1m30s, or 0 for none (units: h m s ms us ns)"
NO_EFFECT = "is without effect where client_auth_type is not set: write RequireAndVerifyClientCert"
AUTH_TYPES = "must be one of NoClientCert, RequestClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
NO_PEM = "must be PEM, as a block of text (|); a file's name goes into the key with _file"
ALIAS = "anchors and aliases (& and *) are not supported: write the value out, or quote it"
NO_HASH = (
    "must be a bcrypt hash of 60 characters, such as $2y$10$…, with a cost from 04 to 16: "
    'htpasswd -nBC 10 "" | tr -d ":\\n"'
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cert_file: none, key_file: tls.key", "cert_file: none cannot be read: no such file or directory"),
        ("cert_file: tls.crt, key_file: none", "key_file: none cannot be read: no such file or directory"),
        ("cert_file: tls.crt", "key_file: is missing (or key)"),
        ("key_file: tls.key", "cert_file: is missing (or cert)"),
        ("cert_file: tls.key, key_file: tls.key", "cert_file: holds no certificates in PEM format"),
        ("cert_file: tls.crt, key_file: tls.crt", "key_file: holds no private key in PEM format"),
        ("cert_file: tls.crt, key_file: other.key", "key_file: is not the key of the certificate in cert_file"),
        (
            "cert_file: tls.crt, key_file: encrypted.key",
            "key_file: is encrypted with a passphrase, which nobody is there to enter: decrypt it",
        ),
        (
            f"{OWN}, cert: x",
            f"cert: does not go with cert_file: give one of them\nweb.yaml: tls_server_config.cert: {NO_PEM}",
        ),
        (
            f"{OWN}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: tls.key",
            "client_ca_file: holds no certificates in PEM format",
        ),
        (
            f"{OWN}, client_auth_type: RequireAndVerifyClientCert",
            f"client_ca_file: is missing (or client_ca): RequireAndVerifyClientCert {PUBLIC}",
        ),
        (
            f"{OWN}, client_auth_type: VerifyClientCertIfGiven",
            f"client_ca_file: is missing (or client_ca): VerifyClientCertIfGiven {PUBLIC}",
        ),
        (
            f"{OWN}, client_ca_file: ca.crt",
            f"client_ca_file: {NO_EFFECT}",
        ),
        (
            f"{OWN}, client_auth_type: RequireAnyClientCert",
            f"client_auth_type: RequireAnyClientCert {UNVERIFIED}",
        ),
        (f"{OWN}, client_auth_type: RequireClientCert", f"client_auth_type: RequireClientCert {UNVERIFIED}"),
        (
            f"{OWN}, client_auth_type: Other",
            f"client_auth_type: {AUTH_TYPES}",
        ),
        (
            f"{OWN}, client_allowed_sans: [a]",
            f"client_allowed_sans: {NEEDED} NoClientCert, clients need no certificate",
        ),
        (
            f"{OWN}, {VERIFYING}, client_allowed_sans: []",
            "client_allowed_sans: must not be empty: leave it out to let in all of the CA's",
        ),
        (f"{OWN}, min_version: TLS10", "min_version: TLS10 is insecure and not offered: write TLS12 or TLS13"),
        (f"{OWN}, min_version: TLS11", "min_version: TLS11 is insecure and not offered: write TLS12 or TLS13"),
        (f"{OWN}, max_version: TLS10", "max_version: TLS10 is insecure and not offered: write TLS12 or TLS13"),
        (f"{OWN}, max_version: TLS11", "max_version: TLS11 is insecure and not offered: write TLS12 or TLS13"),
        (f"{OWN}, min_version: TLS14", "min_version: must be one of TLS12, TLS13"),
        (
            f"{OWN}, min_version: TLS13, max_version: TLS12",
            "max_version: must not be below min_version, which is TLS13",
        ),
        (
            f"{OWN}, cipher_suites: [TLS_RSA_WITH_AES_128_GCM_SHA256]",
            f"cipher_suites[0]: must be one of {SUITES}",
        ),
        (
            f"{OWN}, max_version: TLS12, cipher_suites: [TLS_AES_256_GCM_SHA384]",
            "cipher_suites: names no suite of TLS 1.2, which max_version allows alone",
        ),
        (f"{OWN}, prefer_server_cipher_suites: 1", "prefer_server_cipher_suites: must be true or false"),
        (f"{OWN}, curve_preferences: [X25519, CurveP256]", f"curve_preferences: {ONE_CURVE}"),
        (
            f"{OWN}, curve_preferences: [X448]",
            "curve_preferences[0]: must be one of CurveP256, CurveP384, CurveP521, X25519",
        ),
        (f"{OWN}, ocsp: x", f"ocsp: unknown key; known are: {TLS_KEYS}"),
    ],
)
def test_tls_that_cannot_be_had_is_refused(site: Site, text: str, message: str) -> None:
    """What Python cannot do, or what protects less than it seems, is refused, and what runs goes on."""
    assert site.refusal(f"tls_server_config: {{{text}}}") == f"web.yaml: tls_server_config.{message}\n"
    assert site.ask().status == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "http_server_config: {http2: true}",
            "http_server_config.http2: must be false or left out: this server speaks HTTP/1.1 alone",
        ),
        (
            "http_server_config: {headers: {X-Frame-Options: allow}}",
            "http_server_config.headers.X-Frame-Options: must be one of deny, sameorigin",
        ),
        (
            "http_server_config: {headers: {X-Content-Type-Options: sniff}}",
            "http_server_config.headers.X-Content-Type-Options: must be one of nosniff",
        ),
        (
            "http_server_config: {headers: {Server: x}}",
            f"http_server_config.headers.Server: unknown key; known are: {HEADERS}",
        ),
        ("basic_auth_users: {alice: s3cr3t}", f"basic_auth_users.alice: {NO_HASH}"),
        ("rate_limit: {interval: 1, burst: 1}", f"rate_limit.interval: {DURATION}"),
        (
            "rate_limit: {interval: 1s}",
            "rate_limit.burst: must be at least 1: otherwise no request is answered at all",
        ),
        (
            "rate_limit: {interval: 1s, burst: -1}",
            "rate_limit.burst: must be an integer from 0 to 1,000,000,000",
        ),
        (
            "auth_excluded_paths: [/-/healthy]",
            f"auth_excluded_paths: unknown key; known are: {FILE_KEYS}",
        ),
        (
            "a: &a []",
            f"line 1, column 4: {ALIAS}",
        ),
    ],
)
def test_rest_that_cannot_be_had_is_refused(site: Site, text: str, message: str) -> None:
    """Values and keys that the format does not know, or that are not here, are refused, and what runs goes on."""
    assert site.refusal(text) == f"web.yaml: {message}\n"
    assert site.ask().status == 200
    assert "s3cr3t" not in site.process.log


def test_problems_are_reported_at_once(site: Site) -> None:
    """Those of all sections, in the order of the file."""
    text = f"rate_limit: {{interval: 1s}}\ntls_server_config: {{{OWN.replace('tls.k', 'other.k')}}}\nmore: x\n"
    assert site.refusal(text).splitlines() == [
        "web.yaml: rate_limit.burst: must be at least 1: otherwise no request is answered at all",
        "web.yaml: tls_server_config.key_file: is not the key of the certificate in cert_file",
        f"web.yaml: more: unknown key; known are: {FILE_KEYS}",
    ]


def test_renewed_certificate_is_served_without_a_restart(site: Site, context: ssl.SSLContext) -> None:
    """New files under the same names are noticed, and the exporter says so."""
    site.load(TLS)
    before = site.told(LOADED)
    site.put(RENEWED)
    wait_for_change(lambda: site.serves("renewed.example", context))
    assert site.told(LOADED)[len(before) :] == [(LOADED, None)]
    assert site.in_force(context) == 1


def test_secret_that_kubelet_swaps_is_served_without_a_restart(
    site: Site, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Certificate and key behind one link that is moved, as cert-manager and Kubernetes renew them."""
    mounted = Mounted(tmp_path / "mounted", {"tls.crt": SERVER.certificate, "tls.key": SERVER.key})
    folder = mounted.folder
    site.load(f"tls_server_config: {{cert_file: {folder}/tls.crt, key_file: {folder}/tls.key}}")
    assert site.ask(tls=context).names == ("127.0.0.1",)
    mounted.update({"tls.crt": RENEWED.certificate, "tls.key": RENEWED.key})
    wait_for_change(lambda: site.serves("renewed.example", context))


def test_changed_file_is_in_force_without_a_restart(site: Site, context: ssl.SSLContext) -> None:
    """Users, headers, a limit, and TLS itself: each is there or gone a moment later."""
    site.load(ALICE)
    site.write(ALICE.replace("alice", "bob"))
    wait_for_change(lambda: site.ask(credentials=AS_ALICE).status == 401)
    assert site.ask(credentials=("bob", PASSWORD)).status == 200
    site.write("http_server_config: {headers: {Strict-Transport-Security: max-age=5}}")
    wait_for_change(lambda: site.ask().headers["Strict-Transport-Security"] == "max-age=5")
    site.write(TLS)
    wait_for_change(lambda: site.try_to_ask() is None)
    assert site.ask(tls=context).headers["Strict-Transport-Security"] is None
    site.write("")
    wait_for_change(lambda: site.try_to_ask() is not None)
    assert site.try_to_ask(context) is None


def test_client_that_is_no_more_allowed_stays_outside(site: Site, tmp_path: Path) -> None:
    """Another CA, or other names, count for the next request, also on a connection that is open."""
    site.load(MUTUAL_TLS)
    own = client(CLIENT, tmp_path)
    connection = http.client.HTTPSConnection("127.0.0.1", site.port, timeout=TIMEOUT_SECONDS, context=own)
    connection.request("GET", "/-/healthy")
    assert connection.getresponse().read() == b"Cortex XDR exporter is healthy.\n"
    site.write(MUTUAL_TLS.replace("}", ", client_allowed_sans: [other.example]}"))
    wait_for_change(lambda: site.try_to_ask(own) is None)
    assert connection.sock is not None, "it is still open here"
    connection.request("GET", "/-/healthy")
    with pytest.raises((OSError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


def test_broken_change_keeps_what_runs_and_recovers(site: Site, context: ssl.SSLContext) -> None:
    """Half of a renewal is told once, in the log and by the metric; the rest of it heals both."""
    site.load(TLS)
    before = site.told(LOADED, NOT_LOADED)
    replace_file(site.folder / "tls.crt", RENEWED.certificate)
    wait_for_change(lambda: site.in_force(context) == 0)
    assert site.ask(tls=context).names == ("127.0.0.1",)
    replace_file(site.folder / "tls.key", RENEWED.key)
    wait_for_change(lambda: site.in_force(context) == 1)
    assert "renewed.example" in site.ask(tls=context).names
    problem = "web.yaml: tls_server_config.key_file: is not the key of the certificate in cert_file"
    assert site.told(LOADED, NOT_LOADED)[len(before) :] == [(NOT_LOADED, problem), (LOADED, None)]


def test_reload_takes_it_up_at_once(site: Site, context: ssl.SSLContext) -> None:
    """By a signal or by the path, which is behind TLS and the password itself; a refusal is the answer."""
    site.load(TLS + ALICE)
    site.put(RENEWED)
    assert site.ask("/-/reload", context, method="POST").status == 401
    assert site.ask("/-/reload", context, method="POST", credentials=AS_ALICE).status == 200
    assert "renewed.example" in site.ask(tls=context).names
    site.write(TLS + ALICE + "rate_limit: {interval: 1s}\n")
    refused = site.ask("/-/reload", context, method="POST", credentials=AS_ALICE)
    problem = (
        f"{site.folder}/web.yaml: rate_limit.burst: must be at least 1: otherwise no request is answered at all\n"
    )
    assert (refused.status, refused.text) == (500, f"Not reloaded:\n{problem}")
    site.write(TLS)
    site.process.process.send_signal(signal.SIGHUP)
    wait_for_change(lambda: site.ask(tls=context).status == 200)


def test_nothing_that_it_says_holds_a_secret(site: Site, context: ssl.SSLContext) -> None:
    """No hash, no password and no key stands in the log, the metrics or the page, after all that went wrong."""
    site.load(TLS + ALICE)
    site.ask(tls=context, credentials=("alice", "gu3ss3d"))
    site.write(TLS + ALICE.replace(HASH, HASH[:-1]))
    site.ask("/-/reload", context, method="POST", credentials=AS_ALICE)
    pages = [site.ask(path, context, credentials=AS_ALICE).text for path in PATHS]
    said = site.process.log + site.process.output + "".join(pages)
    key = SERVER.key.splitlines()[1]
    assert [secret for secret in (HASH[:-1], HASH[7:40], "gu3ss3d", key) if secret in said] == []
    assert "refused on the web port" in said


def run(folder: Path, *arguments: str, prefix: Sequence[str] = ()) -> tuple[int, str, str]:
    """Run an exporter that ends by itself; return its exit code, output and log, without the folder's name."""
    complete = exporter_arguments(CONFIGURATION, arguments, folder)
    command = [*prefix, sys.executable, "-m", "exporter", *complete]
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    return done.returncode, done.stdout.replace(f"{folder}/", ""), done.stderr.replace(f"{folder}/", "")


@pytest.mark.parametrize("arguments", [[], ["--config.check"], ["--once"]])
def test_file_of_no_use_ends_the_start(tmp_path: Path, arguments: Sequence[str]) -> None:
    """Exit code 2 with the message, beside those of the other configuration."""
    (tmp_path / "web.yaml").write_text(TLS)
    code, output, log = run(tmp_path, f"--web.config.file={tmp_path}/web.yaml", *arguments)
    assert (code, output) == (2, "")
    assert log == (
        "web.yaml: tls_server_config.cert_file: tls.crt cannot be read: no such file or directory\n"
        "web.yaml: tls_server_config.key_file: tls.key cannot be read: no such file or directory\n"
    )


def test_passphrase_is_not_asked_for(tmp_path: Path) -> None:
    """Not even on a terminal, where OpenSSL would wait for it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "web.yaml").write_text(TLS.replace("tls.key", "encrypted.key"))
    terminal = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"
    flag = f"--web.config.file={tmp_path}/web.yaml"
    code, output, log = run(tmp_path, flag, "--config.check", prefix=[sys.executable, "-c", terminal])
    assert (code, log) == (2, "")
    assert output == (
        "web.yaml: tls_server_config.key_file: is encrypted with a passphrase, which nobody is there to enter: "
        "decrypt it\n"
    )


def test_file_from_a_pipe_stays_in_force(tmp_path: Path) -> None:
    """What was given once is kept when a reload is asked for, which says that it was not done."""
    os.mkfifo(tmp_path / "web.yaml")
    writer = threading.Thread(target=(tmp_path / "web.yaml").write_text, args=[ALICE])
    writer.start()
    arguments = [f"--web.config.file={tmp_path / 'web.yaml'}", "--web.enable-lifecycle"]
    process = ExporterProcess(exporter_arguments(CONFIGURATION, arguments, tmp_path), tmp_path)
    try:
        writer.join()
        process.credentials = AS_ALICE
        refused = process.post("/-/reload")
        problem = f"{tmp_path}/web.yaml: is not a regular file, and cannot be read a second time\n"
        assert (refused.status_code, refused.text) == (500, f"Not reloaded:\n{problem}")
        assert process.get("/-/healthy").status_code == 200
        process.credentials = None
        assert process.get("/-/healthy").status_code == 401
    finally:
        process.clean_up()


def test_stop_waits_for_no_more_than_one_check(tmp_path: Path) -> None:
    """Whoever guesses when it ends neither keeps it nor makes it end badly; all are told in time."""
    costly = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(12)).decode()
    (tmp_path / "web.yaml").write_text(f"basic_auth_users:\n  alice: {costly}\n")
    site = start([], tmp_path)
    try:
        answers: list[Answer | None] = []

        def guess(number: int) -> None:
            source = f"127.0.0.{2 + number % 10}"
            answers.append(site.try_to_ask(credentials=("alice", str(number)), source=source))

        guesses = [threading.Thread(target=guess, args=[number]) for number in range(30)]
        for thread in guesses:
            thread.start()
        wait_until(lambda: not all(thread.is_alive() for thread in guesses))
        assert site.process.stop() == 0
        for thread in guesses:
            thread.join()
        assert {answer.status for answer in answers if answer is not None} == {401, 503}
        assert [word for word in ("FATAL", "Traceback", "CancelledError") if word in site.process.log] == []
    finally:
        site.process.clean_up()


def test_exporter_without_the_file_serves_plain_http(exporter_process: StartExporter) -> None:
    """There is no metric about a file that there is not."""
    process = exporter_process(CONFIGURATION, "--web.config.file=")
    text = process.get("/metrics").text
    assert re.findall(r"web_config\w*", text) == []
