"""The locked dependencies of the image, resolved anew: only the index knows what dependencies depend on."""

import shutil
import subprocess
from pathlib import Path

from support import ROOT

NAMES = ("requirements.lock", "build.lock")


def test_locks_are_up_to_date(tmp_path: Path) -> None:
    """Resolving again over the locks changes nothing: they have all that pyproject.toml asks for, and no more."""
    for name in NAMES:
        shutil.copy(ROOT / ".ci" / name, tmp_path)
    done = subprocess.run([ROOT / ".ci" / "lock", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        anew = (tmp_path / name).read_text().splitlines()
        assert (ROOT / ".ci" / name).read_text().splitlines() == anew, f"{name}: run make lock"
