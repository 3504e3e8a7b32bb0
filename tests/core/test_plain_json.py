"""Values as JSON: nothing but what every reader of JSON knows."""

import json
from pathlib import Path

import pytest

from psi_core.files import json_line, plain


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ([1.5, -float("inf"), (True, None)], [1.5, None, [True, None]]),
        ({"a": {"b": float("nan")}, 3: "x"}, {"a": {"b": None}, "3": "x"}),
        ([Path("/a/b")], ["/a/b"]),
    ],
    ids=str,
)
def test_what_json_does_not_know_becomes_what_it_knows(value, expected):
    assert plain(value) == expected
    assert json.loads(json_line(value)) == expected


def test_a_line_is_one_line_of_ascii():
    line = json_line({"text": "eins\nzwei ü \udcff"})
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["text"] == "eins\nzwei ü \udcff"
