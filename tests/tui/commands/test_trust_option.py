"""`--trust` holds wherever it is written, also where there is nothing left to do."""

import json

import pytest

from psi_core import ModelError, Run
from psi_core.runs.trust import require_trusted, trust
from psi_tui.runs.run_list import RunList
from tests.recorded import make_older, record_run


@pytest.fixture
def foreign(own_folders):
    """A finished run of somebody's code."""
    directory = record_run(own_folders, name="theirs")
    make_older(directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": "theirs.py:build"}))
    with pytest.raises(ModelError, match="--trust"):
        require_trusted(Run(directory))
    return Run(directory)


@pytest.mark.parametrize("command", ["resume", "open"])
def test_a_word_is_enough(psi, foreign, command):
    psi(command, foreign.id, "--trust")
    require_trusted(foreign)


def test_that_it_cannot_be_remembered_is_told(psi, foreign, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/state")
    outcome = psi("resume", foreign.id, "--trust")
    assert outcome.code == 0
    assert "holds for this command alone" in outcome.err
    require_trusted(foreign)


@pytest.mark.parametrize("columns", [80, 200])
def test_the_list_marks_it_until_it_is_trusted(psi, foreign, monkeypatch, columns):
    record_run(foreign.directory.parent, name="mine")
    monkeypatch.setenv("COLUMNS", str(columns))

    def marked(told):
        return [line.split()[0] for line in told.out.splitlines()[1:] if " ?" in line]

    told = psi("runs")
    assert marked(told) == ["theirs"]
    assert ("?theirs.py:build" if columns > 80 else "  ?t") in told.out
    assert "runs only with --trust" in told.err
    assert max(map(len, told.out.splitlines())) <= columns
    assert [run["name"] for run in json.loads(psi("runs", "--json").out) if run["needs_trust"]] == ["theirs"]
    trust(foreign)
    told = psi("runs")
    assert (marked(told), "--trust" in told.err) == ([], False)


def test_the_app_s_list_marks_it_and_sees_it_trusted_elsewhere(foreign):
    runs = RunList(foreign.directory.parent)
    assert {entry.name: entry.needs_trust for entry in runs.poll() if not entry.is_example} == {"theirs": True}
    trust(foreign)
    assert not any(entry.needs_trust for entry in runs.poll())
