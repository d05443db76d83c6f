"""The state of actions as Prometheus text: pure rendering, and the rendered text of all actions.

The rule: a scrape is a read. An action's text is rendered when that action changes, and kept compressed together
with that of a few others; a scrape compresses only what has changed since the last one. The same sample lines
serve both formats, text 0.0.4 and OpenMetrics 1.0: only the headers differ.
"""

import threading
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from exporter.packing import Block, Packed, pack
from exporter.status import STATUSES
from exporter.store import ActionState

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_GROUP_ACTIONS = 128
"""How many actions are compressed together: twice as many cost a scrape with one change twice as much, half as
many cost one with all changed a quarter more."""


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

_NOTHING = (b"",) * len(FAMILIES)
_Key = tuple[str | None, str]


def render(tenant: str | None, state: ActionState) -> tuple[bytes, ...]:
    """Render an action: for each of :data:`FAMILIES` the lines of its samples, or nothing.

    The first lines for an action of an unnamed tenant::

        cortex_xdr_script_execution_endpoints{action_id="22519813685366",status="pending"} 12
        cortex_xdr_script_execution_endpoints{action_id="22519813685366",status="canceled"} 0
    """
    if state.retired:
        return _NOTHING
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


class _Group:
    """A few actions, of each family of which the lines are compressed together."""

    __slots__ = ("blocks", "texts")

    def __init__(self) -> None:
        self.texts: dict[_Key, tuple[bytes, ...]] = {}
        self.blocks: list[tuple[Block, ...]] = [()] * len(FAMILIES)

    def replace(self, key: _Key, texts: tuple[bytes, ...]) -> list[int]:
        """Take over an action's texts, none to let go of it; return in which families they differ."""
        before = self.texts.get(key, _NOTHING)
        if texts == _NOTHING:
            self.texts.pop(key, None)
        else:
            self.texts[key] = texts
        return [index for index in range(len(FAMILIES)) if before[index] != texts[index]]


class Exposition:
    """The rendered text of every action of every tenant; safe to use from several threads.

    A poll never waits until something is compressed: that happens while only other scrapes wait, who then find
    it done.
    """

    def __init__(self) -> None:
        self._heads = {
            openmetrics: [pack(family.header(openmetrics=openmetrics)) for family in FAMILIES]
            for openmetrics in (False, True)
        }
        self._packing = threading.Lock()  # Taken before the other one, and held while blocks change.
        self._lock = threading.Lock()
        self._homes: dict[_Key, _Group] = {}
        # These two are sets that keep their order.
        self._groups: dict[_Group, None] = {}
        self._with_room: dict[_Group, None] = {}
        # The families of which a group's blocks are not those of its texts.
        self._outdated: dict[_Group, set[int]] = {}

    def publish(self, tenant: str | None, state: ActionState) -> None:
        """Take over an action's new state; one without text, a retired one, leaves nothing behind."""
        texts = render(tenant, state)
        with self._lock:
            self._replace((tenant, state.action_id), texts)

    def withdraw(self, tenant: str | None, action_ids: Iterable[str]) -> None:
        """Take actions that are not tracked any more out, all at one moment."""
        with self._lock:
            for action_id in action_ids:
                self._replace((tenant, action_id), _NOTHING)

    def expose(self, *, openmetrics: bool, names: Collection[str] | None = None, tail: bytes = b"") -> Packed:
        """Return the text of all actions, as of one moment; with ``names`` only the families named.

        A family without samples is left out. The text has no end mark but what the ``tail`` brings.
        """
        with self._packing:
            groups = self._pack()
            blocks: list[Block] = []
            for index, head in enumerate(self._heads[openmetrics]):
                if names is None or FAMILIES[index].name in names:
                    lines = [block for group in groups for block in group.blocks[index]]
                    blocks += [*head, *lines] if lines else []
        return Packed([*blocks, *pack(tail)])

    def _replace(self, key: _Key, texts: tuple[bytes, ...]) -> None:
        group = self._homes.get(key)
        if group is None:
            if texts == _NOTHING:
                return
            group = self._homes[key] = next(iter(self._with_room), None) or _Group()
            self._groups[group] = self._with_room[group] = None
        changed = group.replace(key, texts)
        if texts == _NOTHING:
            del self._homes[key]
            self._with_room[group] = None
        if len(group.texts) == _GROUP_ACTIONS:
            self._with_room.pop(group, None)
        if changed:
            self._outdated.setdefault(group, set()).update(changed)

    def _pack(self) -> list[_Group]:
        """Compress what has changed, as of one moment; return the groups of that moment."""
        with self._lock:
            changed = [(group, list(group.texts.values()), indices) for group, indices in self._outdated.items()]
            for group, texts, _ in changed:
                if not texts:
                    self._groups.pop(group)
                    self._with_room.pop(group)
            self._outdated.clear()
            groups = list(self._groups)
        for group, texts, indices in changed:
            for index in indices:
                group.blocks[index] = pack(b"".join([text[index] for text in texts]))
        return groups
