"""The route of the exposition, in the format that the scraper asks for."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from exporter.exposition import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE
from exporter.packing import Packed
from exporter.web.negotiation import accepts_openmetrics, header
from exporter.web.packed import respond


class Expose(Protocol):
    """Gives the whole exposition, or only the families that are named."""

    def __call__(self, *, openmetrics: bool, names: Collection[str] | None) -> Packed:
        """Return the text, OpenMetrics with its end mark."""
        ...


async def answer(request: Request, expose: Expose) -> Response:
    """Answer a scrape with what ``expose`` gives."""
    openmetrics = accepts_openmetrics(header(request, "accept"))
    names = request.query_params.getlist("name[]") or None
    packed = await asyncio.to_thread(expose, openmetrics=openmetrics, names=names)
    headers = {
        "Content-Type": OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE,
        "Vary": "Accept, Accept-Encoding",
    }
    return respond(request, packed, headers)
