"""The fields of a run's form are RunConfig's own: their groups, defaults and refusals, and the command they make."""

import shlex
from pathlib import Path

import pytest

from psi_core.config import RunConfig
from psi_core.files import runs_directory
from psi_tui.commands.config_options import typed_values as typed_on_command_line
from psi_tui.commands.run import run as run_click_command
from psi_tui.screens.new_run.canvas import LABEL_WIDTH
from psi_tui.screens.new_run.fields import GROUPS, default_text, form_field, refusal_of, typed_values
from psi_tui.screens.new_run.screen import run_command

FIELDS = list(RunConfig.model_fields)
DEFAULTS = {name: default_text(name) for name in FIELDS}


def test_every_field_of_a_run_stands_in_one_group():
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(FIELDS)


def test_groups_are_those_of_the_commands_help():
    panels = {
        panel.name: [option.removeprefix("--").replace("-", "_") for option in panel.options]
        for panel in run_click_command.panels
    }
    assert {heading: list(names) for heading, names in GROUPS.items() if heading in panels} == panels


@pytest.mark.parametrize("name", FIELDS)
def test_a_default_reads_back_as_the_default(name):
    text = default_text(name)
    if text or RunConfig.model_fields[name].default is not None:
        assert getattr(RunConfig(**{name: text}), name) == getattr(RunConfig(), name)
    assert typed_values(DEFAULTS) == {}
    assert form_field(name).help


@pytest.mark.parametrize("name", FIELDS)
def test_a_label_leaves_a_gap_before_the_value(name):
    assert len(form_field(name).label) < LABEL_WIDTH - 2


@pytest.mark.parametrize(
    "typed",
    [
        {},
        {"model": "alexnet", "epsilon": "0.03,0.1", "images": "500"},
        {"model": "my nets/a b.py:make it", "size": "28", "name": "a, b"},
        {"name": "-x", "epsilon": ".1"},
        {"controls": "none", "layers": "features.*,'x'", "weights": "it's/$HOME.pt"},
        {"controls": ""},
        {"attack": "fgsm,foolbox:LinfDeepFoolAttack", "target": "least-likely", "step_size": ".25", "restarts": "2"},
        {"attack": "none", "attacked": "npz:theirs.npz", "controls": "none"},
    ],
    ids=str,
)
@pytest.mark.parametrize("folder", [None, "else where"])
def test_the_command_is_read_as_exactly_what_was_typed(typed, folder, own_folders):
    runs_dir = own_folders.parent / folder if folder else runs_directory()
    program, command, *arguments = shlex.split(run_command(typed, runs_dir))
    context = run_click_command.make_context("run", list(arguments))
    assert (program, command) == ("psi-tui", "run")
    assert typed_on_command_line(context) == typed
    assert runs_directory(context.params["runs_dir"]) == Path(runs_dir)
    assert ("--runs-dir" in arguments) == bool(folder)


def test_only_what_differs_from_the_defaults_is_typed():
    assert typed_values({**DEFAULTS, "epsilon": " 0.1 ", "model": "lenet5 "}) == {"epsilon": "0.1"}


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("attack", "fgsm,pgd, mi-fgsm"),
        ("attack", "foolbox:LinfDeepFoolAttack"),
        ("attack", "none"),
        ("controls", "gaussian,shuffled-fgsm,sign-noise-2"),
        ("step_size", "auto"),
        ("step_size", "0.25"),
    ],
)
def test_what_may_stand_beside_some_other_value_is_not_refused(name, accepted):
    assert refusal_of(name, accepted) is None
