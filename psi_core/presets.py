"""Named set-ups of a run: values of RunConfig under one name. What a SPEC.toml or the command line says beats them.

Here too: the study whose set-up some of them repeat, as every page cites it, and what a set-up asks for in vain.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psi_core.conditions import CONTROL_NAMES, attack_row
from psi_core.config import RunConfig
from psi_core.errors import ConfigError, unknown_name
from psi_core.measures import DEFAULT_MEASURES

STUDY = "Lee & Kim 2023"
"""The reproduced study, in a few words. Youngseok Lee and Jongweon Kim, Applied Sciences 13(17), 9722."""

STUDY_TITLE = "PSI Analysis of Adversarial-Attacked DCNN Models"
STUDY_DOI = "10.3390/app13179722"


@dataclass(frozen=True, slots=True)
class Preset:
    """One named set-up.

    Attributes:
        description: one sentence.
        values: values of RunConfig; fields that are not named keep their defaults.
    """

    description: str
    values: Mapping[str, Any]


def _study(model: str, description: str, **values: str) -> Preset:
    """Data and attack of Lee & Kim 2023: MNIST's validation images, FGSM at 0.03, the ReLU outputs."""
    shared = {"data": "mnist", "split": "test", "attack": ("fgsm",), "epsilon": (0.03,), "layers": ("relu",)}
    return Preset(description, MappingProxyType({"model": model, **values, **shared}))


_EVIDENCE = Preset(
    "FGSM and PGD at five epsilons beside every control, kurtosis too; of the model and data named beside it",
    MappingProxyType(
        {
            "attack": ("fgsm", "pgd"),
            "epsilon": (0, 0.01, 0.03, 0.1, 0.3),
            "controls": CONTROL_NAMES,
            "measures": (*DEFAULT_MEASURES, "kurtosis"),
        }
    ),
)

_FITTED = "with a 10-way head fitted to MNIST's training digits, against the true labels"
_IMAGENET = "with ImageNet weights and their 1,000-way head on digits, against its own predictions"

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "study-fitted": _study("alexnet", f"AlexNet {_FITTED}", weights="fitted", labels="true"),
        "study-imagenet": _study("alexnet", f"AlexNet {_IMAGENET}", weights="imagenet", labels="predicted"),
        "study-fitted-vgg11": _study("vgg11", f"VGG11 {_FITTED}", weights="fitted", labels="true"),
        "study-imagenet-vgg11": _study("vgg11", f"VGG11 {_IMAGENET}", weights="imagenet", labels="predicted"),
        "evidence": _EVIDENCE,
    }
)
"""Set-ups by name. `study-imagenet` is the likeliest one of Lee & Kim 2023, who do not describe their head;
`evidence` is what tells a shift that is real from one that noise makes too."""


def config_of(preset: str | None, spec: str | os.PathLike[str] | None = None, **typed: Any) -> RunConfig:
    """The run that a preset, a SPEC.toml and typed values describe together; the later beats the earlier.

    Args:
        preset: one of PRESETS, or None.
        spec: path of a TOML file, or None.
        typed: values of RunConfig.

    Raises:
        ConfigError: there is no such preset, the file cannot be read, or a value cannot stand.
    """
    if preset is not None and preset not in PRESETS:
        raise ConfigError(unknown_name("preset", preset, PRESETS))
    own = RunConfig(**typed) if spec is None else RunConfig.from_toml(spec, **typed)
    if preset is None:
        return own
    return RunConfig(**{**PRESETS[preset].values, **own.model_dump(exclude_unset=True)})


def needless_options(config: RunConfig, asked: Collection[str]) -> list[str]:
    """What was asked for and changes nothing, a sentence each: an epsilon where nothing is done to the images.

    Args:
        config: the run.
        asked: fields that the user named.
    """
    attacks = [attack_row(name) for name in config.attack]
    is_foreign = any(attack.kind == "foolbox" for attack in attacks)
    restarted = config.model_copy(update={"restarts": config.restarts + 1})
    is_restarted = any(attack.gradients(config) != attack.gradients(restarted) for attack in attacks)
    is_iterated = is_foreign or any(attack.is_iterated for attack in attacks)
    nothing = "there is no attack and no control"
    needless = {
        "epsilon": "" if attacks or config.controls else nothing,
        "target": "" if attacks else "there is no attack",
        "steps": "" if is_iterated else "no attack here takes small steps",
        "step_size": "" if is_iterated else "no attack here takes small steps",
        "restarts": "" if is_restarted or is_foreign else "no attack here starts at random more than once",
    }
    return [f"{name}: has no effect, because {reason}" for name, reason in needless.items() if reason and name in asked]
