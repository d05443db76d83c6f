"""The routes of the overview: the page for people, with the files that it loads, and the document for programs.

The rule: both show the same answer to the same parameters. It is worked out in one thread at a time, off the event
loop: however many ask, a scrape has the others.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from starlette.concurrency import run_in_threadpool
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
            refusal = page.refuse(error.problems, telemetry_path=self._telemetry_path)
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
                return await run_in_threadpool(lambda: Packed(pack(work())))
        finally:
            self._asking -= 1


def loaded_file(file: page.StaticFile) -> Callable[[Request], Awaitable[Response]]:
    """Make the route of a file that the page loads: kept for ever under its digest, else asked for again."""
    tag = f'"{file.digest}"'

    async def answer(request: Request) -> Response:
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
