"""The values of the configuration file: each function takes one as YAML gave it and returns it as it is used.

Each raises RefusedError with a sentence that says what would be right. Nothing that is, or stands beside, a
secret is ever quoted: no key, no URL, no name that could be a key put in the wrong place.
"""

import functools
import glob
import hashlib
import os
import re
import ssl
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from exporter import durations
from exporter.config.problems import RefusedError, shorten
from exporter.config.yaml_loading import Misread, read_bounded, read_pipe
from exporter.files import gives_once

_LONGEST_NAME = 128
_LARGEST_KEY_BYTES = 4096
_LONGEST_WAIT_SECONDS = 5.0  # For whoever writes a key into a pipe, lest a reload waits for ever.
_LARGEST_CA_FILE_BYTES = 8 * 1024 * 1024
_LONGEST_TIMEOUT_SECONDS = 86_400
_LOWEST_REQUESTS_PER_SECOND = 1e-6
_HIGHEST_REQUESTS_PER_SECOND = 10
_RESERVED_LABELS = ("action_id", "status", "general_status", "tenant", "reason", "job", "instance")
# The shape of API keys, in the places where a path or a variable's name belongs: such a value is not quoted.
_LONGEST_QUOTED = 64
_UNREAD = SecretStr("")

_T = TypeVar("_T")


class Key(NamedTuple):
    """An API key, and the file it came from if it came from one."""

    secret: SecretStr
    file: Path | None = None


class CaFile(NamedTuple):
    """A file with CA certificates, and the SHA-256 digest of its content."""

    path: Path
    digest: str


def action_id(value: Any) -> str:
    """Return an ID as text: 325 and "325" are the same one."""
    if isinstance(value, Misread) and len(value.text) <= _LONGEST_NAME:
        raise RefusedError(str(value))
    if _is_integer(value):
        return str(value)
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable() and " " not in value:
        return value
    raise RefusedError(
        "must be an integer, or text of 1 to 128 printable characters without spaces "
        "(in quotes where YAML reads something else)"
    )


@functools.lru_cache(maxsize=1024)  # Thousands of actions have the same few.
def label_name(name: str) -> str:
    """Return a label's name, if Prometheus and the exporter's own metrics leave it free."""
    if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name):
        raise RefusedError("is no label name: letters, digits and underscores, not beginning with a digit")
    if name in _RESERVED_LABELS or name.startswith("__"):
        raise RefusedError(
            f"is a reserved label name, as are {', '.join(_RESERVED_LABELS)} and names that begin with __"
        )
    return name


def label_value(value: Any) -> str:
    """Return a label's value as text."""
    if isinstance(value, Misread):
        raise RefusedError(str(value))
    if _is_integer(value):
        return str(value)
    if not isinstance(value, str):
        raise RefusedError("must be text or an integer: put it in quotes to have it taken as written")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise RefusedError("must be text that UTF-8 can carry: a surrogate stands alone in it")
    return value


def tenant_name(value: Any) -> str:
    """Return a tenant's name: the value of a label that people read."""
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME and value.isprintable():
        return value
    raise RefusedError("must be text (in quotes where YAML reads something else) of 1 to 128 printable characters")


def api_url(value: Any) -> str:
    """Return the URL of a tenant's API, without a slash at its end."""
    text = _text(value)
    if not text.isprintable() or " " in text:
        raise RefusedError("must not contain white space or control characters")
    parts, host = _split_url(text)
    if "@" in parts.netloc:
        raise RefusedError("must not contain credentials: the key goes into key_file, key_env or key")
    if parts.scheme not in {"http", "https"}:
        raise RefusedError("must begin with https://")
    if "?" in text or "#" in text:
        raise RefusedError("must not have a query or a fragment (? or #)")
    _check_host(host)
    if parts.scheme == "http" and not _is_loopback(host):
        raise RefusedError("must begin with https://; plain http is for loopback addresses only")
    if host.startswith("api-api-"):
        raise RefusedError("must not begin with api-api-: the host is api- and the tenant's FQDN")
    if "/public_api" in parts.path.lower():
        raise RefusedError("must end before /public_api: the exporter adds the path of each call")
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", parts.path):
        raise RefusedError("must have its special characters percent-encoded")
    return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def proxy_url(value: Any) -> SecretStr | None:
    """Return a proxy's URL, which may hold a password; None where none is set."""
    if value is None:
        return None
    text = _text(value)
    if not text.isascii() or not text.isprintable() or " " in text:
        raise RefusedError("must be ASCII without white space: percent-encode other characters")
    parts, host = _split_url(text)
    if parts.scheme not in {"http", "https"}:
        raise RefusedError("must begin with http:// or https://")
    _check_host(host)
    if parts.path not in {"", "/"} or "?" in text or "#" in text:
        raise RefusedError("must end after the host and port; percent-encode special characters of a password")
    return SecretStr(text)


def key_id(value: Any) -> str:
    """Return the ID of an API key as the text that a header carries."""
    if _is_integer(value) and value >= 0:
        return str(value)
    if isinstance(value, str) and re.fullmatch(f"[0-9]{{1,{_LONGEST_NAME}}}", value):
        return value
    raise RefusedError("must be the key's number, in plain decimal")


def key_type(value: Any) -> Literal["advanced", "standard"]:
    """Return the kind of an API key, which decides how requests are signed."""
    if value not in ("advanced", "standard"):
        raise RefusedError("must be advanced or standard, as chosen when the key was made")
    return cast("Literal['advanced', 'standard']", value)


def key(value: Any) -> Key:
    """Return the key that the configuration holds itself."""
    return Key(_secret(_text(value)))


