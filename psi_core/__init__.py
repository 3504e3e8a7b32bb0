"""psi_core: population sparseness of networks under attack, headless.

The engine (`psi_core.engine`, the only part that imports torch) writes run directories; all else reads them.
"""

import os
import sys

_asked = [after for option, after in zip(sys.orig_argv, sys.orig_argv[1:], strict=False) if option == "-m"]
_is_module = sys.argv[:1] == ["-m"] and _asked[:1] and _asked[0].partition(".")[0] in ("psi_core", "psi_tui")
_own_place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
if _is_module and not sys.flags.safe_path and sys.path[0] != _own_place:
    # `python -m` of ours, as of torchrun and srun, puts the current folder first. No file in it takes the place of a
    # library's, and so it goes before anything else is imported.
    del sys.path[0]

from importlib import import_module  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from psi_core.errors import ConfigError, DataError, ModelError, PsiError, RunError  # noqa: E402

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
