"""What clients ask for: the format and the compression."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.web.negotiation import accepts_gzip, accepts_openmetrics

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_NATIVE_HISTOGRAMS = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    + PROMETHEUS_3
)
PROMETHEUS_3_TEXT_FIRST = (
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,"
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,*/*;q=0.3"
)
FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROME = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)
OPENMETRICS = "application/openmetrics-text"


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        (PROMETHEUS_2, True),
        (PROMETHEUS_3, True),
        (PROMETHEUS_3_NATIVE_HISTOGRAMS, True),
        (PROMETHEUS_3_TEXT_FIRST, False),
        (FIREFOX, False),
        (CHROME, False),
        ("*/*", False),
        ("text/*", False),
        ("application/*", False),
        ("", False),
        ("text/plain", False),
        ("text/plain;version=0.0.4", False),
        (OPENMETRICS, True),
        (f"{OPENMETRICS};version=1.0.0", True),
        (f"{OPENMETRICS};version=1.0.0;charset=utf-8", True),
        (f"{OPENMETRICS};version=0.0.1", False),
        (f"{OPENMETRICS};version=2.0.0", False),
        (f"{OPENMETRICS};version=0.0.1,{OPENMETRICS};version=1.0.0;q=0.1", True),
        (f"{OPENMETRICS},text/plain", True),
        (f"text/plain,{OPENMETRICS}", False),
        (f"text/plain;q=0.4,{OPENMETRICS};q=0.5", True),
        (f"text/plain;q=0.5,{OPENMETRICS};q=0.4", False),
        (f"{OPENMETRICS};q=0", False),
        (f"{OPENMETRICS};q=0.0,text/plain;q=0", False),
        (f"{OPENMETRICS};q=0.001,text/plain;q=0", True),
        (f"{OPENMETRICS};q=1.000", True),
        (f"  {OPENMETRICS} ; version=1.0.0 ; q=0.9 ,\ttext/plain ; q=0.5 ", True),
        ("APPLICATION/OpenMetrics-Text;Version=1.0.0;Q=0.5,TEXT/PLAIN;q=0.4", True),
        (f"text/html, text/plain;q=0.1, {OPENMETRICS};q=0.2, */*", True),
        (f",,{OPENMETRICS},,", True),
        (f"{OPENMETRICS};", True),
        (f"{OPENMETRICS};q=2,text/plain;q=0.1", False),
        (f"{OPENMETRICS};q=-1", False),
        (f"{OPENMETRICS};q=nan,text/plain", False),
        (f"{OPENMETRICS};q=inf", False),
        (f"{OPENMETRICS};q=", False),
        (f"{OPENMETRICS};q=much", False),
        ("; ; = , q=1", False),
        ("\x00\ud800\xff", False),
        (f"x{OPENMETRICS}", False),
    ],
)
def test_accept_header_chooses_the_format(accept: str, *, openmetrics: bool) -> None:
    """The higher weight wins, then what comes first; whoever names neither format gets text 0.0.4."""
    assert accepts_openmetrics(accept) is openmetrics


@settings(deadline=None)  # A busy machine is no failure.
@given(st.text())
def test_any_accept_header_chooses_a_format(accept: str) -> None:
    """Rubbish in the header is no error."""
    assert accepts_openmetrics(accept) in {True, False}


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        ("gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("deflate, gzip;q=1.0, *;q=0.5", True),
        ("br, GZIP", True),
        ("x-gzip", True),
        ("*", True),
        ("*;q=0.1", True),
        (" gzip ; q=0.5 ", True),
        ("gzip;Q=0.5", True),
        ("identity;q=1, gzip;q=0.001", True),
        ("gzip, *;q=0", True),
        ("", False),
        ("identity", False),
        ("br, deflate, zstd", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("x-gzip;q=0, *", False),
        ("gzip;q=", False),
        ("gzip;q=much", False),
        ("gzip;q=2", False),
        ("gzip;q=nan", False),
        ("gzipped", False),
        (";;,=", False),
    ],
)
def test_accept_encoding_header_allows_gzip_or_not(accept_encoding: str, *, gzip: bool) -> None:
    """Gzip is sent to whoever names it, or takes anything, with a weight above 0."""
    assert accepts_gzip(accept_encoding) is gzip


@settings(deadline=None)  # A busy machine is no failure.
@given(st.text())
def test_any_accept_encoding_header_is_read(accept_encoding: str) -> None:
    """Rubbish in the header is no error."""
    assert accepts_gzip(accept_encoding) in {True, False}
