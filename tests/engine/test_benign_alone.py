"""Benign images alone: no condition but benign, and the numbers of any run."""

import numpy as np
import pytest

from psi_core.config import RunConfig
from psi_core.engine import analyze
from psi_core.engine.attacks.perturbations import forwards_per_image
from psi_core.errors import ConfigError
from tests.engine.processes import small_config


@pytest.mark.parametrize("attack", ["none", ["none"], [], ()])
def test_no_attack_is_benign_alone_without_controls(attack):
    config = RunConfig(attack=attack)
    assert [condition.name for condition in config.conditions] == ["benign"]
    assert RunConfig(**config.model_dump()) == config
    assert forwards_per_image(config) == 1
    with_noise = RunConfig(attack=attack, controls="sign-noise", epsilon="8/255")
    assert [condition.name for condition in with_noise.conditions] == ["benign", "sign-noise@8/255"]


def test_no_attack_by_name_is_refused_and_so_is_noise_without_its_measure():
    with pytest.raises(ConfigError, match=r"write one of fgsm, .*, or none"):
        RunConfig(attack="")
    with pytest.raises(ConfigError, match="gaussian takes its size from an attack, and there is none"):
        RunConfig(attack="none", controls="gaussian")


def test_its_numbers_are_those_of_a_run_with_attacks(tmp_path):
    alone = analyze(small_config(attack="none", controls=(), images=30), tmp_path)
    with_attack = analyze(small_config(images=30), tmp_path)
    assert alone.conditions == ["benign"]
    for name in ("psi", "prediction", "confidence"):
        assert np.array_equal(alone.array(name)[0], with_attack.array(name)[0], equal_nan=True), name
    assert alone.status == "done"
