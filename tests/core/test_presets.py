"""Presets: named values of RunConfig that a file beats, and what is typed beats both."""

import pytest

from psi_core import ConfigError, RunConfig
from psi_core.conditions import CONTROL_NAMES
from psi_core.measures import DEFAULT_MEASURES
from psi_core.presets import PRESETS, config_of, needless_options
from psi_core.tables.study import PUBLISHED, STUDY_ATTACK

STUDIES = [name for name in PRESETS if name.startswith("study")]


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_run(preset):
    assert RunConfig(**PRESETS[preset].values) == config_of(preset)
    assert "\n" not in PRESETS[preset].description


@pytest.mark.parametrize("preset", STUDIES)
def test_the_studys_presets_measure_what_it_measured(preset):
    config = config_of(preset)
    assert config.model in PUBLISHED
    assert STUDY_ATTACK.name in [condition.name for condition in config.conditions]
    assert (config.data, config.split, config.images, config.size) == ("mnist", "test", None, None)


def test_evidence_leaves_model_and_data_alone_and_brings_all_that_its_checks_need():
    config = config_of("evidence", model="alexnet", images=40)
    assert config.model_dump(exclude={"attack", "epsilon", "controls", "measures"}) == RunConfig(
        model="alexnet", images=40
    ).model_dump(exclude={"attack", "epsilon", "controls", "measures"})
    assert config.attack == ("fgsm", "pgd")
    assert config.epsilon == (0, 0.01, 0.03, 0.1, 0.3)
    assert config.controls == CONTROL_NAMES
    assert config.measures == (*DEFAULT_MEASURES, "kurtosis")
    controls = {condition.name: condition.control for condition in config.conditions}
    assert controls["pgd@0.1"] == "sign-noise@0.1"
    assert controls["sign-noise@0.1"] == "sign-noise-2@0.1", "the null: noise against noise"


def test_both_heads_are_there_for_both_networks():
    heads = {(config.model, config.weights, config.labels) for config in map(config_of, STUDIES)}
    models = ("alexnet", "vgg11")
    assert heads == {(m, w, label) for m in models for w, label in (("fitted", "true"), ("imagenet", "predicted"))}


def test_typed_beats_file_beats_preset(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text('model = "vgg11"\nepsilon = [0.1, 0.2]\nseed = 4\n')
    config = config_of("study-imagenet", spec, epsilon="0.05", images="40")
    assert (config.weights, config.labels) == ("imagenet", "predicted")
    assert (config.model, config.seed) == ("vgg11", 4)
    assert (config.epsilon, config.images) == ((0.05,), 40)


def test_a_default_that_is_typed_beats_the_preset():
    assert config_of("study-imagenet", model="lenet5", labels="true").model == "lenet5"
    assert config_of("study-imagenet", labels="true").labels == "true"


def test_without_a_preset_nothing_changes(tmp_path):
    spec = tmp_path / "spec.toml"
    spec.write_text("seed = 4\n")
    assert config_of(None, spec, images="3") == RunConfig.from_toml(spec, images="3")
    assert config_of(None, images="3").model_fields_set == {"images"}


def test_your_own_model_keeps_its_own_weights():
    assert config_of("study-fitted", model="mine.py:net").weights == "built"


def test_an_unknown_preset_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match="preset: there is no 'study-imagnet'; did you mean 'study-imagenet'"):
        config_of("study-imagnet", tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="write one of study-fitted, study-imagenet"):
        config_of("xyz")


NEEDLESS = {
    "benign alone": ({"attack": (), "controls": (), "epsilon": (0.1,), "target": "next"}, {"epsilon", "target"}),
    "a control has an epsilon": ({"attack": (), "controls": ("sign-noise",), "epsilon": (0.1,)}, set()),
    "one step": ({"steps": 3, "step_size": 0.5, "restarts": 2}, {"steps", "step_size", "restarts"}),
    "bim starts at the image": ({"attack": ("bim",), "steps": 3, "restarts": 2}, {"restarts"}),
    "pgd": ({"attack": ("fgsm", "pgd"), "steps": 3, "restarts": 2, "epsilon": (0.1,)}, set()),
    "foolbox takes what it takes": ({"attack": ("foolbox:LinfPGD",), "steps": 3, "restarts": 2}, set()),
}


@pytest.mark.parametrize(("typed", "expected"), NEEDLESS.values(), ids=NEEDLESS)
def test_what_is_asked_for_in_vain_is_said(typed, expected):
    told = needless_options(RunConfig(**typed), typed)
    assert {sentence.partition(":")[0] for sentence in told} == expected
    assert needless_options(RunConfig(**typed), ()) == [], "what a preset says is nobody's mistake"
