"""Write the chart's README."""

import json
from pathlib import Path

from chart_docs.values import table

CHART = Path(__file__).parents[1] / "cortex-xdr-exporter"
README = CHART / "README.md"


def rendered() -> str:
    """Return what the README has to contain."""
    head = Path(__file__).with_name("README.md.in").read_text(encoding="utf-8")
    values = (CHART / "values.yaml").read_text(encoding="utf-8")
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    return f"{head}\n{table(values, schema)}"


if __name__ == "__main__":
    README.write_text(rendered(), encoding="utf-8")
