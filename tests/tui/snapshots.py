"""SVG snapshots: what a screen looked like when a person last looked at it, kept beside the tests."""

import html
import os
import re
from pathlib import Path

from textual.pilot import Pilot

from psi_tui.app.app import PsiApp
from tests.tui.apps import still

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


async def assert_says_as_before(app: PsiApp, pilot: Pilot[None], name: str) -> None:
    """The screen has the words of the one in `snapshots/NAME.svg`, line by line, in whatever colors."""
    app.clear_notifications()
    await still(pilot)
    if _words(_drawn(app)) != _words(_kept(name)):
        await still(pilot, 0.4)
    assert _words(_drawn(app)) == _words(_kept(name)), name


def _words(picture: str) -> list[str]:
    """What every line of a picture says, without the spaces: where one text ends and the next begins, colors decide."""
    lines: dict[float, str] = {}
    for y, text in re.findall(r'<text [^>]*?y="([\d.]+)"[^>]*>(.*?)</text>', picture):
        lines[float(y)] = lines.get(float(y), "") + "".join(html.unescape(text).split())
    return [text for _, text in sorted(lines.items())]


def _drawn(app: PsiApp) -> str:
    return app.export_screenshot(title="psi-tui", simplify=True)


def _kept(name: str) -> str:
    path = FOLDER / f"{name}.svg"
    return path.read_text(encoding="utf-8") if path.exists() else ""
