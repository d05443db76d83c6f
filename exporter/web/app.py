"""The routes: the exposition, the two probes, and a landing page.

The rule: answering reads what is there. No route waits for the API, nor blocks the event loop: the
exposition is joined and compressed in a thread.
"""

import asyncio
import html
from collections.abc import Awaitable, Callable
from concurrent.futures import Future

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter import __version__
from exporter.web.metrics import Expose, answer

Reload = Callable[[], Future[list[str]]]
"""Begins to reload the configuration; the future has what is wrong with it, nothing if it is in use now."""


HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"
RELOAD_PATH = "/-/reload"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Cortex XDR exporter</title>
</head>
<body>
<h1>Cortex XDR exporter</h1>
<p>The progress of Cortex XDR script executions, for Prometheus. Version {version}.</p>
<ul>
<li><a href="{metrics}">Metrics</a></li>
<li><a href="{ready}">Ready</a>: whether there is something to show of every tenant</li>
<li><a href="{healthy}">Healthy</a>: whether the exporter works</li>
</ul>
</body>
</html>
"""


def create_app(
    *, expose: Expose, ready: Callable[[], bool], telemetry_path: str, reload: Reload | None = None
) -> ASGIApp:
    """Make the application; ``telemetry_path`` may be ``/``, and then there is no landing page.

    Without ``reload`` there is no such path.
    """

    async def metrics(request: Request) -> Response:
        return await answer(request, expose)

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("Cortex XDR exporter is healthy.\n")

    async def readiness(_: Request) -> Response:
        if await run_in_threadpool(ready):
            return PlainTextResponse("Cortex XDR exporter is ready.\n")
        return PlainTextResponse("Not every tenant has something to show yet.\n", status_code=503)

    async def landing(_: Request) -> Response:
        page = _PAGE.format(
            version=html.escape(__version__),
            metrics=html.escape(telemetry_path),
            ready=READY_PATH,
            healthy=HEALTHY_PATH,
        )
        return HTMLResponse(page, headers={"Content-Security-Policy": "default-src 'none'"})

    routes = [
        Route(telemetry_path, metrics),
        Route(HEALTHY_PATH, healthy),
        Route(READY_PATH, readiness),
        Route("/", landing),
    ]
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
