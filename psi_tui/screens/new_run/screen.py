"""Screen 3: everything that a run is, a sentence of what it will cost, and the command that starts the same."""

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Static
from textual.worker import Worker

from psi_core.config import RunConfig
from psi_core.errors import ConfigError, PsiError, first_of
from psi_core.files import runs_directory
from psi_core.options import flag_of
from psi_core.plain_text import counted
from psi_core.presets import needless_options
from psi_tui.runs.gpu import device_choices
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.screens.new_run.form import ConfigForm
from psi_tui.services.services import PrefillForm
from psi_tui.text.formatting import format_bytes, format_duration


def plan_sentence(plan: dict[str, Any]) -> str:
    """`4 conditions x 7 layers x 10,000 images, about 13 min on this cpu, 12.3 MB; weights are fitted first`.

    Args:
        plan: the engine's answer.
    """
    amounts = (
        counted(len(plan["conditions"]), "condition"),
        counted(len(plan["layers"]), "layer"),
        counted(plan["images"], "image"),
    )
    seconds = plan["seconds"]
    time = "time not known yet" if seconds is None else f"about {format_duration(seconds)}"
    device = "this cpu" if plan["device"] == "cpu" else plan["device"]
    place = device if plan["devices"] == 1 else f"{device} with {plan['devices']} workers"
    ending = "; weights are fitted first" if plan["fit_needed"] else ""
    ending += f"; {plan['completeness']}" if plan.get("completeness") else ""
    return f"{' x '.join(amounts)}, {time} on {place}, {format_bytes(plan['disk_bytes'])}{ending}"


def run_command(typed: Mapping[str, str], runs_dir: Path) -> str:
    """The `psi-tui run` of these options, quoted for a shell.

    Args:
        typed: what differs from the defaults, by RunConfig's names.
        runs_dir: where the run would go; named only where the command would choose another folder.
    """
    words = ["psi-tui", "run"]
    for name, text in typed.items():
        option = flag_of(name)
        words += [option] if RunConfig.model_fields[name].annotation is bool else _option(option, text)
    if runs_dir != runs_directory():
        words += _option("--runs-dir", str(runs_dir))
    return shlex.join(words)


def _option(option: str, text: str) -> list[str]:
    """An option and its value, joined by = where the value would pass for an option itself."""
    return [f"{option}={text}"] if text.startswith("-") else [option, text]


_PAUSE = 0.5
"""Seconds without a change before the engine is asked."""


