"""The routes: the exposition, the overview as a page and as a document, the two probes, and the reload.

The rule: answering reads what is there. No route waits for the API, nor holds up the event loop for more than a
moment.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import cache
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.web.metrics import Expose, answer
from exporter.web.static import STATIC, loaded_file

if TYPE_CHECKING:
    from exporter.overview import Overview
    from exporter.query import Query
    from exporter.web.actions import Actions

Reload = Callable[[], Future[list[str]]]
"""Begins to reload the configuration; the future has what is wrong with it, nothing if it is in use now."""


HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"
RELOAD_PATH = "/-/reload"
ACTIONS_PATH = "/api/v1/actions"

OWN_PATHS = frozenset({HEALTHY_PATH, READY_PATH, RELOAD_PATH, ACTIONS_PATH, *STATIC})
"""Where the metrics cannot be. They may be at /, in the place of the page."""


def create_app(
    *,
    expose: Expose,
    overview: "Callable[[Query], Overview]",
    ready: Callable[[], bool],
    telemetry_path: str,
    reload: Reload | None = None,
) -> ASGIApp:
    """Make the application; ``telemetry_path`` may be ``/``, and then there is no page.

    Without ``reload`` there is no such path.
    """

    async def metrics(request: Request) -> Response:
        return await answer(request, expose)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("Cortex XDR exporter is healthy.\n")

    async def readiness(_: Request) -> Response:
        if await asyncio.to_thread(ready):
            return PlainTextResponse("Cortex XDR exporter is ready.\n")
        return PlainTextResponse("Not every tenant has something to show yet.\n", status_code=503)

    @cache
    def actions() -> "Actions":
        from exporter.web.actions import Actions  # noqa: PLC0415 - many an exporter is only ever scraped

        return Actions(overview, telemetry_path=telemetry_path)

    async def document(request: Request) -> Response:
        return await actions().document(request)

    async def page(request: Request) -> Response:
        return await actions().page(request)

    routes = [
        Route(telemetry_path, metrics),
        Route(HEALTHY_PATH, healthy),
        Route(READY_PATH, readiness),
        Route(ACTIONS_PATH, document),
    ]
    if telemetry_path != "/":
        routes.append(Route("/", page))
        routes += [Route(path, loaded_file(file)) for path, file in STATIC.items()]
    if reload is not None:
        routes.append(Route(RELOAD_PATH, _reloading(reload), methods=["POST"]))
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return _OnlyReads(app, but_for=RELOAD_PATH if reload is not None else None)


def _reloading(reload: Reload) -> Callable[[Request], Awaitable[Response]]:
    async def reloading(_: Request) -> Response:
        problems = await asyncio.wrap_future(reload())
        if not problems:
            return PlainTextResponse("The configuration was reloaded.\n")
        lines = "".join(f"{problem}\n" for problem in problems)
        return PlainTextResponse(f"Not reloaded:\n{lines}", status_code=500)

    return reloading


class _OnlyReads:
    """Answers 405 to whatever is neither GET nor HEAD, on any path but one."""

    def __init__(self, app: ASGIApp, *, but_for: str | None) -> None:
        self._app = app
        self._but_for = but_for

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        reads = scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}
        if not reads and scope["path"] != self._but_for:
            answer = PlainTextResponse("Method not allowed\n", 405, headers={"Allow": "GET, HEAD"})
        await answer(scope, receive, send)
