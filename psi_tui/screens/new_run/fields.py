"""The fields of a run's form: RunConfig's own, in groups, with their texts and refusals. Holds no widget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from psi_core.config import RunConfig
from psi_core.errors import ConfigError
from psi_core.options import Option, choices_of, option_groups, option_of, option_text

GROUPS = option_groups(RunConfig.model_fields)
"""Names of RunConfig's fields by heading."""


@dataclass(frozen=True, slots=True)
class FormField:
    """One field.

    Attributes:
        name: the field's name in RunConfig.
        help: one line.
        option: what else is known of it.
        choices: values to turn through; empty where any text is typed.
    """

    name: str
    help: str
    option: Option
    choices: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """What stands before it."""
        return self.option.label or self.name


def form_field(name: str) -> FormField:
    """The field of that name."""
    info = RunConfig.model_fields[name]
    option = option_of(info)
    choices = ("no", "yes") if info.annotation is bool else choices_of(info) or option.choices
    return FormField(name, info.description or "", option, choices)


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
    return option_text(RunConfig.model_fields[name].default)


def typed_values(values: Mapping[str, str]) -> dict[str, str]:
    """Those of the texts that are no defaults, in the order of RunConfig's fields."""
    model = values["model"].strip()
    texts = {name: values[name].strip() for name in RunConfig.model_fields}
    return {name: text for name, text in texts.items() if text != default_text(name, model)}


def refusal_of(name: str, text: str) -> str | None:
    """RunConfig's sentence about a text that cannot stand in a field whatever the others hold, or None."""
    info = RunConfig.model_fields[name]
    if not text.strip() and info.default is None:
        return None
    try:
        RunConfig(**{name: text.strip()})
    except ConfigError as error:
        return str(error)
    return None


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
    known, default = form_field(name), default_text(name)
    return FieldState(known, default, default, known.option.about)
