"""The locked dependencies of the image, held against pyproject.toml: what can be told without a network."""

import re
import tomllib
from collections.abc import Sequence

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKED: dict[str, Sequence[str]] = {
    "requirements.lock": PROJECT["project"]["dependencies"],
    "build.lock": PROJECT["build-system"]["requires"],
}


@pytest.mark.parametrize("name", LOCKED)
def test_lock_pins_each_version_by_hash(name: str) -> None:
    """A lock is nothing but versions, each with hashes: no index, and nothing that is left to chance."""
    pin = r"[a-z0-9-]+==[a-z0-9.]+(?: ; [^\\\n]+)?(?: \\\n    --hash=sha256:[0-9a-f]{64})+\n"
    assert re.fullmatch(rf"(?:#.*\n)+(?:{pin})+", (ROOT / ".ci" / name).read_text())


@pytest.mark.parametrize("name", LOCKED)
def test_lock_has_what_is_required(name: str) -> None:
    """Each direct dependency is locked at a version that pyproject.toml allows: else ``make lock``."""
    pins = dict(re.findall(r"^([^=#\s]+)==(\S+)", (ROOT / ".ci" / name).read_text(), re.MULTILINE))
    required = [Requirement(line) for line in LOCKED[name]]
    wrong = [
        str(one) for one in required if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0"))
    ]
    assert wrong == []
