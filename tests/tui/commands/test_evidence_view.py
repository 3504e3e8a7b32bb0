"""Evidence on the screen and on the page: the status in a word, the sentence whole, one line under the layers."""

import json

import pytest

from psi_core.evidence import checks_of, tally
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import EvidenceFound
from psi_core.runs.finding import load_run
from psi_core.tables.columns import readable
from tests.recorded import record_run


@pytest.fixture
def run(own_folders):
    directory = record_run(own_folders, controls="none")
    fields = {"training_modules": 0, "repeat_difference": 1e-6}
    EventLog(events_path(directory, 0)).write(EvidenceFound(**fields, gradient_reason="OwnError: " + "why " * 40))
    return load_run(str(directory))


@pytest.mark.parametrize("columns", [32, 63, 64, 80, 200])
def test_every_check_is_there_with_its_word_and_its_whole_sentence(psi, run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = psi("show", run.id, "--table", "evidence").out.splitlines()[1:]
    assert max(map(len, lines)) <= columns
    assert lines == [line.rstrip() for line in lines]
    checks = checks_of(run)
    assert {check.status for check in checks} == {"green", "amber", "red", "none"}
    text = " ".join(" ".join(lines).split())
    for check in checks:
        assert f"{check.name} {readable(check.status, 'status')} " in text
    assert "not checked" in text
    if columns >= 64:
        indent = lines[0].index("what was found")
        assert " ".join(" ".join(line[indent:] for line in lines[1:]).split()) == " ".join(
            check.sentence.strip() for check in checks
        )
    else:
        assert "what was found" not in text
        assert all(check.sentence.strip() in text for check in checks)


def test_a_line_under_the_layers_sums_it_up(psi, run):
    said = tally(check.status for check in checks_of(run))
    assert psi("show", "latest").out.splitlines()[-1] == f"evidence: {said} (psi-tui show {run.id} --table evidence)"
    assert "evidence:" not in psi("show", "latest", "--table", "conditions").out
    assert "evidence:" not in psi("show", "latest", "--json").out


def test_the_page_breaks_sentences_and_keeps_options_as_they_are_typed(psi, run):
    tex = psi("show", "latest", "--table", "evidence", "--format", "tex").out
    assert r"\begin{tabular}{llp{0.6\linewidth}}" in tex
    assert r"add -{}-controls sign-noise,gaussian" in tex
    markdown = psi("show", "latest", "--table", "evidence", "--format", "md").out
    assert "| check | status | what was found |\n| --- | --- | --- |" in markdown
    rows = json.loads(psi("show", "latest", "--table", "evidence", "--json").out)
    assert list(rows[0]) == ["check", "status", "value", "unit", "sentence"]