def key_from_environment(value: Any, *, reading: bool = True) -> Key:
    """Return the key that an environment variable holds; none unless ``reading``."""
    name = _text(value)
    if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
        raise RefusedError("must be the name of an environment variable")
    if not reading:
        return Key(_UNREAD)
    text = os.environ.get(name)
    shown = name if len(name) <= _LONGEST_QUOTED else "of that name"
    if text is None:
        raise RefusedError(f"the environment variable {shown} is not set")
    return _prefixed(f"the environment variable {shown}", lambda: Key(_secret(text)))


def key_from_file(value: Any, folder: Path, *, reading: bool = True) -> Key:
    """Return the key that a file holds; none unless ``reading``."""
    path = folder / _text(value)
    if not reading:
        return Key(_UNREAD, path)
    read = _read_key_once if gives_once(path) else read_key
    return _prefixed(_shown(path), lambda: Key(read(path), path))


@functools.lru_cache(maxsize=128)
def _read_key_once(path: Path) -> SecretStr:
    """Return the key that a pipe gave: there is no second one in it for a configuration that is loaded anew."""
    return _secret(read_pipe(path, _LARGEST_KEY_BYTES, seconds=_LONGEST_WAIT_SECONDS).decode("latin-1"))


def read_key(path: Path) -> SecretStr:
    """Return a key file's key, without the white space around it; errors do not name the path."""
    # latin-1 reads any bytes: what is not ASCII is refused with the rest.
    return _secret(read_bounded(path, _LARGEST_KEY_BYTES).decode("latin-1"))


def ca_file(value: Any, folder: Path, *, reading: bool = True) -> CaFile | None:
    """Return a file with CA certificates, without its digest unless ``reading``; None where none is set."""
    if value is None:
        return None
    path = folder / _text(value)
    if not reading:
        return CaFile(path, "")
    content = _prefixed(_shown(path), lambda: read_bounded(path, _LARGEST_CA_FILE_BYTES))
    try:
        ssl.create_default_context(cafile=path)
    except OSError:
        raise RefusedError(f"{_shown(path)} holds no CA certificates in PEM format") from None
    return CaFile(path, hashlib.sha256(content).hexdigest())


def requests_per_second(value: Any) -> float:
    """Return the share of a tenant's budget that the exporter may use."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        rate = float(value)
        # Not a number compares as false. Below a millionth, the time between two requests overflows.
        if _LOWEST_REQUESTS_PER_SECOND <= rate <= _HIGHEST_REQUESTS_PER_SECOND:
            return rate
    raise RefusedError("must be a number above 0 and at most 10, which is all that a tenant allows")


def duration(value: Any) -> float:
    """Return the seconds of a duration."""
    if _is_integer(value) and value != 0:
        raise RefusedError(f"needs a unit: write {shorten(str(value))}s" if value > 0 else "must not be negative")
    if value == 0 and _is_integer(value):
        return 0.0
    try:
        return durations.parse(value if isinstance(value, str) else "")
    except ValueError as error:
        raise RefusedError(str(error)) from None


def positive_duration(value: Any) -> float:
    """Return the seconds of a duration that cannot be 0."""
    seconds = duration(value)
    if seconds == 0:
        raise RefusedError("must be above 0s")
    return seconds


def timeout(value: Any) -> float:
    """Return the seconds that a request may take; longer ones than a day overflow a socket's timeout."""
    seconds = positive_duration(value)
    if seconds > _LONGEST_TIMEOUT_SECONDS:
        raise RefusedError("must be at most 1d")
    return seconds


def action_files(value: Any, folder: Path) -> str:
    """Return a pattern of action files as a complete one, in which the folder stands for itself."""
    return str(Path(glob.escape(str(folder))) / _file_name(value))


def state_path(value: Any, folder: Path) -> Path | None:
    """Return the path of the state file, which need not be there; None where none is set."""
    return None if value is None else folder / _file_name(value)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if value is None or value == "":
        raise RefusedError("must not be empty")
    if not isinstance(value, str):
        raise RefusedError("must be text: put it in quotes")
    return value


def _file_name(value: Any) -> str:
    text = _text(value)
    if not text.isprintable():
        raise RefusedError("must consist of printable characters")
    return text


def _secret(text: str) -> SecretStr:
    # What a header can carry: a line break in a key would be quoted by the HTTP client's own error.
    stripped = text.strip()
    if not stripped:
        raise RefusedError("holds no key: it is empty")
    if not re.fullmatch("[!-~]+", stripped):
        raise RefusedError("holds no key: a key is one word of printable ASCII")
    if len(stripped) > _LARGEST_KEY_BYTES:
        raise RefusedError(f"is larger than {_LARGEST_KEY_BYTES:,} bytes")
    return SecretStr(stripped)


def _split_url(text: str) -> tuple[SplitResult, str]:
    # The library's own errors quote the host and the port, which a password's slash can move into either.
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise RefusedError("must be a URL with a valid host and port") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise RefusedError("must be a URL with a valid host and port")
    return parts, parts.hostname or ""


def _check_host(host: str) -> None:
    label = "[A-Za-z0-9_-]{1,63}"
    if _address(host) is None and not re.fullmatch(rf"(?=.{{1,253}}$){label}(?:\.{label})*\.?", host):
        raise RefusedError("must have a host: a name of ASCII letters, digits, dots and hyphens, or an address")


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if isinstance(address, IPv4Address):
        return address in IPv4Network("127.0.0.0/8")
    return host == "localhost" or address == IPv6Address("::1")


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host) if "%" not in host else None
    except ValueError:
        return None


def _shown(path: Path) -> str:
    if any(len(part) > _LONGEST_QUOTED for part in path.parts) or not str(path).isprintable():
        return "the file of that name"
    return str(path)


def _prefixed(subject: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except RefusedError as refusal:
        raise RefusedError(f"{subject} {refusal}") from None
