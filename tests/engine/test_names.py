"""Names that the light half refuses misspelt ones by are those that the engine knows."""

from psi_core.conditions import ATTACK_NAMES, CONTROL_NAMES, SIZED_BY_ATTACK
from psi_core.config import MODEL_NAMES
from psi_core.engine.attacks.attacks import ATTACKS
from psi_core.engine.attacks.controls import CONTROLS
from psi_core.engine.measure.sparseness import MEASURES
from psi_core.engine.models.sources import ARCHITECTURES
from psi_core.measures import MEASURE_NAMES


def test_configuration_and_engine_know_the_same_names():
    assert tuple(ATTACKS) == ATTACK_NAMES
    assert {*CONTROLS, SIZED_BY_ATTACK} == {*CONTROL_NAMES}
    assert tuple(MEASURES) == MEASURE_NAMES
    assert set(ARCHITECTURES) == set(MODEL_NAMES)
