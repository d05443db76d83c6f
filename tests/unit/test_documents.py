"""The documents: what is generated is up to date, and links lead somewhere."""

import re
from pathlib import Path

import configuration_document
import pytest
from support import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("helm/**/*.md"))]


def prose(path: Path) -> str:
    """Return a document without its code, in which nothing is a link or a heading."""
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Return what a fragment may name in a document: its headings, as GitHub spells them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def links(path: Path) -> list[str]:
    """Return the targets of a document's links and pictures that are files of the project."""
    found = re.findall(r"\]\(([^)\s]+)\)|\bsrc=\"([^\"]+)\"", prose(path))
    return [target for pair in found for target in pair if target and not target.startswith("https://")]


def leads_nowhere(path: Path, target: str) -> bool:
    """Tell whether a link of a document names a file or a heading that is not there."""
    name, _, fragment = target.partition("#")
    file = (path.parent / name).resolve() if name else path
    return not file.exists() or (bool(fragment) and fragment not in anchors(file))


def test_configuration_document_is_what_the_models_say() -> None:
    """docs/configuration.md is what make docs writes."""
    assert configuration_document.FILE.read_text() == configuration_document.render()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Each relative link of a document names a file that is there, and a heading in it."""
    assert [target for target in links(path) if leads_nowhere(path, target)] == []
