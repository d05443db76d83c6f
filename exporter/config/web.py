"""The web configuration file: TLS, headers, users and a rate limit, in the format of Prometheus' exporter-toolkit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md. The rule: what works there
works here in the same way, or is refused with a reason; nothing is left aside in silence.
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, ValidationError, ValidationInfo

from exporter.config import web_values as values
from exporter.config.problems import Problem, RefusedError, describe, unknown_key
from exporter.config.schema import Section, problems_of
from exporter.config.yaml_loading import parse_yaml, read_text
from exporter.errors import ConfigurationError
from exporter.files import Fingerprint, fingerprint, shown
from exporter.web.tls import Pem, TlsError, TlsSettings, make_context

_TLS = "tls_server_config"
_KEYS = [_TLS, "http_server_config", "basic_auth_users", "rate_limit"]
_LEAST_NEEDED = (("cert_file", "cert"), ("key_file", "key"))
_ALTERNATIVES = (*_LEAST_NEEDED, ("client_ca_file", "client_ca"))


@dataclass(frozen=True)
class RequestLimit:
    """A request each ``interval_seconds``, and up to ``burst`` at once."""

    interval_seconds: float
    burst: int


@dataclass(frozen=True, kw_only=True)
class WebSettings:
    """A whole web configuration file. Equal ones say the same, whatever has become of the files meanwhile."""

    path: Path
    tls: TlsSettings | None = None
    """None: plain HTTP."""
    context: ssl.SSLContext | None = field(default=None, compare=False)
    """What has been made of ``tls`` to check it, and is there to be used."""
    headers: Mapping[str, str] = field(default_factory=dict)
    users: Mapping[str, SecretStr] = field(default_factory=dict)
    """The bcrypt hashes of users' passwords; empty: no basic auth."""
    rate_limit: RequestLimit | None = None
    files: Mapping[Path, Fingerprint | None] = field(default_factory=dict, compare=False)
    """The file itself and all that it names, with how they looked before they were read."""


class WebConfigurationError(ConfigurationError):
    """The file cannot be used; ``files`` has all that the attempt was about, as they looked before it."""

    def __init__(self, problems: list[str], files: Mapping[Path, Fingerprint | None]) -> None:
        super().__init__(problems)
        self.files = files


def load_web(path: Path, *, again: bool = False) -> WebSettings:
    """Read and validate a web configuration file, and the certificates and keys that it names.

    An empty one asks for nothing: plain HTTP for everybody. ``again``: what gives its content once, as a pipe
    does, is refused, since it may have given it before. Raise WebConfigurationError with every problem:
    ``web.yaml: tls_server_config.min_version: what is wrong, what is right``.
    """
    reader = _Reader(path, again=again)
    try:
        raw, repeated = parse_yaml(read_text(path, again=again))
        settings = reader.read({} if raw is None else raw)
    except RefusedError as refusal:
        raise WebConfigurationError([f"{shown(path)}: {refusal}"], reader.files) from None
    problems = repeated + reader.problems
    if problems:
        raise WebConfigurationError(describe(path, raw, problems), reader.files)
    return settings


def _pem_file(raw: Any, info: ValidationInfo) -> Pem | None:
    if values.is_blank(raw):
        return None
    reader = cast("_Reader", info.context)
    folder, name = reader.path.parent, values.file_name(raw)
    reader.files[folder / name] = fingerprint(folder / name)
    return Pem(str(info.field_name), values.read_pem(folder, name, again=reader.again))


def _pem(raw: Any, info: ValidationInfo) -> Pem | None:
    return None if values.is_blank(raw) else Pem(str(info.field_name), values.pem(raw))


PemFile = Annotated[Pem | None, PlainValidator(_pem_file)]
InlinePem = Annotated[Pem | None, PlainValidator(_pem)]
Version = Annotated[Any, PlainValidator(values.version)]
Switch = Annotated[bool, PlainValidator(values.switch)]
# A list with every entry commented out is null to YAML.
_OrNothing = BeforeValidator(lambda raw: [] if raw is None else raw)
Sans = Annotated[list[Annotated[str, PlainValidator(values.allowed_san)]], _OrNothing]
CipherSuites = Annotated[list[Annotated[str, PlainValidator(values.cipher_suite)]], _OrNothing]
Curves = Annotated[list[Annotated[str, PlainValidator(values.curve)]], _OrNothing]


