"""Fixtures of the tests of a worker: what its chunks are made of."""

import pytest

from psi_core.engine.images import load_dataset
from psi_core.engine.models.sources import build_classifier, model_source
from tests.engine.networks import seeded


@pytest.fixture(scope="module")
def classifier():
    return seeded(lambda: build_classifier(model_source("lenet5"), 10, "none")).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("mnist", "test")
