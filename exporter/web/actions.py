"""The routes of the overview: the page for people, and the document for programs.

The rule: both show the same answer to the same parameters. It is worked out in one thread at a time, off the event
loop: however many ask, a scrape has the others.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from exporter.overview import Overview
from exporter.packing import Packed, pack
from exporter.query import Query, QueryError
from exporter.web import document, page
from exporter.web.links import refresh_seconds
from exporter.web.packed import respond

_MOST_ASKING = 16  # Each may take a tenth of a second.
_DOCUMENT_HEADERS = {"Cache-Control": "no-store", "Content-Type": "application/json"}
_PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": page.CONTENT_SECURITY_POLICY,
}


class Actions:
    """Answers queries about all actions with what ``overview`` gives, which is called from any thread.

    ``telemetry_path`` is where the page says that the metrics are.
    """

    def __init__(self, overview: Callable[[Query], Overview], *, telemetry_path: str) -> None:
        self._overview = overview
        self._telemetry_path = telemetry_path
        self._working = asyncio.Semaphore(1)
        self._asking = 0

    async def document(self, request: Request) -> Response:
        """Answer with a JSON document, or 400 and one that says what is wrong with the parameters."""
        try:
            query = Query.parse(request.query_params.multi_items())
        except QueryError as error:
            return Response(document.refuse(error.problems), 400, headers=_DOCUMENT_HEADERS)
        packed = await self._work(lambda: document.render(self._overview(query), query))
        return respond(request, packed, _DOCUMENT_HEADERS)

    async def page(self, request: Request) -> Response:
        """Answer with the page, or 400 and one that says what is wrong with the parameters."""
        try:
            query = Query.parse(request.query_params.multi_items())
        except QueryError as error:
            refusal = await asyncio.to_thread(page.refuse, error.problems, telemetry_path=self._telemetry_path)
            return Response(refusal, 400, headers=_PAGE_HEADERS)
        refresh = refresh_seconds(request.query_params.get("refresh"))
        packed = await self._work(lambda: self._page(query, refresh))
        return respond(request, packed, _PAGE_HEADERS)

    def _page(self, query: Query, refresh: int) -> bytes:
        overview = self._overview(query)
        if overview.page > overview.pages:  # Somebody looks at the last page, and actions are gone.
            query = replace(query, page=overview.pages)
            overview = self._overview(query)
        return page.render(overview, query, telemetry_path=self._telemetry_path, refresh=refresh).encode()

    async def _work(self, work: Callable[[], bytes]) -> Packed:
        if self._asking >= _MOST_ASKING:
            raise HTTPException(503, "Too many ask at once: try again\n", headers={"Retry-After": "1"})
        self._asking += 1
        try:
            async with self._working:
                return await asyncio.to_thread(lambda: Packed(pack(work())))
        finally:
            self._asking -= 1
