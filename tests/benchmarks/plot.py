"""The plot of how things grow: panels of lines on two logarithmic axes, as a small PNG on white."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")  # Before pyplot, which would look for a display.

import matplotlib.pyplot as plt

_INCHES = (15.0, 5.0)
_DOTS_PER_INCH = 100
# Blue, vermilion and green of Okabe and Ito, which the colour-blind can tell apart; markers tell them apart, too.
_STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"))
_BOUND_STYLE = ("#555555", "")


class Line(NamedTuple):
    """What is drawn of one program: values by the number of actions."""

    name: str
    values: Mapping[int, float]
    dashed: bool = False


class Panel(NamedTuple):
    """One picture of the plot."""

    title: str
    unit: str
    lines: Sequence[Line]


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draw panels side by side into a file."""
    figure, axes = plt.subplots(1, len(panels), figsize=_INCHES, facecolor="white", layout="constrained")
    for panel, axis in zip(panels, axes, strict=True):
        for place, line in enumerate(panel.lines):
            colour, marker = _BOUND_STYLE if line.dashed else _STYLES[place]
            axis.plot(
                list(line.values),
                list(line.values.values()),
                color=colour,
                marker=marker,
                linestyle="--" if line.dashed else "-",
                label=line.name,
            )
        axis.set(xscale="log", yscale="log", xlabel="actions", ylabel=panel.unit)
        axis.set_title(panel.title, fontsize=11)
        axis.xaxis.set_major_formatter("{x:,.0f}")
        axis.yaxis.set_major_formatter("{x:,g}")
        axis.grid(visible=True, which="major", color="#dddddd")
        axis.legend(frameon=False)
    figure.savefig(path, dpi=_DOTS_PER_INCH)
    plt.close(figure)
