"""The engine: everything that imports torch. It writes run directories; nothing here draws on a screen."""

from psi_core.engine.analysis import analyze
from psi_core.engine.attacks.notebook import attack, fgsm
from psi_core.engine.measure.meter import SparsenessMeter
from psi_core.engine.measure.sparseness import population_sparseness
from psi_core.files import forget_empty_folders

forget_empty_folders()

__all__ = ["SparsenessMeter", "analyze", "attack", "fgsm", "population_sparseness"]
