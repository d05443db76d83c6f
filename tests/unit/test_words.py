"""Numbers, times and foreign texts as the page writes them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.web import words


@pytest.mark.parametrize(
    ("value", "written"), [(0, "0"), (999, "999"), (1000, "1 000"), (2**53 + 1, "9 007 199 254 740 993")]
)
def test_numbers_have_thin_spaces_between_thousands(value: int, written: str) -> None:
    """A long number can be read, is exact, and breaks nowhere."""
    assert words.number(value).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("part", "whole", "written"),
    [
        (0, 7, "0 %"),
        (1, 1000, "<1 %"),
        (1, 3, "33 %"),
        (999, 1000, "99 %"),
        (1000, 1000, "100 %"),
        (2**60 - 1, 2**60, "99 %"),
    ],
)
def test_percent_never_says_all_or_nothing_too_early(part: int, whole: int, written: str) -> None:
    """A share is rounded down, and what is not nothing is more than 0 %."""
    assert words.percent(part, whole).replace("\u202f", " ") == written


def test_share_is_never_the_whole_while_something_is_unknown() -> None:
    """100 % is of everything; of what is known it is all."""
    shares = [words.share(part, 7, unknown) for part, unknown in ((7, 0), (7, 2), (6, 2))]
    assert shares == ["100\u202f%", "all", "85\u202f%"]


@pytest.mark.parametrize(
    ("value", "written"),
    [(0, "0"), (0.001, "<0.01"), (0.333, "0.33"), (0.5, "0.5"), (4.9, "4.9"), (5, "5"), (166.6, "167")],
)
def test_rate_has_two_digits_where_they_matter(value: float, written: str) -> None:
    """Few requests per second are told apart, and many are round."""
    assert words.rate(value) == written


@pytest.mark.parametrize(
    ("value", "written"), [(0, "0"), (0.05, "<0.1"), (2.55, "2.5"), (9.96, "10"), (310.4, "310"), (1588, "1 588")]
)
def test_pace_has_a_digit_below_ten(value: float, written: str) -> None:
    """A crawl is told from a standstill."""
    assert words.pace(value).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (-5, "0 s"),
        (0.9, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (4800, "1 h 20 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d"),
        (86_400 * 3 + 4 * 3600, "3 d 4 h"),
        (86_400 * 30, "30 d"),
        (86_400 * 3000, "3 000 d"),
    ],
)
def test_span_has_two_units_rounded_down(seconds: float, written: str) -> None:
    """A length of time is told as precisely as somebody would say it."""
    assert words.span(seconds).replace("\u202f", " ") == written


@pytest.mark.parametrize(
    ("seconds", "written"), [(-3, "just now"), (1.9, "just now"), (2, "2 s ago"), (150, "2 min ago")]
)
def test_age_is_how_long_ago(seconds: float, written: str) -> None:
    """What is from the future, by a clock that was set back, is from just now."""
    assert words.age(seconds) == written


@pytest.mark.parametrize(
    ("later_seconds", "written"),
    [
        (0, "22:13"),
        (6400, "Wed 15 Nov, 00:00"),
        (-80_000, "00:00"),
        (86_400 * 60, "Sat 13 Jan 2024, 22:13"),
        (-1e12, "Thu 1 Jan 1970, 00:00"),
        (1e15, "Fri 31 Dec 9999, 23:59"),
    ],
)
def test_clock_has_the_date_if_it_is_another(later_seconds: float, written: str) -> None:
    """A time of today is a time; of another day it has the date, of another year that too."""
    assert words.clock(1_700_000_000 + later_seconds, 1_700_000_000) == written


def test_moment_and_iso_are_in_utc() -> None:
    """Both say that they are, and of which day."""
    assert words.moment(1_700_000_000.9) == "14 Nov 22:13:20 UTC"
    assert words.iso(1_700_000_000.9) == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("disable-smbv1", "disable-smbv1"),
        ("", ""),
        (" ", "␣"),
        ("a\nb\r\tc\x00", "a↵b⟨U+000D⟩⟨U+0009⟩c⟨U+0000⟩"),
        ("\u202egnp.exe\u2066", "⟨U+202E⟩gnp.exe⟨U+2066⟩"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u2800\u2800", "⟨U+2800⟩⟨U+2800⟩"),
        ("👩\u200d👧 مرحبا", "👩\u200d👧 مرحبا"),
    ],
)
def test_visible_shows_what_has_no_picture(text: str, shown: str) -> None:
    """Marks that hide or turn text are spelled out; scripts and emoji stay as they are."""
    assert words.visible(text) == shown


@given(st.text(st.characters()))
def test_visible_text_has_no_controls(text: str) -> None:
    """Nothing that is left is a control character, half a surrogate pair, or breaks a line; UTF-8 carries it."""
    shown = words.visible(text)
    assert {unicodedata.category(character) for character in shown} & {"Cc", "Cs", "Zl", "Zp"} == set()
    assert shown.encode().decode() == shown
