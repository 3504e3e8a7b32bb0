"""psi_core: population sparseness of networks under attack, headless.

The engine (`psi_core.engine`, the only part that imports torch) writes run directories; all else reads them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from psi_core.errors import ConfigError, DataError, ModelError, PsiError, RunError

if TYPE_CHECKING:
    from psi_core.config import RunConfig
    from psi_core.runs.finding import load_run
    from psi_core.runs.run import Run

__all__ = ["ConfigError", "DataError", "ModelError", "PsiError", "Run", "RunConfig", "RunError", "load_run"]

_MODULES = {"RunConfig": "config", "load_run": "runs.finding", "Run": "runs.run"}
"""Where the names lie that are imported on first use: numpy and pydantic would delay the app's first paint."""


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
