"""What can be read of a run from outside: the exposition, requests as a tenant counted them, the process.

The rule: nothing here knows what the readings should be.
"""

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Key = tuple[str, frozenset[tuple[str, str]]]
Samples = dict[Key, float]

_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)",?')
_UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}
_LISTENING = "0A"


def sample(name: str, labels: Mapping[str, str]) -> Key:
    """Return what tells a sample from all others."""
    return name, frozenset(labels.items())


def parse(text: str) -> Samples:
    """Read an exposition; ValueError for a line that is no sample, or for one that comes twice.

    The client library's parser is too slow for one beside which requests are timed.
    """
    samples: Samples = {}
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        labels = _LABEL.findall(match[2] or "") if match else []
        if match is None or len(_LABEL.sub("", match[2] or "")):
            raise ValueError(f"not a sample: {line}")
        key = match[1], frozenset((name, _unescape(value)) for name, value in labels)
        if key in samples:
            raise ValueError(f"twice there: {line}")
        samples[key] = float(match[3])
    return samples


def _unescape(value: str) -> str:
    if "\\" not in value:
        return value
    return re.sub(r"\\.", lambda match: _UNESCAPED[match[0]], value)


def family(samples: Samples, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the samples of a name, by the values of these labels."""
    return {
        tuple(dict(pairs).get(label, "") for label in labels): value
        for (found, pairs), value in samples.items()
        if found == name
    }


def busiest_second(times: Sequence[float]) -> tuple[int, float]:
    """Return the most that any second holds, of times in order, and when that begins."""
    most, at, first = 0, 0.0, 0
    for last, time in enumerate(times):
        while time - times[first] >= 1:
            first += 1
        if last - first + 1 > most:
            most, at = last - first + 1, times[first]
    return most, at


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a process holds; ``connections`` are those of TCP, whichever end opened them."""

    threads: int
    handles: int
    connections: int
    resident_megabytes: float


def holdings(pid: int) -> Holdings:
    """Read what a process holds at the moment."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    handles = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            handles.append(str(entry.readlink()))
    sockets = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] != _LISTENING:
                sockets.add(f"socket:[{columns[9]}]")
    return Holdings(
        threads=int(fields["Threads"]),
        handles=len(handles),
        connections=len(sockets.intersection(handles)),
        resident_megabytes=int(fields["VmRSS"].split()[0]) / 1024,
    )


def cpu_seconds(pid: int) -> float:
    """Read how much CPU time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
