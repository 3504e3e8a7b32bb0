"""SVG snapshots: what a screen looked like when a person last looked at it, kept beside the tests."""

import os
from pathlib import Path

from psi_tui.app.app import PsiApp

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = "PSI_UPDATE_SNAPSHOTS"
"""Set it to 1 to write the snapshots anew; then look at each before it is committed."""


def looks_as_before(app: PsiApp, name: str) -> bool:
    """Whether the screen is the one in `snapshots/NAME.svg`."""
    return _drawn(app) == _kept(name)


def assert_looks_as_before(app: PsiApp, name: str) -> None:
    """The screen is the one in `snapshots/NAME.svg`; where it is not, the new one lies beside it as `.new.svg`."""
    path, other = FOLDER / f"{name}.svg", FOLDER / f"{name}.new.svg"
    drawn = _drawn(app)
    if os.environ.get(UPDATE):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(drawn, encoding="utf-8")
    kept = _kept(name)
    if drawn != kept:
        other.write_text(drawn, encoding="utf-8")
    else:
        other.unlink(missing_ok=True)
    assert drawn == kept, f"{name} looks different: compare {path.name} with {other.name}; {UPDATE}=1 keeps the new one"


def _drawn(app: PsiApp) -> str:
    return app.export_screenshot(title="psi-tui", simplify=True)


def _kept(name: str) -> str:
    path = FOLDER / f"{name}.svg"
    return path.read_text(encoding="utf-8") if path.exists() else ""
