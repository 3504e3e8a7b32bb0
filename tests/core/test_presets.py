"""Presets: named values of RunConfig that a file beats, and what is typed beats both."""

import pytest

from psi_core import ConfigError, RunConfig
from psi_core.presets import PRESETS, config_of
from psi_core.study import PUBLISHED, STUDY_ATTACK


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_run(preset):
    config = RunConfig(**PRESETS[preset].values)
    assert config == config_of(preset)
    assert config.model in PUBLISHED
    assert STUDY_ATTACK.name in [condition.name for condition in config.conditions]
    assert (config.data, config.split, config.images, config.size) == ("mnist", "test", None, None)
    assert "\n" not in PRESETS[preset].description


def test_both_heads_are_there_for_both_networks():
    heads = {(config.model, config.weights, config.labels) for config in map(config_of, PRESETS)}
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