class TlsSection(Section):
    """``tls_server_config``."""

    cert_file: PemFile = None
    key_file: PemFile = None
    cert: InlinePem = None
    key: InlinePem = None
    client_ca_file: PemFile = None
    client_ca: InlinePem = None
    client_auth_type: Annotated[str, PlainValidator(values.client_auth_type)] = values.NO_CLIENT_CERT
    client_allowed_sans: Sans = Field(default_factory=list)
    min_version: Version = values.VERSIONS["TLS12"]
    max_version: Version = values.VERSIONS["TLS13"]
    cipher_suites: CipherSuites = Field(default_factory=list)
    prefer_server_cipher_suites: Switch = True
    curve_preferences: Curves = Field(default_factory=list)

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield what is given twice, missing, or without effect beside the rest."""
        given = [key for key, value in raw.items() if not values.is_blank(value)]
        for pair in _ALTERNATIVES:
            there = [key for key in given if key in pair]
            if not there and pair in _LEAST_NEEDED:
                yield (pair[0],), f"is missing (or {pair[1]})"
            for other in there[1:]:
                yield (other,), f"does not go with {there[0]}: give one of them"
        yield from cls._conflicts_of_clients(raw, given)
        curves = raw.get("curve_preferences")
        if isinstance(curves, list) and len(curves) > 1:
            yield (
                ("curve_preferences",),
                "must have one curve at most, as Python cannot set several: leave it out for OpenSSL's choice",
            )
        if raw.get("min_version") == "TLS13" and raw.get("max_version") == "TLS12":
            yield ("max_version",), "must not be below min_version, which is TLS13"

    @classmethod
    def _conflicts_of_clients(cls, raw: dict[str, Any], given: list[str]) -> Iterator[Problem]:
        kind = raw["client_auth_type"] if "client_auth_type" in given else values.NO_CLIENT_CERT
        if not isinstance(kind, str) or kind not in values.CLIENT_AUTH_TYPES:
            return
        authority = next((key for key in given if key in ("client_ca_file", "client_ca")), None)
        if authority is None and values.CLIENT_AUTH_TYPES[kind]:
            yield (
                ("client_ca_file",),
                f"is missing (or client_ca): {kind} would let in whatever any public CA has issued",
            )
        if authority is not None and kind == values.NO_CLIENT_CERT:
            yield (authority,), f"is without effect where client_auth_type is not set: write {values.VERIFY_ALL}"
        if raw.get("client_allowed_sans") == []:
            yield (
                ("client_allowed_sans",),
                "must not be empty: leave it out to let in all of the CA's",
            )
        elif "client_allowed_sans" in given and kind != values.VERIFY_ALL:
            yield (
                ("client_allowed_sans",),
                f"needs client_auth_type {values.VERIFY_ALL}: with {kind}, clients need no certificate",
            )

    def settings(self) -> TlsSettings:
        """Return what the section says, which must have passed its validation."""
        certificate, private_key = self.cert_file or self.cert, self.key_file or self.key
        return TlsSettings(
            certificate=cast("Pem", certificate),
            private_key=cast("Pem", private_key),
            client_ca=self.client_ca_file or self.client_ca,
            client_verification=values.CLIENT_AUTH_TYPES[self.client_auth_type],
            allowed_sans=frozenset(self.client_allowed_sans),
            minimum_version=self.min_version,
            maximum_version=self.max_version,
            cipher_suites=tuple(self.cipher_suites),
            prefer_server_cipher_suites=self.prefer_server_cipher_suites,
            curve=next(iter(self.curve_preferences), None),
        )


class HttpSection(Section):
    """``http_server_config``, but for its headers, whose names are no names of fields."""

    http2: Annotated[bool, PlainValidator(values.http2)] = False
    headers: Any = None


class RateLimitSection(Section):
    """``rate_limit``."""

    interval: Annotated[float, PlainValidator(values.interval)] = 0.0
    burst: Annotated[int, PlainValidator(values.burst)] = 0

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield if the limit is none: with a burst of 0, no request is ever answered."""
        try:
            limited = values.interval(raw.get("interval", 0)) > 0
        except RefusedError:
            return
        if limited and raw.get("burst", 0) == 0:
            yield ("burst",), "must be at least 1: otherwise no request is answered at all"


