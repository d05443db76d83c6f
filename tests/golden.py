"""What the chart's renderings have to be, and what helm says after an installation; run it to write them anew.

Rules and dashboards are left out: tests hold those against the chart's files.
"""

from support import ROOT
from support_helm import CASE_NAMES, install

GOLDEN = ROOT / "tests" / "fixtures" / "chart"
_ELSEWHERE = {"prometheusRule": {"enabled": False}, "dashboards": {"enabled": False}}


def golden_texts(case: str) -> dict[str, str]:
    """Return what the files of a case have to contain, by their names."""
    objects, notes = install(case, _ELSEWHERE)
    return {f"{case}.yaml": objects, f"{case}.notes.txt": notes}


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for file in GOLDEN.iterdir():
        file.unlink()
    for name in CASE_NAMES:
        for file_name, text in golden_texts(name).items():
            (GOLDEN / file_name).write_text(text)
