"""What one scrape of an exporter says, to be asked by name and labels."""

from prometheus_client.parser import text_string_to_metric_families
from support import HttpProcess

_PREFIX = "cortex_xdr_"
_EXECUTION = f"{_PREFIX}script_execution_"
Sample = tuple[str, tuple[tuple[str, str], ...]]


class Metrics:
    """The samples of one exposition; names are given without ``cortex_xdr_``, which all of ours begin with."""

    def __init__(self, text: str) -> None:
        self._samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def values(self, name: str, **labels: str) -> list[float]:
        """Return the values of the samples that have that name and at least these labels."""
        wanted = labels.items()
        return [
            sample.value
            for sample in self._samples
            if sample.name == _PREFIX + name and wanted <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float | None:
        """Return the value of the one sample with that name and at least these labels; None if there is none."""
        values = self.values(name, **labels)
        assert len(values) < 2, f"{len(values)} samples of {name} have {labels}"
        return values[0] if values else None

    def counts(self, **labels: str) -> dict[str, float]:
        """Return an action's counts by status, nothing if they are not shown."""
        return {
            sample.labels["status"]: sample.value
            for sample in self._samples
            if sample.name == f"{_EXECUTION}endpoints" and labels.items() <= sample.labels.items()
        }

    def phases(self, **labels: str) -> dict[str, float]:
        """Return how many actions of a tenant are in which state, without those that none is in."""
        return {
            sample.labels["state"]: sample.value
            for sample in self._samples
            if sample.name == f"{_PREFIX}exporter_tracked_actions"
            and labels.items() <= sample.labels.items()
            and sample.value
        }

    def executions(self) -> dict[Sample, float]:
        """Return every sample of an action, by its name after ``cortex_xdr_script_execution_`` and its labels."""
        return {
            (sample.name.removeprefix(_EXECUTION), tuple(sorted(sample.labels.items()))): sample.value
            for sample in self._samples
            if sample.name.startswith(_EXECUTION)
        }


def scrape(process: HttpProcess) -> Metrics:
    """Scrape an exporter."""
    answer = process.get("/metrics")
    assert answer.status_code == 200
    return Metrics(answer.text)
