"""The entries of ``actions`` and of action files: an ID, or a mapping of an ID and labels.

The rule: each entry is checked as a whole, and a wrong one hides no other. They are many: no model is made of
what an entry says before it is an action.
"""

from typing import Any, NamedTuple

from exporter.config import values
from exporter.config.problems import Location, Problem, RefusedError, unknown_key
from exporter.config.settings import Action

KEYS = {
    "id": "What `run_script` returned, or the console shows under *Response*, *Action Center*.",
    "labels": "What to group and select by: they appear on `cortex_xdr_script_execution_labels`.",
}
"""Their texts are those of docs/configuration.md."""

Labels = tuple[tuple[str, str], ...]


class Repeated(NamedTuple):
    """An ID that stands in a list twice."""

    location: Location
    action_id: str
    first: Location


class Entries(NamedTuple):
    """What a list of entries says. Locations begin with an entry's index."""

    actions: tuple[Action, ...]
    """As many as there are entries, if there are no problems."""
    problems: list[Problem]
    repeated: list[Repeated]


def read_entries(raw: list[Any]) -> Entries:
    """Return the actions of a list of entries as the file gives it, and all that is wrong."""
    reader = _Reader()
    for index, entry in enumerate(raw):
        reader.read(index, entry)
    return Entries(tuple(reader.actions), reader.problems, reader.repeated)


class _Reader:
    def __init__(self) -> None:
        self.actions: list[Action] = []
        self.problems: list[Problem] = []
        self.repeated: list[Repeated] = []
        self._first: dict[str, Location] = {}
        self._shared: dict[Labels, Labels] = {}

    def read(self, index: int, entry: Any) -> None:
        if not isinstance(entry, dict):
            action_id = self._id(entry, (index,))
            if action_id is not None:
                self.actions.append(Action(id=action_id))
            return
        if any(key not in KEYS for key in entry):
            self._refuse_unknown(index, entry)
        action_id = None
        if "id" in entry:
            action_id = self._id(entry["id"], (index, "id"))
        else:
            self.problems.append(((index, "id"), "is missing"))
        labels = self._labels(entry.get("labels"), (index, "labels"))
        if action_id is not None:
            self.actions.append(Action(id=action_id, labels=labels))

    def _id(self, raw: Any, location: Location) -> str | None:
        try:
            action_id = values.action_id(raw)
        except RefusedError as refusal:
            self.problems.append((location, str(refusal)))
            return None
        first = self._first.setdefault(action_id, location)
        if first is not location:
            self.repeated.append(Repeated(location, action_id, first))
        return action_id

    def _labels(self, raw: Any, location: Location) -> Labels:
        # "labels:" with every one commented out is null to YAML.
        if raw is None:
            return ()
        if not isinstance(raw, dict):
            self.problems.append((location, "must be a mapping of label names to values"))
            return ()
        labels = []
        for name, value in raw.items():
            try:
                values.label_name(name)
            except RefusedError as refusal:
                self.problems.append(((*location, name), str(refusal)))
            try:
                labels.append((name, values.label_value(value)))
            except RefusedError as refusal:
                self.problems.append(((*location, name), str(refusal)))
        whole = tuple(sorted(labels))
        # Many actions carry the same ones.
        return self._shared.setdefault(whole, whole)

    def _refuse_unknown(self, index: int, entry: dict[str, Any]) -> None:
        for key, value in entry.items():
            if key not in KEYS:
                location, text = unknown_key(key, value, list(KEYS))
                self.problems.append(((index, *location), text))
