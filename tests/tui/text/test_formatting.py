import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_tui.text.formatting import (
    MISSING,
    format_accuracies,
    format_age,
    format_bytes,
    format_cell,
    format_duration,
    format_headline,
    format_interval,
    format_large,
    format_mean_sd,
    format_peak,
    format_progress,
    format_rate,
)

KINDS = ("text", "count", "flag", "epsilon", "psi", "shift", "percent", "p", "number")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("nothing", [None, math.nan, ""])
def test_nothing_is_shown_as_missing(kind, nothing):
    assert format_cell(nothing, kind) == MISSING


@given(st.floats(0, 1))
def test_psi_reads_back_within_its_rounding(value):
    assert abs(float(format_cell(value, "psi")) - value) <= 0.5e-4 + 1e-12


@given(st.floats(-1, 1))
def test_a_shift_always_has_its_sign(value):
    assert format_cell(value, "shift")[0] in "+-"


@given(st.integers(0, 10**9))
def test_counts_keep_every_digit(count):
    assert int(format_cell(count, "count").replace(",", "")) == count


@given(st.floats(0, 1e9))
def test_durations_never_lie_by_more_than_their_smallest_unit(seconds):
    units = {"d": 86400, "h": 3600, "min": 60, "s": 1}
    words = format_duration(seconds).split()
    shown = sum(int(number) * units[unit] for number, unit in zip(words[::2], words[1::2], strict=True))
    assert abs(shown - seconds) <= units[words[-1]]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (185, "3 min 05 s"), (7800, "2 h 10 min"), (273600, "3 d 4 h"), (None, MISSING)],
)
def test_durations(seconds, text):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "now"), (59, "now"), (300, "5 min"), (3 * 3600 + 1, "3 h"), (12 * 86400, "12 d")]
)
def test_ages(seconds, text):
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert format_age((now - timedelta(seconds=seconds)).isoformat(), now) == text


def test_short_forms():
    row = {"delta_mean": 0.0502, "delta_ci_low": 0.0478, "delta_ci_high": 0.0521, "psi_mean": 0.512, "psi_sd": 0.0131}
    assert format_interval(row, "delta") == "+0.0502 [+0.0478, +0.0521]"
    assert format_interval({}, "delta") == MISSING
    assert format_interval({"delta_mean": 0.5}, "delta") == "+0.5000"
    assert format_mean_sd(row, "psi") == "0.5120 ± 0.0131"
    assert format_mean_sd({"psi_mean": 0.5}, "psi") == "0.5000"
    assert (format_peak(0.475), format_peak(None)) == ("0.475", MISSING)
    assert (format_cell(-0.1966, "sd"), format_cell(math.nan, "sd")) == ("-0.197", MISSING)
    assert format_headline("fc2", -0.0032, -0.1966, has_noise=True) == ("-0.197 fc2", "-0.0032")
    assert format_headline(None, None, None, has_noise=True) == ("no layer", MISSING)
    assert format_headline("fc2", -0.0032, None, has_noise=False) == ("no noise", "-0.0032 fc2")
    assert format_headline(None, None, None, has_noise=False) == ("no noise", MISSING)
    assert (format_accuracies(98.94, 34.2), format_accuracies(98.9, None)) == ("98.9 → 34.2", "98.9")
    assert format_accuracies(None, None) == MISSING
    assert (format_progress(4500, 10000), format_progress(60, 60)) == ("4,500/10,000", "60")
    assert (format_rate(1234.5), format_rate(3.21), format_rate(None)) == ("1,234 images/s", "3.2 images/s", MISSING)
    assert (format_large(61_100_840), format_large(432), format_large(None)) == ("61.1 M", "432", MISSING)
    assert (format_bytes(12_345_678), format_bytes(12), format_bytes(None)) == ("12.3 MB", "12 B", MISSING)
    assert (format_bytes(999_499), format_bytes(999_500), format_bytes(1e15)) == ("999 kB", "1 MB", "1000 TB")
    assert (format_large(999.4), format_large(999_900), format_large(0)) == ("999", "1 M", "0")
