"""`--trust` holds wherever it is written, also where there is nothing left to do."""

import json

import pytest

from psi_core import ModelError, Run
from psi_core.runs.trust import require_trusted
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
