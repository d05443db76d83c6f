"""The chart: as helm renders, refuses and installs it, without a cluster and without a network."""

import functools
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT, find_program

Json = dict[str, Any]
Objects = Mapping[tuple[str, str], Json]
"""Objects of Kubernetes by kind and name."""

CHART = ROOT / "helm" / "cortex-xdr-exporter"
CASE_NAMES = ["defaults", *sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())]
RELEASE, NAMESPACE = "acme", "monitoring"


class _Loader(yaml.SafeLoader):
    """Refuses a key that is given twice, of which Kubernetes would take one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build a mapping from a node."""
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) < len(node.value):
            raise yaml.MarkedYAMLError(problem="a key is given twice", problem_mark=node.start_mark)
        return mapping


def case_file(name: str) -> Path:
    """Return the file of a case's values; for ``defaults``, that of the chart."""
    return CHART / "values.yaml" if name == "defaults" else CHART / "ci" / f"{name}-values.yaml"


def case_values(name: str) -> Json:
    """Return the values of a case; none for ``defaults``."""
    values: Json = {} if name == "defaults" else yaml.safe_load(case_file(name).read_text())
    return values


def helm(*arguments: str, values: Mapping[str, Any] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run helm with values, which it reads from its standard input, over those of files among the arguments."""
    program = find_program("helm")
    assert program, "mark the test with needs('helm')"
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            [program, *arguments, "--values=-"],
            input=json.dumps(values or {}),
            env={"HOME": home, "KUBECONFIG": os.devnull},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def render(values: Mapping[str, Any] | None = None, *, release: str = RELEASE) -> Objects:
    """Return all objects of the chart, those of its tests too; fail the test if helm refuses."""
    text, said = _template(release, json.dumps(values or {}))
    if said:
        pytest.fail(said)
    return _parsed(text)


@functools.cache
def _parsed(text: str) -> Objects:
    documents: Iterator[Json | None] = yaml.load_all(text, Loader=_Loader)
    objects = [document for document in documents if document is not None]
    named = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(named) == len(objects), "two objects have the same kind and name"
    return named


def refusal(values: Mapping[str, Any]) -> str:
    """Return what helm says when it refuses these values; fail the test if it does not."""
    _, said = _template(RELEASE, json.dumps(values))
    assert said, "helm takes these values"
    return said


@functools.cache
def _template(release: str, values: str) -> tuple[str, str]:
    run = helm("template", release, str(CHART), f"--namespace={NAMESPACE}", values=json.loads(values))
    assert bool(run.returncode) == bool(run.stderr), f"helm says, and does not fail: {run.stderr}"
    return run.stdout, run.stderr


def install(case: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """Return what an installation would make of a case's file and these values, and what helm says after it."""
    run = helm(
        *("install", RELEASE, str(CHART), f"--namespace={NAMESPACE}", "--dry-run=client"),
        f"--values={case_file(case)}",
        values=values,
    )
    assert (run.returncode, run.stderr) == (0, "")
    _, _, made = run.stdout.partition("\nDESCRIPTION: Dry run complete\n")
    objects, _, notes = made.partition("\nNOTES:\n")
    return objects, notes


def of_kind(objects: Objects, kind: str) -> Json:
    """Return the only object of that kind."""
    (found,) = (one for (found, _), one in objects.items() if found == kind)
    return found


def pod_template(objects: Objects) -> Json:
    """Return what the pods of the only Deployment or StatefulSet are made of."""
    (workload,) = (one for (kind, _), one in objects.items() if kind in {"Deployment", "StatefulSet"})
    template: Json = workload["spec"]["template"]
    return template


def exporter_container(objects: Objects) -> Json:
    """Return the container that the exporter runs in."""
    (container,) = (one for one in pod_template(objects)["spec"]["containers"] if one["name"] == "exporter")
    return dict(container)
