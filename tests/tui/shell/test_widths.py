"""At a terminal no line is wider than it, and none is broken within a word; a pipe has a sentence in one line."""

import re

import pytest
from rich.cells import cell_len

from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import EvidenceFound
from psi_core.runs.labels import Label, write_label
from psi_core.tables.registry import TABLE_NAMES
from tests.recorded import record_run

LONG = "a-name-of-a-run-that-is-longer-than-a-narrow-terminal"
COMMANDS = {
    **{table: ("show", LONG, "--table", table) for table in TABLE_NAMES},
    **{word: (word,) for word in ("runs", "trash")},
    **{word: (word, LONG) for word in ("show", "verify", "label")},
    "plot": ("show", LONG, "--plot", "conv1"),
    "compare": ("compare", LONG, "example-alexnet"),
}
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def run(own_folders):
    directory = record_run(
        own_folders, name=LONG, images=30, chunk=30, attack="fgsm,pgd", controls="sign-noise,gaussian", epsilon="0,0.1"
    )
    EventLog(events_path(directory, 0)).write(EvidenceFound(training_modules=1, repeat_difference=1e-6))
    write_label(directory, Label(tags=("paper", "draft"), note="conv1 depends on the noise, as far as that is told"))
    return directory


def lines_of(told):
    assert told.code == 0, told.err
    return [ESCAPES.sub("", line) for line in told.out.splitlines()]


@pytest.mark.parametrize("columns", [30, 80])
def test_no_line_is_wider_than_the_terminal(psi, run, monkeypatch, columns):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in COMMANDS.values():
        wide = [line for line in lines_of(psi(*command)) if cell_len(line) > columns]
        # A path and a command are never broken, so that they can be copied.
        whole = [line for line in wide if re.fullmatch(r" *(\S+|\(psi-tui [^()]+\))", line)]
        assert wide == whole, command


def test_what_is_broken_at_a_terminal_is_one_line_in_a_pipe_and_the_same_words(psi, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    for name in ("show", "verify", "compare", "plot"):
        piped = lines_of(psi(*COMMANDS[name]))
        assert max(map(len, piped)) > 60
        with monkeypatch.context() as patch:
            patch.setenv("FORCE_COLOR", "1")
            broken = lines_of(psi(*COMMANDS[name]))
        assert " ".join(" ".join(broken).split()) == " ".join(" ".join(piped).split())
    asides = [line for line in lines_of(psi("show", LONG)) if line.startswith("evidence: ")]
    assert asides[0].endswith(f"(psi-tui show {run.name} --table evidence)")
