"""What a web configuration asks of the server and of each request, as one immutable value."""

import ssl
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from exporter.web.token_bucket import TokenBucket

if TYPE_CHECKING:
    from exporter.web.passwords import Passwords

_SAN_TYPES = {"DNS", "email", "IP Address", "URI"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who may ask, how, and how often. Without arguments: everybody, in plain HTTP, and as often as they like."""

    context: ssl.SSLContext | None = None
    """None: plain HTTP."""
    allowed_sans: frozenset[str] = frozenset()
    """For :func:`permitted`, after a handshake."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that each answer carries, whatever the application says."""
    passwords: "Passwords | None" = None
    limit: TokenBucket | None = None


def permitted(certificate: Mapping[str, Any] | None, allowed_sans: Collection[str]) -> bool:
    """Tell whether a client may come in with a verified certificate, as ``getpeercert`` returns it.

    One of its names must be one of the allowed, letter by letter, but addresses, which are compared as such.
    """
    if not allowed_sans:
        return True
    names = (certificate or {}).get("subjectAltName", ())
    found = {(_canonical(value) if kind == "IP Address" else value) for kind, value in names if kind in _SAN_TYPES}
    return not found.isdisjoint({*allowed_sans, *map(_canonical, allowed_sans)})


def _canonical(address: str) -> str:
    """Return an IP address as it is usually written; what is none as it is."""
    try:
        parsed = ip_address(address.strip())
    except ValueError:
        return address
    return str((parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed)
