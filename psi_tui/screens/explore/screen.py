"""Screen 2: models and their layers; what they are, and which of them a run shall tap."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.widgets import Input

from psi_core.errors import PsiError
from psi_tui.screens.base import Pane, PsiScreen
from psi_tui.screens.explore.facts import FactsPanel, copies_of, facts_of
from psi_tui.screens.explore.outline import CATALOG, Line, Outline, model_and_size
from psi_tui.screens.explore.tree import ModelTree
from psi_tui.screens.new_run.fields import default_text, refusal_of
from psi_tui.text.formatting import Row, format_count
from psi_tui.widgets.prompt_line import PromptLine

_PROMPTS = (
    ("/", "words of a name or kind; enter keeps, esc clears", "explore-filter"),
    ("own model", "file.py:factory or package.module:factory, and its size", "explore-own"),
)

WAITING = "asking the engine (the first time takes some seconds)"


class ExploreScreen(PsiScreen):
    """A tree of models and layers beside what is known of the one under the cursor."""

    NAME = "explore"

    CSS = """
    ExploreScreen {
        #explore-body { height: 1fr; layout: vertical; }
        #explore-tree-pane { height: 1fr; padding: 0 1; }
        #explore-detail-pane { height: 8; border-top: solid $separator; }
        #explore-detail-pane:focus-within { border-top: solid $primary; }
    }
    ExploreScreen.-medium, ExploreScreen.-wide {
        #explore-body { layout: horizontal; }
        #explore-tree-pane { width: 1fr; padding: 1 1 0 1; }
        #explore-detail-pane { width: 42; height: 1fr; padding-top: 1; }
        #explore-detail-pane { border-top: none; border-left: solid $separator; }
        #explore-detail-pane:focus-within { border-top: none; border-left: solid $primary; }
        .title, .pairs { margin-bottom: 1; }
    }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open"),
        Binding("space", "mark", "mark"),
        Binding("a", "mark_all", "mark all"),
        Binding("n", "new", "new run"),
        Binding("o", "own", "open a model of your own", show=False, priority=True),
        Binding("slash", "filter", "filter", key_display="/", priority=True),
        Binding("escape", "back", "back", show=False, priority=True),
        Binding("question_mark", "app.help", "help", key_display="?"),
        Binding("q", "app.quit", "quit"),
    ]

    @dataclass
    class Answered(Message):
        """The engine told about a model's layers, or about the models there are, or refused."""

        model: str
        rows: Sequence[Row] | None
        refusal: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.outline = Outline()
        self._asked: set[str] = set()
        self._sizes: dict[str, str] = {}

    def compose_body(self) -> ComposeResult:
        with Horizontal(id="explore-body"):
            with Pane(id="explore-tree-pane"):
                for label, placeholder, name in _PROMPTS:
                    yield PromptLine(label, placeholder, leave_to="#explore-tree", id=name)
                yield ModelTree(self.outline, id="explore-tree")
            with Pane(id="explore-detail-pane"):
                yield FactsPanel(id="explore-facts")

    def on_mount(self) -> None:
        self._ask(CATALOG)
        self.set_focus(self.model_tree)
        if self.app.state.explore_filter:
            self._filter.show(self.app.state.explore_filter)

    @property
    def model_tree(self) -> ModelTree:
        return self.query_one("#explore-tree", ModelTree)

    @property
    def _filter(self) -> PromptLine:
        return self.query_one("#explore-filter", PromptLine)

    @property
    def _own(self) -> PromptLine:
        return self.query_one("#explore-own", PromptLine)

    # Asking the engine.

    def _ask(self, model: str) -> None:
        """Asks once, and says so in the place of the answer."""
        if model in self._asked:
            return
        self._asked.add(model)
        self.outline.notes[model] = f"… {WAITING}"
        self.model_tree.rebuild()
        size = {"size": self._sizes[model]} if model in self._sizes else {}
        if model:
            self._ask_engine(model, "layers", model=model, layers=["all"], **size)
        else:
            self._ask_engine(model, "models")

    @work(thread=True, group="explore")
    def _ask_engine(self, about: str, ask: str, **question: Any) -> None:
        try:
            rows = self.app.engine.ask(ask, **question)
        except (PsiError, OSError) as error:
            self.post_message(self.Answered(about, None, str(error)))
        else:
            self.post_message(self.Answered(about, rows))

    @on(Answered)
    def _show_answer(self, message: Answered) -> None:
        self.outline.notes.pop(message.model, None)
        if message.rows is None:
            self._asked.discard(message.model)
            self.outline.notes[message.model] = f"✗ {message.refusal}; enter asks again"
        elif message.model:
            self.outline.show_layers(message.model, message.rows)
        else:
            self.outline.show_models(message.rows)
        self.model_tree.rebuild()
        if not message.model and message.rows is not None:
            self._return_to_last_model()
        self._count()

    def _return_to_last_model(self) -> None:
        text = self.app.state.explore_model
        if text and refusal_of("model", model_and_size(text)[0]) is None:
            self._show_model(text)

    # What the tree tells.

    @on(ModelTree.Highlighted)
    def _describe(self, message: ModelTree.Highlighted[Line]) -> None:
        self.query_one(FactsPanel).show(facts_of(self.outline, message.key))

    @on(ModelTree.Opened)
    def _load(self, message: ModelTree.Opened) -> None:
        if message.line.kind == "model":
            model = message.line.model
            self.app.remember(explore_model=f"{model} {self._sizes.get(model, '')}".strip())
            self._ask(model)

    @on(ModelTree.Refused)
    def _say_why(self, message: ModelTree.Refused) -> None:
        self.hint(message.sentence)

    # The two lines for typing.

    @on(PromptLine.Changed, "#explore-filter")
    def _filter_typed(self, message: PromptLine.Changed) -> None:
        self.app.remember(explore_filter=message.text)
        self.model_tree.filter(message.text)
        self._count()

    def _count(self) -> None:
        """Says how many lines fit the filter."""
        kinds = [line.kind for line in self.model_tree.lines]
        models, layers = (format_count(kinds.count(kind)) for kind in ("model", "layer"))
        self._filter.note(f"models {models}, layers {layers}")

    @on(PromptLine.Submitted, "#explore-filter")
    def _filter_kept(self, message: PromptLine.Submitted) -> None:
        self.model_tree.keep_filter(message.text)
        if not message.text.strip():
            self._filter.close()

    @on(PromptLine.Submitted, "#explore-own")
    def _own_typed(self, message: PromptLine.Submitted) -> None:
        model, _ = model_and_size(message.text)
        refusal = refusal_of("model", model) if model else "own model: nothing is typed; write file.py:factory"
        if refusal is not None:
            self.hint(refusal)
            self._own.open()
            return
        self._own.close()
        self._filter.close()
        self._asked.discard(model)  # With another size it is another question.
        self._show_model(message.text)

    def _show_model(self, text: str) -> None:
        """Opens a model, one of the user's too, and puts the cursor there."""
        self.app.remember(explore_model=text)
        model, size = model_and_size(text)
        if size:
            self._sizes[model] = size
        self.outline.add_own(model)
        self.outline.open_model(model)
        self.model_tree.rebuild()
        self.model_tree.go_to_model(model)
        self._ask(model)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Leaves / and o to a text that is being typed; everywhere else they go before other keys of one packet."""
        is_typing = isinstance(self.focused, Input) and action in ("filter", "own")
        return False if is_typing else super().check_action(action, parameters)

    def action_filter(self) -> None:
        self._filter.open()

    def action_own(self) -> None:
        self._own.open()

    def action_back(self) -> None:
        """Leaves the own model's line, then clears the filter, then goes home."""
        line = self._own if self._own.is_open else self._filter
        if line.is_open and self.maximized is None:
            line.close()
        else:
            super().action_back()

    # Acting on the line under the cursor.

    def action_open(self) -> None:
        """Opens or closes a group or a model; asks again where the engine refused."""
        line = self.model_tree.current
        if line is None:
            self.hint("no line fits the filter; esc clears it")
        elif line.kind == "invitation":
            self.action_own()
        elif line.kind == "note":
            self._ask_again(line)
        elif line.kind == "layer":
            self.action_mark()
        else:
            self.model_tree.open_current(not line.is_open)

    def _ask_again(self, line: Line) -> None:
        if line.model in self._asked:
            self.hint("the engine is being asked; the answer comes by itself")
        else:
            self._ask(line.model)

    def action_mark(self) -> None:
        line = self.model_tree.current
        if line is None or line.kind != "layer":
            self.hint("space marks a layer; enter opens a model, a marks all of its layers")
            return
        is_marked = line.title in self.outline.marks.get(line.model, ())
        self._mark(line.model, [line.title], not is_marked)

    def action_mark_all(self) -> None:
        """Marks all layers of the model that the filter leaves, or unmarks them where all are marked."""
        if line := self._need_model("a marks the layers of a model; go to one"):
            shown = [
                other.title for other in self.model_tree.lines if other.kind == "layer" and other.model == line.model
            ]
            names = shown or [row["name"] for row in self.outline.layers(line.model)]
            if not names:
                self.hint("its layers are not there yet; enter looks them up")
                return
            marks = self.outline.marks.get(line.model, set())
            self._mark(line.model, names, not marks.issuperset(names))

    def _mark(self, model: str, names: list[str], is_marked: bool) -> None:
        self.outline.mark(model, names, is_marked)
        self.model_tree.rebuild()

    def action_new(self) -> None:
        if line := self._need_model("n starts a run of the model under the cursor; go to one"):
            layers = ",".join(self.outline.marked(line.model)) or default_text("layers")
            self.app.new_run(model=line.model, layers=layers, size=self._sizes.get(line.model, ""))

    def copies(self) -> dict[str, str]:
        return {**copies_of(self.outline, self.model_tree.current), "these facts": self.query_one(FactsPanel).text()}

    def _need_model(self, otherwise: str) -> Line | None:
        line = self.model_tree.current
        if line is None or not line.model:
            self.hint(otherwise)
            return None
        return line
