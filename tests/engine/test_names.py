"""Names that the light half refuses misspelt ones by are those that the engine knows."""

import inspect

from psi_core.conditions import ATTACK_NAMES, ATTACKS, CONTROL_NAMES
from psi_core.config import MODEL_NAMES
from psi_core.engine.attacks import attacks, controls
from psi_core.engine.attacks.perturbations import FUNCTIONS
from psi_core.engine.measure import reducer, sparseness
from psi_core.engine.models.sources import ARCHITECTURES
from psi_core.measures import MEASURES


def functions_of(module, *parameters):
    """Names of a module's own functions with these parameters, as rows have them."""
    return {
        name.replace("_", "-")
        for name, each in inspect.getmembers(module, inspect.isfunction)
        if each.__module__ == module.__name__ and tuple(inspect.signature(each).parameters) == parameters
    }


def test_every_attack_and_control_has_a_row_and_every_row_its_function():
    assert [*FUNCTIONS] == [row.name for row in ATTACKS]
    assert functions_of(attacks, "batch", "epsilon") == {*ATTACK_NAMES}
    assert functions_of(controls, "batch", "epsilon") == {*CONTROL_NAMES}


def test_every_measure_has_a_row_and_every_row_its_function():
    assert [*reducer.FUNCTIONS] == [*MEASURES] == [row.name for row in MEASURES.values()]
    costly = {name for name, row in MEASURES.items() if row.costs_a_pass}
    assert functions_of(sparseness, "moments") == {name.replace("_", "-") for name in {*MEASURES} - costly}
    assert functions_of(sparseness, "responses", "total") == costly


def test_configuration_and_engine_know_the_same_models():
    assert set(ARCHITECTURES) == set(MODEL_NAMES)
