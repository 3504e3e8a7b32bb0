"""Numbers in sentences, as people write them."""

import pytest

from psi_core.plain_text import counted, short_number


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.123456, 2, "0.12"),
        (99.4, 2, "99"),
        (99.6, 2, "100"),
        (100.0, 2, "100"),
        (65535.0, 4, "65540"),
        (0.001, 2, "0.001"),
        (0.00001, 2, "1e-05"),
        (1e6, 2, "1e+06"),
        (-250.0, 2, "-250"),
        (float("inf"), 2, "inf"),
    ],
)
def test_a_number_has_no_power_of_ten_where_it_needs_none(value, digits, text):
    assert short_number(value, digits) == text


def test_one_is_counted_in_the_singular():
    assert [counted(count, "image") for count in (0, 1, 2, 10_000)] == [
        "0 images",
        "1 image",
        "2 images",
        "10,000 images",
    ]
    assert [counted(count, "class", "classes") for count in (1, 2)] == ["1 class", "2 classes"]
