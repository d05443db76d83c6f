"""What a client asks for in the head of its request: pure, but for how a header is looked up.

The rule: what cannot be read asks for nothing.
"""

import re

from starlette.requests import Request

_LONGEST_HEADER = 1024  # Longer than any scraper's; reading one takes time that all others wait.
_VERSIONS = {"text/plain": "0.0.4", "application/openmetrics-text": "1.0.0"}


def header(request: Request, name: str) -> str:
    """Return a request's header, of several all, and of a very long one the beginning."""
    return ",".join(request.headers.getlist(name))[:_LONGEST_HEADER]


def accepts_openmetrics(accept: str) -> bool:
    """Tell whether a scraper's ``Accept`` header prefers OpenMetrics 1.0 to text 0.0.4 (RFC 9110, 12.5.1).

    The higher weight wins, and between equals what is named first. OpenMetrics has to be named; for text a
    wildcard counts where it is not named itself.
    """
    best: dict[str, tuple[float, int]] = {}
    nowhere = (0.0, -len(accept))
    for position, item in enumerate(accept.lower().split(",")):
        media_type, *parameters = (part.strip() for part in item.split(";"))
        values = {name.strip(): value.strip(' "') for name, _, value in (p.partition("=") for p in parameters)}
        if values.get("version", _VERSIONS.get(media_type)) == _VERSIONS.get(media_type):
            rank = (_weight(values.get("q", "1")), -position)
            best[media_type] = max(rank, best.get(media_type, nowhere))
    wildcard = best.get("text/*", best.get("*/*", nowhere))
    text = best.get("text/plain", (wildcard[0], nowhere[1]))
    openmetrics = best.get("application/openmetrics-text", nowhere)
    return openmetrics[0] > 0 and openmetrics > text


def accepts_gzip(accept_encoding: str) -> bool:
    """Tell whether an ``Accept-Encoding`` header allows gzip (RFC 9110, 12.5.3)."""
    weights = {}
    for item in accept_encoding.split(","):
        coding, _, parameter = (part.strip().lower() for part in item.partition(";"))
        weights[coding] = _weight(parameter.partition("=")[2].strip() if parameter else "1")
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def _weight(text: str) -> float:
    """Read a quality value (RFC 9110, 12.4.2); what is none counts as not wanted."""
    return float(text) if re.fullmatch(r"0(\.[0-9]*)?|1(\.0*)?", text) else 0.0
