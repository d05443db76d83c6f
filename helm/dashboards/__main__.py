"""Write the dashboards into the chart's files."""

from pathlib import Path

from dashboards import action, overview

FILES = Path(__file__).parents[1] / "cortex-xdr-exporter" / "files" / "dashboards"


def rendered() -> dict[str, str]:
    """Return what each file has to contain, by its name."""
    return {f"{made.UID}.json": made.render() for made in (overview, action)}


if __name__ == "__main__":
    FILES.mkdir(exist_ok=True)
    for name, text in rendered().items():
        (FILES / name).write_text(text, encoding="utf-8")
