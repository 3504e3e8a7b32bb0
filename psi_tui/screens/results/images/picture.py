"""One image as the network saw it: benign, attacked, the difference; what it was taken for, and its PSI by layer."""

from typing import Any, ClassVar

import numpy as np
from rich.cells import cell_len, set_cell_size
from textual import getters, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.geometry import Size
from textual.widgets import Static
from textual.worker import get_current_worker

from psi_core.conditions import Condition
from psi_core.errors import PsiError
from psi_core.pictures import pixels_of
from psi_core.runs.run import Run
from psi_tui.graphics.terminal import BLOCKS, Way
from psi_tui.screens.results.images.pixels import Picture, png_of
from psi_tui.services.services import Services
from psi_tui.text.columns import elided
from psi_tui.text.formatting import format_cell
from psi_tui.widgets.dialogs import Modal, OwnExport

_THREE_PICTURES = 90
"""Columns from which all three pictures stand side by side."""

_TALL = 30
"""Lines from which colors are explained; letters always are."""

_LEAST = Size(28, 14)
"""Columns and lines that a picture has in the smallest terminal."""

_AROUND = Size(4, 4)
"""Columns and lines that the frames around pictures and words take."""

_MOST = 128
"""Columns or lines that a picture has at most."""

_FRAMES = ("benign", "attacked", "difference")
"""What is shown of an image, as the engine calls it."""


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
        self._shown = _FRAMES[:1] if Condition.of_name(condition).is_benign else _FRAMES
        self._second = second_title(condition)
        self._shows_difference = False
        self._told = ""
        self._fitted: tuple[Size, Way] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog pictures") as dialog:
            swap = "" if len(self._shown) == 1 else ", t: difference"
            dialog.border_subtitle = f"left right: other images{swap}, esc leaves"
            titles = {"benign": "benign", "attacked": self._second, "difference": f"{self._second} - benign"}
            with Horizontal(id="pictures"):
                for name, title in titles.items():
                    with Vertical(id=f"{name}-picture", classes="picture") as frame:
                        frame.border_title = title
                        yield Picture("difference" if name == "difference" else "image", self.app.graphics)
            yield Static(id="picture-legend", markup=False)
            yield Static(id="picture-reason", markup=False)
            yield Static(id="picture-facts", markup=False)

    def on_mount(self) -> None:
        self.app.graphics.listener.heard = lambda: self.call_later(self._heard)
        self.watch(self.app, "theme", self._fit, init=False)
        self._arrange()
        self._ask()

    def on_unmount(self) -> None:
        self.app.graphics.listener.heard = lambda: None

    def on_resize(self) -> None:
        self._arrange()
        self._fit()

    def _arrange(self) -> None:
        has_room = self.app.size.width >= _THREE_PICTURES
        hidden = "" if has_room else "attacked" if self._shows_difference else "difference"
        for name in _FRAMES:
            self.query_one(f"#{name}-picture").display = name in self._shown and name != hidden

    def _ask(self) -> None:
        self.query_one(".pictures").border_title = f"image {self.image}, {self.condition}"
        reason = self.query_one("#picture-reason", Static)
        reason.update("making the picture again ...")
        reason.display = True
        for picture in self.query(Picture):  # Words of one image never stand beside the picture of another.
            picture.pixels = None
        self._make(self.image, self._has_color)

    def _heard(self) -> None:
        """The terminal has said what it can, or that it has a picture."""
        self._fit()
        for picture in self.query(Picture):
            picture.refresh()

    def _fit(self) -> None:
        """Asks for the same image in another size, where the room for it or the way to show it is another by now."""
        if self._fitted is not None and self._fitted != (self._room(self._told), self._way):
            self._make(self.image, self._has_color)

    @property
    def _has_color(self) -> bool:
        return self.query(Picture).first().has_color

    @property
    def _way(self) -> Way:
        return self._way_in(self._has_color)

    def _way_in(self, has_color: bool) -> Way:
        """How pictures are shown here; letters are in half blocks' places."""
        return self.app.graphics.way if has_color else BLOCKS

    def _room(self, facts: str) -> Size:
        """Columns and lines for one picture, so that what is told of it is seen as well."""
        frames = min(len(self._shown), 3 if self.app.size.width >= _THREE_PICTURES else 2)
        legends = 3 if self.app.size.height >= _TALL else 1
        width = (self.app.size.width - _AROUND.width) // frames - 1
        height = self.app.size.height - _AROUND.height - legends - facts.count("\n")
        return Size(min(max(width, _LEAST.width), _MOST), min(max(height, _LEAST.height), _MOST))

    @work(thread=True, exclusive=True, group="picture")
    def _make(self, image: int, has_color: bool) -> None:
        worker = get_current_worker()
        try:
            facts = _facts(self.run, image, self.condition)
            self.call_later(self._show_facts, image, facts)
            if self._fitted is None:
                self.app.graphics.look_at_tmux()
            room, way = fitted = self._room(facts), self._way_in(has_color)
            wide, high = way.cell
            answer = self.app.engine.ask(
                "picture",
                run=str(self.run.directory),
                index=image,
                condition=self.condition,
                width=room.width * wide,
                height=room.height * high,
            )
        except (PsiError, OSError) as error:
            answer, fitted = {"reason": str(error)}, None
        if not worker.is_cancelled:
            self.call_later(self._show, image, answer, fitted)

    def _show_facts(self, image: int, facts: str) -> None:
        if image == self.image:
            self._told = facts
            self.query_one("#picture-facts", Static).update(facts)

    def _show(self, image: int, answer: dict[str, Any], fitted: tuple[Size, Way] | None) -> None:
        if image != self.image:
            return
        self._fitted = fitted
        for name in _FRAMES:
            picture = self.query_one(f"#{name}-picture").query_one(Picture)
            picture.pixels = pixels_of(answer.get(name))
            if fitted is not None:
                picture.fit(*fitted)
        has_room = self.app.size.height >= _TALL
        pictures = [self.query_one(f"#{name}-picture").query_one(Picture) for name in self._shown]
        legends = [picture.legend() for picture in pictures if has_room or not picture.has_color]
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
        if len(self._shown) == 1:
            self.app.say("nothing was done to the images, so there is no difference to show")
            return
        if self.app.size.width >= _THREE_PICTURES:
            self.app.say(f"all three pictures are shown; below {_THREE_PICTURES} columns t changes the second")
        self._shows_difference = not self._shows_difference
        self._arrange()

    def action_export(self) -> None:
        pixels = {name: self.query_one(f"#{name}-picture").query_one(Picture).pixels for name in self._shown}
        shown = {name: array for name, array in pixels.items() if array is not None}
        own = []
        if shown:
            words = f"PNG      image {self.image}: {', '.join(shown)}"
            own = [OwnExport(words, f"image-{self.image}", ".png", lambda: png_of(shown))]
        self.app.offer_exports(self.run.directory, self.run.name, own=own)

    def action_copy(self) -> None:
        self.app.copy(self._told, f"image {self.image}")