class NewRunScreen(PsiScreen):
    """A form, the plan of the run it describes, and the equivalent command."""

    NAME = "new_run"

    CSS = """
    NewRunScreen {
        #new-run-pane { height: 1fr; padding: 0 0 0 1; }
        #new-run-bottom { height: auto; border-top: solid $separator; padding: 0 1; }
        #new-run-bottom Horizontal { height: auto; }
        #new-run-bottom .name { width: 12; padding: 0 0 0 2; color: $foreground 65%; text-style: bold; }
        #plan, #command { width: 1fr; height: auto; max-height: 4; }
        #plan { max-height: 6; }
        #plan.-refused { color: $error; }
        #start { width: auto; min-width: 9; margin: 0 0 0 12; }
        #start-words { width: 1fr; padding: 0 2; color: $foreground 65%; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "start", "start"),
        Binding("ctrl+r", "start", "start"),
        Binding("y", "copy", "copy"),
        Binding("ctrl+y", "copy_command", "copy command"),
        Binding("escape", "back", "back", priority=True),
        Binding("up", "move('up')", "up", show=False),
        Binding("down", "move('down')", "down", show=False),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    @dataclass
    class Planned(Message):
        """The engine told what a run would cost, or refused it."""

        question: dict[str, Any]
        plan: dict[str, Any] | None
        refusal: str = ""

    @dataclass
    class DevicesRead(Message):
        """The devices of this machine are known."""

        choices: list[tuple[str, str]]

    def __init__(self) -> None:
        super().__init__()
        self._prefilled: dict[str, str] = {}
        self._pause: Timer | None = None
        self._asking: dict[str, Any] | None = None
        self._refusal = ""
        self._starting: Worker[None] | None = None

    def compose_body(self) -> ComposeResult:
        with Pane(id="new-run-pane"):
            yield ConfigForm(id="form")
        with Vertical(id="new-run-bottom"):
            with Horizontal():
                yield Static("plan", classes="name")
                yield Static(id="plan", markup=False)
            with Horizontal():
                yield Static("command", classes="name")
                yield Static(id="command", markup=False)
            with Horizontal():
                yield Button("start", id="start", variant="primary", compact=True)
                yield Static("r, or ctrl+r from inside a field", id="start-words", markup=False)

    def on_mount(self) -> None:
        """Begins at the first field, or with what was filled in before the form was there."""
        self.form.fill(self._prefilled)
        self.set_focus(self.form)
        self._show_command()

    @property
    def form(self) -> ConfigForm:
        return self.query_one(ConfigForm)

    @on(PrefillForm)
    def _prefill(self, message: PrefillForm) -> None:
        """Fills the fields that are named; the others keep what was typed."""
        if self.query(ConfigForm):
            self.form.fill(message.values)
            self.set_focus(self.form)
        else:
            self._prefilled = message.values

    # What the run would cost.

    @on(events.ScreenResume)
    def _look_again(self) -> None:
        """Free memory and the speed of earlier runs change while other screens are shown."""
        self._read_devices()
        self._plan_soon()

    @on(ConfigForm.Changed)
    def _form_changed(self) -> None:
        self._show_command()
        self._plan_soon()

    def _plan_soon(self) -> None:
        if self._pause is not None:
            self._pause.stop()
        try:
            self.form.config()
        except ConfigError as error:
            self._show_plan(self._refusal_words(str(error)), is_refused=True)
        else:
            self._show_plan("… asking the engine (the first time takes some seconds)")
            self._pause = self.set_timer(_PAUSE, self._plan_now)

    def _refusal_words(self, sentence: str) -> str:
        names = list(self.form.refusals)
        if not names:
            return sentence
        return f"this cannot be run yet: see {', '.join(names)} above"

    def _plan_now(self) -> None:
        """Asks, unless the last question is still under way: its answer asks again where the form has changed."""
        question = self._question()
        if question is not None and self._asking is None:
            self._asking = question
            self._ask_plan(question)

    def _question(self) -> dict[str, Any] | None:
        try:
            return self.form.config().model_dump(mode="json", exclude_unset=True)
        except ConfigError:
            return None

    @work(thread=True, group="plan")
    def _ask_plan(self, question: dict[str, Any]) -> None:
        try:
            plan = self.app.engine.ask("plan", config=question, runs_dir=str(self.app.runs_dir))
        except (PsiError, OSError) as error:
            self.post_message(self.Planned(question, None, str(error)))
        else:
            self.post_message(self.Planned(question, plan))

    @on(Planned)
    def _planned(self, message: Planned) -> None:
        self._asking = None
        if message.question != self._question():
            self._plan_soon()
        elif message.plan is None:
            self._show_plan(message.refusal, is_refused=True)
        else:
            self._show_plan(plan_sentence(message.plan))

    def _show_plan(self, sentence: str, *, is_refused: bool = False) -> None:
        """Shows what a run would cost, or why it is refused, and below it what was typed in vain."""
        self._refusal = sentence if is_refused else ""
        line = self.query_one("#plan", Static)
        line.set_class(is_refused, "-refused")
        lines = [f"✗ {sentence}" if is_refused else sentence]
        with contextlib.suppress(ConfigError):
            needless = needless_options(self.form.config(), self.form.typed)
            lines += [f"! {first_of(needless, 2, '; ')}"] if needless else []
        line.update("\n".join(lines))

    @work(thread=True, exclusive=True, group="devices")
    def _read_devices(self) -> None:
        self.post_message(self.DevicesRead(device_choices()))

    @on(DevicesRead)
    def _offer_devices(self, message: DevicesRead) -> None:
        self.form.offer_devices(message.choices)

    # Starting and copying.

    @property
    def command(self) -> str:
        """The command that starts this run."""
        return run_command(self.form.typed, self.app.runs_dir)

    def _show_command(self) -> None:
        self.query_one("#command", Static).update(self.command)

    @on(Button.Pressed)
    def _start_pressed(self) -> None:
        self.action_start()

    def action_start(self) -> None:
        """Starts the run, or goes to the first field that cannot stand."""
        if self._starting is not None and self._starting.is_running:
            self.app.wait_here()
            self.hint("the run is being started; it opens by itself if you wait here")
            return
        try:
            config = self.form.config()
        except ConfigError as error:
            self.hint(str(error))
            for name in list(self.form.refusals)[:1]:
                self.form.edit(name)
            return
        if self._refusal:
            self.hint(self._refusal)
            self._plan_soon()  # What refused it may be gone by the next press.
            return
        self.hint("starting the run; it opens by itself if you wait here")
        self._starting = self.app.start_run(config.model_dump(mode="json", exclude_unset=True))

    def action_copy_command(self) -> None:
        self.app.copy(self.command, "command")

    def copies(self) -> dict[str, str]:
        """The command, and the run as a file that the command reads too."""
        choices = {"command": self.command}
        with contextlib.suppress(ConfigError):  # A run that cannot stand has no file.
            choices["SPEC.toml with every field"] = self.form.config().to_toml()
        return choices

    # Moving.

    @on(ConfigForm.Left)
    def _go_to_start(self) -> None:
        self.set_focus(self.query_one("#start", Button))

    @on(ConfigForm.Refused)
    def _say_why(self, message: ConfigForm.Refused) -> None:
        self.hint(message.sentence)

    def action_move(self, where: str) -> None:
        """Moves over the fields, from wherever the focus is."""
        was_at_start = self.query_one("#start", Button).has_focus
        self.form.leave()
        self.set_focus(self.form)
        if not was_at_start or where != "up":
            super().action_move(where)

    def action_back(self) -> None:
        """Leaves a field or the start button for the form, then goes home."""
        if self.maximized is None and (self.form.is_inside or not self.form.has_focus):
            self.form.leave()
            self.set_focus(self.form)
        else:
            super().action_back()
