"""What a web configuration asks of the server and of each request, as one immutable value."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.web.passwords import Passwords
from exporter.web.token_bucket import TokenBucket


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Who may ask, how, and how often. Without arguments: everybody, in plain HTTP, and as often as they like."""

    context: ssl.SSLContext | None = None
    """None: plain HTTP."""
    allowed_sans: frozenset[str] = frozenset()
    """For ``tls.permitted``, after a handshake."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that each answer carries, whatever the application says."""
    passwords: Passwords | None = None
    limit: TokenBucket | None = None
