"""The files that the page loads, and their routes.

The rule: nothing is read before somebody asks for it.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response


@dataclass(frozen=True)
class StaticFile:
    """A file that the page loads, read when it is first asked for."""

    name: str
    content_type: str

    @cached_property
    def content(self) -> bytes:
        """What is in it."""
        return packaged("static", self.name)

    @cached_property
    def digest(self) -> str:
        """Changes with the content, and may be its entity tag."""
        return hashlib.sha256(self.content).hexdigest()[:16]


def packaged(folder: str, name: str) -> bytes:
    """Read a file of the package, however it is installed."""
    return resources.files("exporter.web").joinpath(folder, name).read_bytes()


STATIC: Mapping[str, StaticFile] = {
    "/-/page.css": StaticFile("page.css", "text/css; charset=utf-8"),
    "/-/page.js": StaticFile("page.js", "text/javascript; charset=utf-8"),
    "/-/icon.svg": StaticFile("icon.svg", "image/svg+xml"),
}
"""By path. A link carries ``?v=`` and the digest, so that what it leads to may be cached for ever."""


def loaded_file(file: StaticFile) -> Callable[[Request], Awaitable[Response]]:
    """Make the route of a file that the page loads: kept for ever under its digest, else asked for again."""

    async def answer(request: Request) -> Response:
        tag = f'"{file.digest}"'
        for_ever = request.query_params.get("v") == file.digest
        headers = {
            "Cache-Control": "public, max-age=31536000, immutable" if for_ever else "no-cache",
            "ETag": tag,
        }
        if _names(request.headers.getlist("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        return Response(file.content, headers={**headers, "Content-Type": file.content_type})

    return answer


def _names(if_none_match: Sequence[str], tag: str) -> bool:
    """Tell whether the header names a tag, strong or weak, or any at all (RFC 9110, 13.1.2)."""
    text = ",".join(if_none_match)
    return text.strip() == "*" or tag in re.findall('"[^"]*"', text)