S = TypeVar("S", bound=Section)


class _Reader:
    """Reads a file's plain values section by section, so that the problems of one hide no others."""

    def __init__(self, path: Path, *, again: bool) -> None:
        self.path = path
        self.again = again
        self.problems: list[Problem] = []
        self.files: dict[Path, Fingerprint | None] = {path: fingerprint(path)}

    def read(self, raw: Any) -> WebSettings:
        if not isinstance(raw, dict):
            raise RefusedError(f"must be a mapping with the keys {', '.join(_KEYS)}")
        self.problems += [unknown_key(key, value, _KEYS) for key, value in raw.items() if key not in _KEYS]
        tls = self._tls(raw.get(_TLS))
        return WebSettings(
            path=self.path,
            tls=tls,
            context=self._context(tls),
            headers=self._http(raw),
            users=self._users(raw.get("basic_auth_users")),
            rate_limit=self._rate_limit(self._section("rate_limit", RateLimitSection, raw)),
            files=self.files,
        )

    def _section(self, key: str, model: type[S], raw: dict[str, Any]) -> S | None:
        section = raw.get(key)
        try:
            return model.model_validate({} if section is None else section, context=self)
        except ValidationError as error:
            self.problems += [((key, *location), text) for location, text in problems_of(error)]
        return None

    def _tls(self, raw: Any) -> TlsSettings | None:
        if raw is None or raw == {}:
            return None
        section = self._section(_TLS, TlsSection, {_TLS: raw})
        return None if section is None else section.settings()

    def _context(self, tls: TlsSettings | None) -> ssl.SSLContext | None:
        try:
            return make_context(tls) if tls is not None else None
        except TlsError as error:
            self.problems += [((_TLS, *location), text) for location, text in error.problems]
        return None

    def _http(self, raw: dict[str, Any]) -> dict[str, str]:
        self._section("http_server_config", HttpSection, raw)
        section = raw.get("http_server_config")
        listed = section.get("headers") if isinstance(section, dict) else None
        where = ("http_server_config", "headers")
        headers: dict[str, str] = {}
        if listed is not None and not isinstance(listed, dict):
            self.problems.append((where, "must be a mapping of headers to values"))
            return headers
        for name, value in (listed or {}).items():
            if name not in values.HEADERS:
                location, text = unknown_key(name, value, list(values.HEADERS))
                self.problems.append(((*where, *location), text))
                continue
            try:
                headers[name] = values.header(name, value)
            except RefusedError as refusal:
                self.problems.append(((*where, name), str(refusal)))
        return {name: value for name, value in headers.items() if value}

    def _users(self, raw: Any) -> dict[str, SecretStr]:
        users: dict[str, SecretStr] = {}
        key = "basic_auth_users"
        if raw is not None and not isinstance(raw, dict):
            self.problems.append(((key,), "must be a mapping of user names to bcrypt hashes"))
            return users
        for name, value in (raw or {}).items():
            # A hash may stand in a name's place, and YAML makes keys of a torn secret's pieces.
            location = (key, name) if value is not None and re.fullmatch(r"[\w.@+-]{1,64}", name) else (key,)
            try:
                users[values.user_name(name)] = values.password_hash(value)
            except RefusedError as refusal:
                subject = "" if len(location) > 1 else "a user, not shown as the name may be a piece of a secret, "
                self.problems.append((location, f"{subject}{refusal}"))
        return users

    def _rate_limit(self, section: RateLimitSection | None) -> RequestLimit | None:
        if section is None or section.interval == 0:
            return None
        return RequestLimit(section.interval, section.burst)
