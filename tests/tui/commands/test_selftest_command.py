"""`psi-tui selftest` with the real engine: words, JSON and exit codes."""

import json


def test_it_prints_a_line_for_each_part_and_keeps_the_figures(psi, tmp_path):
    outcome = psi("selftest", "--device", "cpu", "--parts", "signs,products", "--to", tmp_path / "found.json")
    assert outcome.code == 0
    first, second, last = outcome.out.splitlines()
    assert first.startswith("✓ signs      random numbers are the CPU's")
    assert second.startswith("✓ products   products at exact err by")
    assert last.startswith("all is well: ")
    assert json.loads((tmp_path / "found.json").read_text())["passed"] is True


def test_json_holds_the_figures_alone(psi):
    outcome = psi("selftest", "--device", "cpu", "--parts", "signs", "--json")
    assert json.loads(outcome.out)["parts"]["signs"]["figures"]["signs"] == 0
