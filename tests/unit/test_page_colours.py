"""The page's colours, read from its style sheet: contrast after WCAG 2.2, and statuses told apart by everybody.

How the colour-blind see is simulated after Machado, Oliveira and Fernandes (2009), at full severity. Distances are
Euclidean in OKLab, where black and white are 1 apart.
"""

import math
import re
from itertools import combinations

import pytest

from exporter.web.static import STATIC

CSS = STATIC["/-/page.css"].content.decode()
DARK_BEGINS = CSS.index("@media screen and (prefers-color-scheme: dark)")

Colour = tuple[float, float, float]
"""Linear red, green and blue, from 0 to 1."""


def palette(css: str) -> dict[str, Colour]:
    """Read the custom properties of the first rule of a style sheet that are colours."""
    rule = css[: css.index("}")]
    return {
        name: (linear(value[:2]), linear(value[2:4]), linear(value[4:]))
        for name, value in re.findall(r"--([a-z-]+): #([0-9a-f]{6});", rule)
    }


def linear(hexadecimal: str) -> float:
    """Turn a channel of sRGB into light."""
    value = int(hexadecimal, 16) / 255
    return value / 12.92 if value <= 0.04045 else math.pow((value + 0.055) / 1.055, 2.4)


THEMES = {"light": palette(CSS), "dark": palette(CSS[DARK_BEGINS:])}

SEGMENTS = ("failed", "timeout", "expired", "aborted", "canceled", "succeeded", "running", "aborting", "track")
"""In the order of a bar; whoever is pending is the bare track."""

MAIN = ("failed", "timeout", "succeeded", "running")
"""Those that most bars are made of."""

VISIONS: dict[str, tuple[Colour, Colour, Colour]] = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def contrast(one: Colour, other: Colour) -> float:
    """Return the contrast ratio of two colours, from 1 to 21."""
    darker, lighter = sorted(0.2126 * red + 0.7152 * green + 0.0722 * blue for red, green, blue in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def seen(colour: Colour, vision: str) -> Colour:
    """Return a colour as somebody sees it, in OKLab."""
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, colour, strict=True)))) for row in VISIONS[vision]
    )
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    medium = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def test_both_themes_have_the_same_colours() -> None:
    """The dark theme redefines each colour, but for none that paper needs."""
    assert set(THEMES["light"]) == set(THEMES["dark"]) > {*SEGMENTS, "page", "card", "ink"}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("text", ["ink", "quiet", "link", "bad", "warn", "well"])
@pytest.mark.parametrize("background", ["page", "card", "tint"])
def test_text_has_contrast(theme: str, text: str, background: str) -> None:
    """Every colour of text has at least 4.5 to 1 on every background (WCAG 1.4.3, AA)."""
    assert contrast(THEMES[theme][text], THEMES[theme][background]) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("part", [*SEGMENTS[:-1], "edge", "focus"])
def test_parts_of_bars_have_contrast(theme: str, part: str) -> None:
    """Each status, the bar's edge and the mark of the focus have at least 3 to 1 on a card (WCAG 1.4.11, AA)."""
    assert contrast(THEMES[theme][part], THEMES[theme]["card"]) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("status", ["failed", "timeout"])
def test_textures_of_what_must_be_seen_have_contrast(theme: str, status: str) -> None:
    """Failed and timed out have a pattern that is seen without any colour."""
    assert contrast(THEMES[theme][status], THEMES[theme][f"{status}-mark"]) >= 3


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("vision", VISIONS)
def test_statuses_are_told_apart(theme: str, vision: str) -> None:
    """Any two statuses may be neighbours in a bar, and differ for everybody; the usual ones differ more."""
    for one, other in combinations(SEGMENTS, 2):
        distance = math.dist(seen(THEMES[theme][one], vision), seen(THEMES[theme][other], vision))
        assert distance >= (0.15 if {one, other} <= set(MAIN) else 0.1), f"{one} and {other}: {distance:.3f}"
