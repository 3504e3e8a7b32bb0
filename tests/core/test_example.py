"""The run that ships with the package is a whole, real one, and its card says how to make it again."""

import re
import shlex

import numpy as np
import pytest

from psi_core import RunConfig, load_run
from psi_core.errors import RunError
from psi_core.files import examples_directory
from psi_core.pictures import find_picture
from psi_core.runs.finding import list_runs
from psi_core.tables.registry import table_rows

LAYERS = {
    "alexnet": ["conv1", "conv2", "conv3", "conv4", "conv5", "fc1", "fc2"],
    "vgg11": [*(f"conv{number}" for number in range(1, 9)), "fc1", "fc2"],
}
EXAMPLES = [f"example-{model}" for model in LAYERS]


@pytest.fixture(scope="module", params=EXAMPLES)
def example(request):
    return load_run(request.param)


def test_it_is_found_by_name_and_never_the_latest(own_folders, example):
    assert example.is_example
    assert example.status == "done"
    assert [run.name for run in list_runs()] == EXAMPLES
    with pytest.raises(RunError):
        load_run("latest")


def test_it_holds_what_was_asked_of_it(example):
    config = example.config
    assert (config.data, config.images, config.weights, config.loss) == ("mnist", 10_000, "fitted", "margin")
    changes = ("fgsm", "sign-noise", "gaussian", "anti-fgsm", "donor")
    assert example.conditions == ["benign", *(f"{name}@{epsilon}" for name in changes for epsilon in (0.03, 0.1))]
    assert example.layers == LAYERS[config.model]
    assert example.square_sums("fc1") is not None


def test_it_is_small_enough_to_ship(example):
    assert sum(path.stat().st_size for path in example.directory.rglob("*") if path.is_file()) < 12e6


def test_the_command_of_its_card_is_its_configuration(example):
    words = shlex.split(example.card["command"])
    assert words[:2] == ["psi-tui", "run"]
    typed = {option.removeprefix("--"): value for option, value in zip(words[2::2], words[3::2], strict=True)}
    asked = RunConfig(**typed)
    for name in asked.model_fields_set:
        assert getattr(asked, name) == getattr(example.config, name)
    for name in ("seed", "controls", "labels", "unit", "rectify", "measures", "precision"):
        assert getattr(asked, name) == getattr(example.config, name)


def test_its_numbers_are_those_of_a_network_that_was_attacked(example):
    correct = (example.predictions == example.labels).mean(axis=1)
    at = {name: place for place, name in enumerate(example.conditions)}
    assert correct[0] > 0.985
    assert correct[at["fgsm@0.1"]] < correct[at["fgsm@0.03"]] < correct[0]
    assert min(correct[at[name]] for name in ("sign-noise@0.1", "gaussian@0.1", "donor@0.1")) > 0.98
    assert np.isfinite(example.psi).all()
    epsilons = np.array([condition.epsilon for condition in example.condition_details])
    bounded = [condition.row.norm == "linf" for condition in example.condition_details]
    assert (example.array("linf").max(axis=1) <= epsilons + 1e-6)[bounded].all()


def test_what_fgsm_does_beyond_noise_is_small_in_every_layer(example):
    rows = [row for row in table_rows(example, "layers") if row["condition"] != "benign"]
    assert all(row["verdict"] for row in rows)
    attacked = [row for row in rows if row["attack"] == "fgsm"]
    beyond = [row for row in attacked if row["verdict"].startswith("beyond noise")]
    assert len(beyond) >= len(attacked) // 2
    assert 0.1 < max(abs(row["delta_sd"]) for row in beyond) < 0.25
    assert all(row["verdict"].endswith(("negligible", "small")) for row in beyond)


def test_some_of_its_images_can_be_seen_without_its_weights(own_folders, example):
    pictured = {int(path.name.split("-")[0]) for path in (example.directory / "pictures").iterdir()}
    assert {0, 1, 2} <= pictured
    flipped = np.flatnonzero((example.predictions[0] == example.labels) & (example.predictions[2] != example.labels))
    assert set(flipped[:6].tolist()) <= pictured
    for condition in ("fgsm@0.03", "fgsm@0.1", "anti-fgsm@0.03", "gaussian@0.1", "donor@0.1"):
        picture = find_picture(example, 0, condition)
        at = example.conditions.index(condition)
        assert picture.linf == pytest.approx(float(example.array("linf")[at, 0]), rel=1e-3)
        assert picture.prediction == example.predictions[at, 0]


def test_nothing_in_it_names_a_machine(example):
    for path in example.directory.glob("*.json*"):
        assert not re.search(r'"/\w', path.read_text()), "an absolute path"
        assert not re.search(r'"(host|boot_id|pid_namespace)": "[^"]', path.read_text())


def test_it_lies_where_examples_do(example):
    assert example.directory.parent == examples_directory()
    assert example.id == example.directory.name
