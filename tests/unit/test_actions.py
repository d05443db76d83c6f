"""How many may ask for the page or the document at once."""

import asyncio
import threading

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from exporter.overview import Overview
from exporter.query import Query
from exporter.survey import survey
from exporter.web.actions import Actions
from exporter.web.static import STATIC, loaded_file

MOST = 16


def test_who_would_wait_too_long_is_sent_away() -> None:
    """Sixteen may ask at once; whoever comes then is to come again, and later there is room."""
    may_go_on = threading.Event()

    def overview(query: Query) -> Overview:
        assert may_go_on.wait(20)
        return survey([], query, 0.0)

    async def ask() -> list[int]:
        actions = Actions(overview, telemetry_path="/metrics")
        request = Request({"type": "http", "method": "GET", "query_string": b"", "headers": []})
        asked = [asyncio.create_task(actions.document(request)) for _ in range(MOST)]
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await actions.document(request)
        assert (refused.value.status_code, refused.value.headers) == (503, {"Retry-After": "1"})
        may_go_on.set()
        answers = [await task for task in asked]
        return [answer.status_code for answer in [*answers, await actions.document(request)]]

    assert asyncio.run(ask()) == [200] * (MOST + 1)


@pytest.mark.parametrize(
    ("if_none_match", "status"),
    [
        (['"TAG"'], 304),
        (['W/"TAG"'], 304),
        (['"a,b", W/"TAG" ,"c"'], 304),
        (['"a"', '"TAG"'], 304),
        (["*"], 304),
        ([], 200),
        (['"a"', 'W/"TAG2"'], 200),
        (["TAG"], 200),
    ],
)
def test_file_that_is_known_is_not_sent_again(if_none_match: list[str], status: int) -> None:
    """Tags are compared weakly, as a proxy that compresses makes them weak, and may come in lists."""
    file = STATIC["/-/page.css"]
    answer = loaded_file(file)
    headers = [(b"if-none-match", value.replace("TAG", file.digest).encode()) for value in if_none_match]
    request = Request({"type": "http", "method": "GET", "query_string": b"", "headers": headers})
    assert asyncio.run(answer(request)).status_code == status  # type: ignore[arg-type]  # It is a coroutine.
