"""One image as the network saw it: benign, attacked, the difference; what it was taken for, and its PSI by layer."""

from typing import Any, ClassVar

import numpy as np
from textual import getters, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static
from textual.worker import get_current_worker

from psi_core.errors import PsiError
from psi_core.runs.run import Run
from psi_tui.screens.results.images.pixels import Picture
from psi_tui.services.services import Services
from psi_tui.text.formatting import format_cell
from psi_tui.widgets.dialogs import Modal

_THREE_PICTURES = 90
"""Columns from which all three pictures stand side by side."""

_TALL = 30
"""Lines from which colors are explained; letters always are."""

_TITLES = {"benign": "benign", "attacked": "attacked", "difference": "attacked - benign"}


class PictureDialog(Modal[None]):
    """Shows one image; left and right go through the images of the table.

    Args:
        run: that it belongs to.
        image: its position in the data set.
        condition: compared with benign.
        images: positions of the images in the table's order.
    """

    app = getters.app(Services)

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "dismiss", "leave"),
        Binding("left,h,k,up", "step(-1)", "previous image"),
        Binding("right,l,j,down", "step(1)", "next image"),
        Binding("t", "swap", "difference"),
        Binding("y", "copy", "copy"),
        Binding("e", "export", "export"),
    ]

    def __init__(self, run: Run, image: int, condition: str, images: list[int]) -> None:
        super().__init__()
        self.run = run
        self.image = image
        self.condition = condition
        self.images = images
        self._shows_difference = False
        self._told = ""

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog pictures") as dialog:
            dialog.border_subtitle = "left right: other images, t: difference, esc leaves"
            with Horizontal(id="pictures"):
                for name, title in _TITLES.items():
                    with Vertical(id=f"{name}-picture", classes="picture") as frame:
                        frame.border_title = title
                        yield Picture("difference" if name == "difference" else "image")
            yield Static(id="picture-legend", markup=False)
            yield Static(id="picture-reason", markup=False)
            yield Static(id="picture-facts", markup=False)

    def on_mount(self) -> None:
        self._arrange()
        self._ask()

    def on_resize(self) -> None:
        self._arrange()

    def _arrange(self) -> None:
        has_room = self.app.size.width >= _THREE_PICTURES
        for name in _TITLES:
            is_hidden = not has_room and name == ("attacked" if self._shows_difference else "difference")
            self.query_one(f"#{name}-picture").display = not is_hidden

    def _ask(self) -> None:
        self.query_one(".pictures").border_title = f"image {self.image}, {self.condition}"
        reason = self.query_one("#picture-reason", Static)
        reason.update("making the picture again ...")
        reason.display = True
        for picture in self.query(Picture):  # Words of one image never stand beside the picture of another.
            picture.pixels = None
        self._make(self.image)

    @work(thread=True, exclusive=True, group="picture")
    def _make(self, image: int) -> None:
        worker = get_current_worker()
        try:
            self.call_later(self._show_facts, image, _facts(self.run, image, self.condition))
            answer = self.app.engine.ask(
                "picture", run=str(self.run.directory), index=image, condition=self.condition, width=28, height=28
            )
        except (PsiError, OSError) as error:
            answer = {"reason": str(error)}
        if not worker.is_cancelled:
            self.call_later(self._show, image, answer)

    def _show_facts(self, image: int, facts: str) -> None:
        if image == self.image:
            self._told = facts
            self.query_one("#picture-facts", Static).update(facts)

    def _show(self, image: int, answer: dict[str, Any]) -> None:
        if image != self.image:
            return
        for name in _TITLES:
            pixels = answer.get(name)
            picture = self.query_one(f"#{name}-picture").query_one(Picture)
            picture.pixels = None if pixels is None else np.asarray(pixels, np.float64)
        has_room = self.app.size.height >= _TALL
        legends = [picture.legend() for picture in self.query(Picture) if has_room or not picture.has_color]
        legend = self.query_one("#picture-legend", Static)
        legend.update("\n".join(dict.fromkeys(filter(None, legends))))
        legend.display = any(legends)
        reason = self.query_one("#picture-reason", Static)
        reason.update(answer.get("reason") or "")
        reason.display = bool(answer.get("reason"))

    def action_step(self, by: int) -> None:
        if self.image not in self.images:
            self.app.say("this image is not in the table any more; esc goes back to it")
            return
        self.image = self.images[(self.images.index(self.image) + by) % len(self.images)]
        self._ask()

    def action_swap(self) -> None:
        if self.app.size.width >= _THREE_PICTURES:
            self.app.say(f"all three pictures are shown; below {_THREE_PICTURES} columns t changes the second")
        self._shows_difference = not self._shows_difference
        self._arrange()

    def action_export(self) -> None:
        self.app.offer_exports(self.run.directory, self.run.name)

    def action_copy(self) -> None:
        self.app.copy(self._told, f"image {self.image}")


def _facts(run: Run, image: int, condition: str) -> str:
    """Predictions with confidence, size of the change, and PSI of every layer before and after."""
    at = run.conditions.index(condition)
    place = int(np.searchsorted(run.index, image))
    names = [str(name) for name in run.model.get("class_names") or ()]

    def class_name(number: int) -> str:
        return names[number] if 0 <= number < len(names) else str(number)

    label = int(run.labels[place])
    lines = []
    for title, condition_at in (("benign", 0), ("attacked", at)):
        taken = int(run.predictions[condition_at, place])
        confidence = float(run.array("confidence")[condition_at, place])
        mark = "✓" if taken == label else "✗"
        lines.append(f"{title:<8} {mark} taken for {class_name(taken)}, {confidence:.3f} for {class_name(label)}")
    linf, l2 = (float(run.array(name)[at, place]) for name in ("linf", "l2"))
    lines[1] += "   the attack failed on it" if np.isnan(l2) else f"   L∞ {linf:.4f}, L2 {l2:.3f}"
    psi = run.psi[:, :, place].astype(np.float64)
    cells = [
        f"{layer} {format_cell(float(benign), 'psi')} {format_cell(float(attacked - benign), 'shift')}"
        for layer, benign, attacked in zip(run.layers, psi[0], psi[at], strict=True)
    ]
    width = max(map(len, cells)) + 3
    per_line = max(1, 70 // width)
    rows = [cells[start : start + per_line] for start in range(0, len(cells), per_line)]
    table = ["".join(f"{cell:<{width}}" for cell in row) for row in rows]
    return "\n".join([*lines, *table])