def second_title(condition: str) -> str:
    """What the second picture is called: a control attacks nothing."""
    return "control" if Condition.of_name(condition).is_control else "attacked"


_LONGEST_LAYER = 40
"""Cells of a layer's name beside its numbers."""


def _facts(run: Run, image: int, condition: str) -> str:
    """Predictions with confidence, size of the change, and PSI of every layer before and after."""
    at = run.conditions.index(condition)
    place = int(np.searchsorted(run.index, image))
    names = [str(name) for name in run.model.get("class_names") or ()]

    def class_name(number: int) -> str:
        return names[number] if 0 <= number < len(names) else str(number)

    label = int(run.labels[place])
    lines = []
    sides = (("benign", 0), (second_title(condition), at)) if at else (("benign", 0),)
    for title, condition_at in sides:
        taken = int(run.predictions[condition_at, place])
        confidence = float(run.array("confidence")[condition_at, place])
        mark = "✓" if taken == label else "✗"
        lines.append(f"{title:<8} {mark} predicted {class_name(taken)}; P({class_name(label)}) = {confidence:.3f}")
    if at:
        linf, l2 = (float(run.array(name)[at, place]) for name in ("linf", "l2"))
        lines[1] += "   the attack failed on it" if np.isnan(l2) else f"   L∞ {linf:.4f}, L2 {l2:.3f}"
    psi = run.psi[:, :, place].astype(np.float64)
    layers = [elided(layer, _LONGEST_LAYER) for layer in run.layers]
    longest = max(map(cell_len, layers))
    cells = [
        f"{set_cell_size(layer, longest)} {format_cell(float(benign), 'psi'):>6}"
        + (f" {format_cell(float(attacked - benign), 'shift'):>7}" if at else "")
        for layer, benign, attacked in zip(layers, psi[0], psi[at], strict=True)
    ]
    width = max(map(cell_len, cells)) + 3
    per_line = max(1, 70 // width)
    rows = [cells[start : start + per_line] for start in range(0, len(cells), per_line)]
    table = ["".join(set_cell_size(cell, width) for cell in row) for row in rows]
    return "\n".join([*lines, *table])
