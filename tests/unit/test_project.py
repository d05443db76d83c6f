"""Facts of the project as a whole: what it depends on, what it packages, and what its files say."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from exporter import __version__

PYPROJECT = (ROOT / "pyproject.toml").read_text()
PROJECT: dict[str, Any] = tomllib.loads(PYPROJECT)
DEPENDENCIES: list[str] = [
    *PROJECT["build-system"]["requires"],
    *PROJECT["project"]["dependencies"],
    *PROJECT["project"]["optional-dependencies"]["dev"],
]
UNBOUNDED = {"certifi": "its version is a date, and it holds authorities rather than an interface"}
PINNED = {"grafana-foundation-sdk"}
"""Dependencies whose epoch runs backwards, so that a range would find the oldest."""


def dependency_lists() -> list[list[str]]:
    """Return the lines of ``dependencies`` and of ``dev``, comments included."""
    lists: list[str] = re.findall(r"^(?:dependencies|dev) = \[\n(.*?)^\]", PYPROJECT, re.MULTILINE | re.DOTALL)
    return [[line.strip() for line in text.splitlines()] for text in lists]


def project_files() -> Iterator[Path]:
    """Return every file that is part of the project: not what tools keep in hidden folders."""
    for path in ROOT.rglob("*"):
        parts = path.relative_to(ROOT).parts
        hidden = any(part.startswith(".") and part not in {".ci", ".gitignore"} for part in parts)
        built = any(part in {"build", "dist", "__pycache__"} or part.endswith(".egg-info") for part in parts)
        if path.is_file() and not hidden and not built:
            yield path


def test_dependencies_have_a_reason_above() -> None:
    """Each list of dependencies is made of groups, and each group begins with its reason."""
    lists = dependency_lists()
    assert len(lists) == 2
    for lines in lists:
        assert lines[0].startswith("# ")
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            assert line.startswith(("# ", '"')), line
            assert not line.startswith("# ") or following.startswith(("# ", '"')), f"a reason for nothing: {line}"


@pytest.mark.parametrize("dependency", DEPENDENCIES)
def test_dependencies_are_bounded(dependency: str) -> None:
    """Each dependency says from which version on and, where versions promise something, up to which."""
    parts = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[[a-z]+\])?(.*)", dependency)
    assert parts
    name, version = parts.groups()
    bounds = r">=[0-9.]+" if name in UNBOUNDED else r">=[0-9.]+,<[0-9.]+"
    if name in PINNED:
        bounds = r"==[0-9]+![0-9.]+"
    assert re.fullmatch(bounds, version)


def test_packages_are_all_named() -> None:
    """What is built holds every package that there is."""
    packages = [".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "exporter").rglob("__init__.py")]
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == sorted(packages)


def test_changelog_keeps_its_format() -> None:
    """The changelog has the current version or one to come, dates, and sections that Keep a Changelog knows."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    versions = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert versions
    for version in versions:
        assert re.fullmatch(r"\[Unreleased\]|\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", version)
    names = [version.partition("]")[0].removeprefix("[") for version in versions]
    assert len(set(names)) == len(names)
    assert {"Unreleased", __version__} & set(names)
    assert "Unreleased" not in names[1:]
    sections = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_files_name_no_folder_of_the_machine_they_were_written_on() -> None:
    """No file has a path that exists on one machine only."""
    local = re.compile(rb"(?<![\w.-])/(?:work|root|tmp|home)/[\w.]")
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in project_files()
        for match in local.finditer(path.read_bytes())
    ]
    assert found == []
