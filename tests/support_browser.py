"""A browser for tests: Debian's Chromium, driven by Playwright, and what a page did while it was looked at."""

import contextlib
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Request, ViewportSize, expect, sync_playwright
from support import TIMEOUT_SECONDS, find_program, wait_until

from exporter.web.links import REFRESH_SECONDS

PHONE = ViewportSize(width=360, height=800)
DESKTOP = ViewportSize(width=1280, height=900)

_LISTENING_MILLISECONDS = 20


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run the browser; the test has to be marked with ``needs("chromium")``."""
    expect.set_options(timeout=TIMEOUT_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_program("chromium"),
            # Root, as in a container, has no sandbox; and nothing but the page should be asked for.
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


class Visit:
    """A page that is open in a browser of its own settings, with what it asked for and complained of so far."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(TIMEOUT_SECONDS * 1000)
        page.on("request", self._requested)
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def wait_until(self, condition: Callable[[], bool], message: str) -> None:
        """Wait until something is true of what the page did; what it does is heard of only meanwhile."""

        def fulfilled() -> bool:
            self.page.wait_for_timeout(_LISTENING_MILLISECONDS)
            return condition()

        wait_until(fulfilled, message)

    def asked(self, path: str = "/") -> int:
        """Count how often a path, whatever its query, was asked for."""
        return sum(urlsplit(url).path == path for url in self.requests)

    def refresh(self) -> None:
        """Let time pass, on a page that was visited with ``clock``, until it has asked for itself again."""
        url = self.page.url
        before = self.requests.count(url)

        def asked_again() -> bool:
            self.page.clock.fast_forward(REFRESH_SECONDS * 1000)
            return self.requests.count(url) > before

        self.wait_until(asked_again, "the page asks for itself")

    def _requested(self, request: Request) -> None:
        self.requests.append(request.url)

    @property
    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        wider: int = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return wider

    def style(self, selector: str, name: str) -> str:
        """Return the value that a CSS property has for the first element that fits."""
        value: str = self.page.locator(selector).first.evaluate(
            "(element, name) => getComputedStyle(element).getPropertyValue(name)", name
        )
        return value

    def faults_of_access(self) -> list[str]:
        """Return what axe-core finds wrong by any of its rules, a line for each element."""
        axe = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
        self.page.evaluate(axe)
        found: dict[str, Any] = self.page.evaluate("axe.run({resultTypes: ['violations']})")
        assert len(found["passes"]) > 20, "axe-core has looked at next to nothing"
        return [
            f"{fault['id']} ({fault['impact']}): {element['html']}: {element['failureSummary']}"
            for fault in found["violations"]
            for element in fault["nodes"]
        ]


@contextlib.contextmanager
def visit(browser: Browser, url: str, *, clock: bool = False, **settings: Any) -> Iterator[Visit]:
    """Open a page at a desktop's width, unless the browser context's settings say otherwise; close it in the end.

    With ``clock`` the test can move the page's time by ``page.clock``.
    """
    context = browser.new_context(**({"viewport": DESKTOP} | settings))
    try:
        visiting = Visit(context.new_page())
        if clock:
            visiting.page.clock.install()
        visiting.page.goto(url)
        yield visiting
    finally:
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
