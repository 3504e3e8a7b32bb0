"""`psi-tui bench` with the real engine: what it prints."""

import re

import pytest


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Of foolbox, for a part of scipy's old name.
def test_it_prints_speeds_memory_and_ratios(psi):
    outcome = psi("bench", "--model", "lenet5", "--batch", 8, "--rounds", 1)
    assert outcome.code == 0
    first, *lines = outcome.out.splitlines()
    assert first.startswith("lenet5, 28 px, batch 8, exact, 5 conditions, ")
    for name in ("engine", "floor", "expert"):
        (line,) = [line for line in lines if line.startswith(name)]
        assert re.fullmatch(rf"{name} +[0-9.]+ images/s +[0-9.]+ \w+", line)
    assert any(re.fullmatch(r"ratio +[0-9.]+ of the floor's speed(, of its memory [0-9.]+)?", line) for line in lines)
    assert any(line.startswith("usual way") for line in lines) == any("x the usual way (" in line for line in lines)
    assert any(re.fullmatch(r" +[0-9.]+ x an expert's script", line) for line in lines)
