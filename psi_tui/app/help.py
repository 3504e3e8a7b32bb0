"""Help: every key of the focused widget, the screen and the app, and what the words on the screen mean."""

from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import Static

from psi_core.presets import STUDY, STUDY_DOI, STUDY_TITLE
from psi_core.statistics.contrasts import BEYOND_WORDS, SIZE_WORDS
from psi_tui.app.palette import bindings_of, words_of
from psi_tui.screens.base import PsiScreen
from psi_tui.text.formatting import GLYPH_WORDS
from psi_tui.widgets.dialogs import Modal
from psi_tui.widgets.navigation import SCREENS

_WORDS = {
    "fooled, kept": "right before the attack and wrong after it; right before and after",
    "PSI": "population sparseness index: 0 all units respond alike, 1 one unit carries it all",
    "benign, attacked": "the images as they are; the same after the attack",
    "Δ": "attacked minus benign, image by image; Δ-control: attacked minus control",
    "beyond, sd": f"{BEYOND_WORDS}: {SIZE_WORDS}; in lists of runs, of the furthest layer",
    "▲ ▼ = < ± ?": f"before that number: {GLYPH_WORDS}",
    "no layer, no noise": "in lists of runs: no layer lies beyond noise; there is no noise of the attack's size",
    "own labels": "the network's own predictions stand for labels: there is no accuracy, only the share fooled",
    "done x": "all images are measured, and a check of the run's evidence failed",
    "done !": "its results cannot be read, for a file of it is damaged: enter says which, r makes it again",
    "lost, paused": "the run's workers are gone without a word, r resumes it; they are held by a signal",
    "? before a model": "in lists of runs: a run made elsewhere, whose own code runs only after a question",
    "control": "noise of the same size: a shift that it makes too is no effect of the attack",
    "peak": "the fullest of 20 bins over 0..1: L its place, H its share of the images, A their accuracy",
    "Study": f'{STUDY}, "{STUDY_TITLE}", doi:{STUDY_DOI}: peak values of AlexNet and VGG11 on MNIST under FGSM',
    "d_z": "consistency: how alike images move, mean difference over its sd; says nothing of how far",
    "ok ! x -": "a check that passed, one to heed, one that failed, one that this run does not allow",
    "TNR": "share of the control's images not taken for attacked where 95 % of the attacked are",
    "Liu": "PSI of class means, channels in z-scores (Liu et al. 2020): by benign, or by a condition's own",
    "lifetime": "the formula of PSI for one channel over all images",
    "AUROC": "chance that an attacked image has the higher PSI than a benign one; 0.5 tells nothing",
}


class HelpScreen(Modal[None]):
    """A page of keys and words.

    Args:
        title: title of the screen below.
        keys: heading, then key and words, group by group.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "leave"),
        Binding("w", "words", "what the words mean"),
    ]

    def __init__(self, title: str, keys: list[tuple[str, list[tuple[str, str]]]]) -> None:
        super().__init__()
        self._title = title
        self.keys = keys

    @classmethod
    def of(cls, screen: Screen[Any]) -> "HelpScreen":
        """The help of a screen as it is now."""
        groups: dict[str, dict[str, list[str]]] = {"this screen": {}}
        for node, binding in bindings_of(screen):
            if isinstance(screen, Modal) and node is screen.app:
                continue  # The app's keys do not act below a dialog.
            is_widget = node is screen.focused
            place = _widget_words(node) if is_widget else "everywhere" if node is screen.app else "this screen"
            keys = groups.setdefault(place, {}).setdefault(words_of(binding), [])
            key = screen.app.get_key_display(binding)
            if key not in keys:
                keys.append(key)
        title = SCREENS.get(screen.NAME, "") if isinstance(screen, PsiScreen) else ""
        rows = {place: [(" ".join(keys), words) for words, keys in own.items()] for place, own in groups.items() if own}
        return cls(title, list(rows.items()))

    def compose(self) -> ComposeResult:
        """Keys first, words below."""
        with VerticalScroll(classes="dialog help") as dialog:
            dialog.border_title = f"Help: {self._title}" if self._title else "Help"
            dialog.border_subtitle = "w: what the words mean, esc leaves"
            for heading, keys in self.keys:
                yield Static(Text(heading, style="bold"))
                yield Static(_grid(keys), classes="keys")
            yield Static(Text("words", style="bold"), id="help-words")
            yield Static(_grid(list(_WORDS.items())), classes="keys")

    def action_words(self) -> None:
        """Puts the words at the top."""
        dialog = self.query_one(VerticalScroll)
        dialog.scroll_to(y=self.query_one("#help-words").virtual_region.y, animate=False)


def _grid(rows: list[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column()
    for key, words in rows:
        grid.add_row(key, words)
    return grid


def _widget_words(node: object) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(node).__name__)
    return f"the focused{words}"
