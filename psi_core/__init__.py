"""psi_core: population sparseness of networks under attack, headless.

The engine (`psi_core.engine`, the only part that imports torch) writes run directories; all else reads them.
"""

from psi_core.config import RunConfig
from psi_core.errors import ConfigError, DataError, ModelError, PsiError, RunError
from psi_core.runs.finding import load_run
from psi_core.runs.run import Run

__all__ = ["ConfigError", "DataError", "ModelError", "PsiError", "Run", "RunConfig", "RunError", "load_run"]
