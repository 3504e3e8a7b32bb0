"""The command that a report shows makes the run again: its words are the run's configuration."""

import shlex

import pytest

from psi_core.config import RunConfig
from psi_core.runs.run import Run
from psi_tui.commands.config_options import typed_values
from psi_tui.commands.run import run as run_command
from psi_tui.shell.report import made_by
from tests.recorded import record_run

RUNS = {
    "as recorded": {},
    "nothing done": {"attack": "none", "controls": "none"},
    "attacks": {"attack": "fgsm,pgd", "epsilon": "8/255,0.1", "steps": 7, "name": "a name with spaces"},
    "one measure": {"measures": "psi", "labels": "predicted", "seed": 3},
    "normalized": {"normalize": "0.1307/0.3081", "precision": "tf32"},
}


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_its_words_are_the_runs_configuration(own_folders, options):
    run = Run(record_run(own_folders, **options))
    program, name, *words = shlex.split(made_by(run))
    assert (program, name) == ("psi-tui", "run")
    with run_command.make_context("run", words) as context:
        asked = RunConfig(**typed_values(context))
    held = {field: getattr(run.config, field) for field in RunConfig.model_fields if hasattr(run.config, field)}
    assert {field: getattr(asked, field) for field in held} == held
