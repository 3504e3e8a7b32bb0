"""What stands in a run's form: a text for every field, and what RunConfig says about it. Holds no widget.

The fields of a run's form: RunConfig's own, in groups, with defaults, choices, help and refusals as texts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args, get_origin

from psi_core.config import MODEL_NAMES, WEIGHTS_NAMES, RunConfig
from psi_core.errors import ConfigError

GROUPS: dict[str, tuple[str, ...]] = {
    "What is measured": ("model", "weights", "data", "split", "images", "size", "resize", "normalize"),
    "Layers": ("layers", "unit", "rectify", "measures"),
    "Attack": ("attack", "epsilon", "controls", "attacked", "labels", "seed"),
    "Attack in detail": ("target", "steps", "step_size", "restarts"),
    "Computing": ("device", "devices", "precision", "batch", "chunk", "threads", "compile"),
    "Run": ("skip_unreadable", "name"),
}
"""Names of RunConfig's fields by heading, as the help of `psi-tui run` groups them too."""

_WHERE_EMPTY = {
    "images": "all",
    "size": "the model's own",
    "resize": "the network's input size",
    "attacked": "none",
    "name": "none",
}
"""What an empty field means."""

_LABELS = {"skip_unreadable": "skip bad"}
"""What stands before a field where its name is too long."""

_SUGGESTIONS = {"model": MODEL_NAMES, "weights": WEIGHTS_NAMES, "normalize": ("auto", "none", "imagenet")}

_CHOICES_ABOUT = {
    "target": {
        "none": "none: away from the label",
        "least-likely": "least-likely: the network's last choice",
        "random": "random: any class but the label",
        "next": "next: the class after the label",
    }
}
"""Words about the choices of a field whose names do not tell enough."""

_COMPANIONS = {"attack": {"attacked": "npz:any"}}
"""What must stand in another field for all that one may hold to be right: no attack, where external images are."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field.

    Attributes:
        name: in RunConfig.
        help: one line.
        choices: all values that it may have; empty where any text is possible.
        where_empty: what it means when it is left empty.
        suggestions: values to complete what is typed with.
        about: words about each choice, where the names do not tell enough.
    """

    name: str
    help: str
    choices: tuple[str, ...] = ()
    where_empty: str = ""
    suggestions: tuple[str, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What stands before it."""
        return _LABELS.get(self.name, self.name)


def form_field(name: str) -> FormField:
    """The field of that name."""
    info = RunConfig.model_fields[name]
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    if info.annotation is bool:
        choices = ("no", "yes")
    return FormField(
        name,
        info.description or "",
        tuple(map(str, choices)),
        _WHERE_EMPTY.get(name, ""),
        _SUGGESTIONS.get(name, ()),
        _CHOICES_ABOUT.get(name, {}),
    )


def default_text(name: str, model: str = "lenet5") -> str:
    """What a field holds unless something is typed.

    Args:
        name: of the field.
        model: of the run: a factory keeps the weights it was made with.
    """
    if name == "weights":
        try:
            return RunConfig(model=model).weights
        except ConfigError:
            pass  # No model; its own field says so.
    return field_text(RunConfig.model_fields[name].default)


def field_text(value: object) -> str:
    """A value of a field as it is typed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def typed_values(values: Mapping[str, str]) -> dict[str, str]:
    """Those of the texts that are no defaults, in the order of RunConfig's fields."""
    model = values["model"].strip()
    texts = {name: values[name].strip() for name in RunConfig.model_fields}
    return {name: text for name, text in texts.items() if text != default_text(name, model)}


def refusal_of(name: str, text: str) -> str | None:
    """RunConfig's sentence about a text that cannot stand in a field whatever the others hold, or None."""
    if not text.strip() and RunConfig.model_fields[name].default is None:
        return None
    try:
        RunConfig(**{name: text.strip(), **_COMPANIONS.get(name, {})})
    except ConfigError as error:
        return str(error)
    return None


_DEVICES = ("auto", "cpu")
"""Offered until those of this machine are known."""


@dataclass(slots=True)
class FieldState:
    """One field.

    Attributes:
        definition: what it asks for.
        default: what it holds unless something is typed.
        text: what it holds.
        about: words about each choice, where there are any.
        refusal: why the text cannot stand, or None.
    """

    definition: FormField
    default: str
    text: str
    about: Mapping[str, str] = field(default_factory=dict)
    refusal: str | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        """All values that it may have, its own always among them; empty where any text is possible."""
        known = tuple(self.about) or self.definition.choices
        return known if not known or self.text in known else (*known, self.text)

    @property
    def is_changed(self) -> bool:
        """Whether it holds another text than its default."""
        return self.text.strip() != self.default

    @property
    def words(self) -> str:
        """Why the text cannot stand, else what is known of the choice, else what may stand here."""
        return self.refusal or self.about.get(self.text, self.definition.help)

    def set(self, text: str) -> None:
        """Puts a text into it, and asks RunConfig whether it can stand."""
        self.text = text
        self.refusal = refusal_of(self.definition.name, text) if self.is_changed else None


class FormState:
    """All fields by name, in the order of the screen."""

    def __init__(self) -> None:
        self.fields = {name: _empty(name) for names in GROUPS.values() for name in names}

    @property
    def typed(self) -> dict[str, str]:
        """The texts that are no defaults."""
        return typed_values({name: state.text for name, state in self.fields.items()})

    @property
    def refusals(self) -> dict[str, str]:
        """Why fields cannot stand, by name."""
        return {name: state.refusal for name, state in self.fields.items() if state.refusal is not None}

    def config(self) -> RunConfig:
        """The run that is described.

        Raises:
            ConfigError: it cannot stand.
        """
        for refusal in self.refusals.values():
            raise ConfigError(refusal)
        return RunConfig(**self.typed)

    def set(self, name: str, text: str) -> None:
        """Puts a text into a field. A factory's weights are its own unless others were typed."""
        self.fields[name].set(text)
        if name == "model":
            weights = self.fields["weights"]
            was_changed, weights.default = weights.is_changed, default_text("weights", text.strip())
            weights.set(weights.text if was_changed else weights.default)

    def turn(self, name: str, step: int) -> None:
        """Puts the next choice into a field, after the last the first."""
        choices = self.fields[name].choices
        self.set(name, choices[(choices.index(self.fields[name].text) + step) % len(choices)])

    def offer_devices(self, choices: Sequence[tuple[str, str]]) -> None:
        """Offers the devices of this machine.

        Args:
            choices: words and value of each.
        """
        self.fields["device"].about = {value: words for words, value in choices}


def _empty(name: str) -> FieldState:
    known = form_field(name)
    default = default_text(name)
    return FieldState(replace(known, choices=_DEVICES) if name == "device" else known, default, default, known.about)
