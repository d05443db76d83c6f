"""The state of actions as Prometheus text: pure rendering, and the rendered text of each action.

The rule: a scrape is a read. An action's text is rendered when that action changes; a scrape joins what is
there, a slice at a time, so that one that is read slowly holds no copy. The same sample lines serve both formats,
text 0.0.4 and OpenMetrics 1.0: only the headers differ.
"""

import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from exporter.status import STATUSES
from exporter.store import ActionState

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_VERSIONS = {"text/plain": "0.0.4", "application/openmetrics-text": "1.0.0"}


@dataclass(frozen=True, slots=True)
class Family:
    """A metric family; ``name`` is that of its samples, which for OpenMetrics' info families ends in ``_info``."""

    name: str
    kind: str
    help: str

    def header(self, *, openmetrics: bool) -> bytes:
        """Render the family's head.

        As text::

            # HELP cortex_xdr_script_execution_info General status of the action …
            # TYPE cortex_xdr_script_execution_info gauge
        """
        name, kind = self.name, self.kind
        if kind == "info":
            name, kind = (name.removesuffix("_info"), kind) if openmetrics else (name, "gauge")
        return f"# HELP {name} {self.help}\n# TYPE {name} {kind}\n".encode()


FAMILIES = (
    Family(
        "cortex_xdr_script_execution_endpoints",
        "gauge",
        "Endpoints of the action in that status, as of the last successful poll.",
    ),
    Family(
        "cortex_xdr_script_execution_info",
        "info",
        "General status of the action as the API spells it, as of the last successful poll.",
    ),
    Family(
        "cortex_xdr_script_execution_labels",
        "gauge",
        "The action's own labels, from the configuration; always 1, and there before any poll.",
    ),
    Family(
        "cortex_xdr_script_execution_poll_success",
        "gauge",
        "Whether the last poll of the action succeeded.",
    ),
    Family(
        "cortex_xdr_script_execution_poll_error_info",
        "info",
        "Why the last poll of the action failed; absent while polls succeed.",
    ),
    Family(
        "cortex_xdr_script_execution_last_success_timestamp_seconds",
        "gauge",
        "When the last successful poll read the action's counts.",
    ),
    Family(
        "cortex_xdr_script_execution_last_change_timestamp_seconds",
        "gauge",
        "When a count or the general status of the action last changed, as seen by polls.",
    ),
)
"""The families of an action, in the order of :func:`render`'s texts."""


def render(tenant: str | None, state: ActionState) -> tuple[bytes, ...]:
    """Render an action: for each of :data:`FAMILIES` the lines of its samples, or nothing.

    The first lines for an action of an unnamed tenant::

        cortex_xdr_script_execution_endpoints{action_id="22519813685366",status="pending"} 12
        cortex_xdr_script_execution_endpoints{action_id="22519813685366",status="canceled"} 0
    """
    if state.retired:
        return (b"",) * len(FAMILIES)
    identity = f'action_id="{escape(state.action_id)}"'
    if tenant is not None:
        identity = f'tenant="{escape(tenant)}",{identity}'
    own_labels = "".join(f',{name}="{escape(value)}"' for name, value in state.labels)
    endpoints = general_status = poll_success = poll_error = last_success = last_change = ""
    if state.status is not None:
        if not state.stale:
            pairs = zip(STATUSES, state.status.counts, strict=True)
            endpoints = "".join(
                f'{FAMILIES[0].name}{{{identity},status="{status}"}} {count}\n' for status, count in pairs
            )
        if state.status.general_status is not None:
            value = escape(state.status.general_status)
            general_status = f'{FAMILIES[1].name}{{{identity},general_status="{value}"}} 1\n'
        last_success = f"{FAMILIES[5].name}{{{identity}}} {state.last_success:.3f}\n"
        last_change = f"{FAMILIES[6].name}{{{identity}}} {state.last_change:.3f}\n"
    if state.polled:
        poll_success = f"{FAMILIES[3].name}{{{identity}}} {int(state.failure is None)}\n"
    if state.failure is not None:
        poll_error = f'{FAMILIES[4].name}{{{identity},reason="{state.failure}"}} 1\n'
    labels = f"{FAMILIES[2].name}{{{identity}{own_labels}}} 1\n"
    texts = (endpoints, general_status, labels, poll_success, poll_error, last_success, last_change)
    return tuple(text.encode() for text in texts)


def escape(value: str) -> str:
    """Escape a label's value as both formats want it: backslash, quote and line feed."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Text:
    """An exposition as of one moment, in pieces that all who ask share: ``length`` bytes in all."""

    def __init__(
        self, families: Sequence[tuple[bytes, int]], actions: Sequence[tuple[bytes, ...]], tail: bytes, length: int
    ) -> None:
        # The families' heads, and which of an action's texts is theirs.
        self._families = families
        self._actions = actions
        self._tail = tail
        self.length = length

    def slices(self, size: int) -> Iterator[bytes]:
        """Yield it in slices of that many bytes or a little more, the last one of what is left."""
        pieces: list[bytes] = []
        length = 0
        for piece in self._pieces():
            pieces.append(piece)
            length += len(piece)
            if length >= size:
                yield b"".join(pieces)
                pieces.clear()
                length = 0
        yield b"".join(pieces)

    def _pieces(self) -> Iterator[bytes]:
        for head, index in self._families:
            yield head
            for texts in self._actions:
                yield texts[index]
        yield self._tail


class Exposition:
    """The rendered text of every action of every tenant; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[tuple[str | None, str], tuple[bytes, ...]] = {}
        self._lengths = [0] * len(FAMILIES)
        # Shared by all who ask until the next change, and never changed itself.
        self._actions: list[tuple[bytes, ...]] | None = None

    def publish(self, tenant: str | None, state: ActionState) -> None:
        """Take over an action's new state; one without text, a retired one, leaves nothing behind."""
        texts = render(tenant, state)
        with self._lock:
            self._replace((tenant, state.action_id), texts)

    def withdraw(self, tenant: str | None, action_ids: Iterable[str]) -> None:
        """Take actions that are not tracked any more out, all at one moment."""
        with self._lock:
            for action_id in action_ids:
                self._replace((tenant, action_id), ())

    def expose(self, *, openmetrics: bool, names: Collection[str] | None = None, tail: bytes = b"") -> Text:
        """Return the text of all actions, each as of one moment; with ``names`` only the families named.

        A family without samples is left out. The text has no end mark but what the ``tail`` brings.
        """
        with self._lock:
            if self._actions is None:
                self._actions = list(self._texts.values())
            actions, lengths = self._actions, list(self._lengths)
        wanted = [
            (family.header(openmetrics=openmetrics), index)
            for index, family in enumerate(FAMILIES)
            if lengths[index] and (names is None or family.name in names)
        ]
        length = len(tail) + sum(len(head) + lengths[index] for head, index in wanted)
        return Text(wanted, actions, tail, length)

    def _replace(self, key: tuple[str | None, str], texts: tuple[bytes, ...]) -> None:
        before = self._texts.get(key, ())
        if any(texts):
            self._texts[key] = texts
        else:
            self._texts.pop(key, None)
        for sign, lines in ((-1, before), (1, texts)):
            for index, line in enumerate(lines):
                self._lengths[index] += sign * len(line)
        self._actions = None


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
