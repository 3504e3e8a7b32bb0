"""What a shell completes: commands, runs, and the values of options, as bash asks for them."""

import pytest

from psi_core.runs.labels import Label, write_label
from tests.recorded import record_run

LINES = {
    "attacks, the last of several": ("run --attack fgsm,p", ["fgsm,pgd"]),
    "a model": ("run --model le", ["lenet5"]),
    "a model to fit": ("fit --model vg", ["vgg11"]),
    "a preset": ("run --preset ev", ["evidence"]),
    "a choice": ("run --unit ", ["neuron", "channel", "token"]),
    "measures": ("run --measures psi,ho", ["psi,hoyer"]),
    "a run": ("show mi", ["mine"]),
    "the latest": ("watch lat", ["latest"]),
    "the second of several runs": ("compare mine ot", ["other"]),
    "a table": ("show mine --table cla", ["classes"]),
    "a layer of the run": ("show mine --plot con", ["conv1", "conv2"]),
    "a condition of the run": ("show mine --condition sig", ["sign-noise@0.03"]),
    "a condition that runs share": ("compare mine other --condition fg", ["fgsm@0.03"]),
    "tables of an export": ("export mine --tables layers,conditions,l", ["layers,conditions,lifetime"]),
    "the second of several tags": ("label other --tag draft,pa", ["draft,paper"]),
    "a field of a filter": ("runs mod", ["model:"]),
    "a layer of no run": ("show nothing --plot con", []),
}


@pytest.mark.parametrize(("line", "found"), LINES.values(), ids=LINES)
def test_values_are_completed(own_folders, psi, monkeypatch, line, found):
    record_run(own_folders, name="mine")
    write_label(record_run(own_folders, name="other"), Label(tags=("paper",)))
    words = line.split(" ")
    monkeypatch.setenv("COMP_WORDS", f"psi-tui {line}")
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    monkeypatch.setenv("_PSI_TUI_COMPLETE", "bash_complete")
    monkeypatch.setattr("sys.argv", ["psi-tui"])
    assert [answer.partition(",")[2] for answer in psi().out.splitlines() if answer] == found
