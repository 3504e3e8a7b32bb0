"""Runs: what a run directory holds, read; how a run is found by path, id, name, prefix or `latest`."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from psi_core.chunks import (
    Arrays,
    ClassSums,
    add_class_sums,
    chunk_count,
    chunk_path,
    concatenate,
    finished_chunks,
    read_arrays,
)
from psi_core.conditions import Condition
from psi_core.config import RunConfig
from psi_core.errors import RunError, unknown_name
from psi_core.paths import examples_directory, is_example, runs_directory
from psi_core.status import Status, StatusReader, status_of

PathText: TypeAlias = str | os.PathLike[str]

FORMAT = 1
"""Version of the run directory's format that this package writes and reads."""


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One tapped layer, as `layers.json` holds it.

    Attributes:
        name: as tables show it, `conv1`.
        module: path of the module inside the network, `features.1`; `#2` marks its second call in a forward.
        kind: class of the module or name of the function, `ReLU`.
        shape: of its output for one image.
        units: how many responses the measures see.
        channels: feature maps, or features of a flat layer.
        parameters: of all that runs after the layer before, up to this one.
        multiply_adds: likewise, per image.
    """

    name: str
    module: str
    kind: str
    shape: tuple[int, ...]
    units: int
    channels: int
    parameters: int
    multiply_adds: int

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "LayerInfo":
        """From an object of `layers.json`; keys of a newer version are passed over."""
        known = {field.name: values[field.name] for field in fields(cls)}
        return cls(**{**known, "shape": tuple(known["shape"])})


class Run:
    """A run directory, read. Never locks, never writes; arrays are read when first asked for.

    Attributes:
        directory: where it lies.
        id: its identity, which is also the directory's name.
        created: when, ISO 8601 with time zone.
        config: the resolved configuration.
    """

    def __init__(self, directory: Path, *, preview: bool = False) -> None:
        self.directory = directory
        self._with_preview = preview
        path = directory / "config.json"
        values = _read_json(path)
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            raise RunError(f"{directory}: format {found!r} is not {FORMAT}, which this version reads; upgrade psi-tui")
        try:
            self.id, self.created = str(values["id"]), str(values["created"])
            self._created_at = datetime.fromisoformat(self.created).astimezone()
            self.config = RunConfig(**{key: values[key] for key in RunConfig.model_fields if key in values})
            if values["conditions"] != self.conditions:
                raise ValueError(f"its conditions are {values['conditions']}, not {self.conditions}")
        except KeyError as error:
            raise RunError(f"{path}: lacks {error}; the run directory is damaged") from None
        except ValueError as error:
            raise RunError(f"{path}: cannot be read ({error}); it is damaged, or of a newer psi-tui") from None

    @property
    def name(self) -> str:
        """The name given to the run, or its id."""
        return self.config.name or self.id

    @property
    def is_example(self) -> bool:
        """Whether it ships with the package, read-only."""
        return is_example(self.directory)

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions in order, benign first: the first axis of every result."""
        return [condition.name for condition in self.config.conditions]

    @property
    def condition_details(self) -> tuple[Condition, ...]:
        """The same conditions with attack, epsilon and control."""
        return self.config.conditions

    @cached_property
    def layer_infos(self) -> tuple[LayerInfo, ...]:
        """The tapped layers in forward order."""
        path = self.directory / "layers.json"
        try:
            return tuple(LayerInfo.from_json(values) for values in _read_json(path))
        except (KeyError, TypeError) as error:
            raise RunError(f"{path}: cannot be read ({error}); the run directory is damaged") from None

    @property
    def layers(self) -> list[str]:
        """Names of the tapped layers in forward order: the second axis of every measure."""
        return [layer.name for layer in self.layer_infos]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures, `psi` first."""
        return self.config.measures

    @property
    def model(self) -> dict[str, Any]:
        """`model.json`: source, SHA-256, class names, fit card; empty until the weights are ready."""
        path = self.directory / "model.json"
        return dict(_read_json(path)) if path.exists() else {}

    @property
    def images(self) -> int:
        """How many images the whole run has."""
        assert self.config.images is not None, "a run's configuration is resolved"
        return self.config.images

    @property
    def chunks(self) -> int:
        """How many chunks the whole run has."""
        assert isinstance(self.config.chunk, int), "a run's configuration is resolved"
        return chunk_count(self.images, self.config.chunk)

    @property
    def missing_chunks(self) -> list[int]:
        """Numbers of the chunks still to be made."""
        return sorted(set(range(self.chunks)) - set(finished_chunks(self.directory)))

    @property
    def status(self) -> Status:
        """Running, done, failed, stopped, queued or lost, as its files say now."""
        return status_of(self.directory, self.chunks, StatusReader(self.directory).poll())

    @cached_property
    def _parts(self) -> list[Arrays]:
        finished = [(number, chunk_path(self.directory, number)) for number in finished_chunks(self.directory)]
        parts = [read_arrays(path) for number, path in finished if number < self.chunks]
        for path in sorted(self.directory.glob("preview-*.npz")) if self._with_preview else []:
            # Its worker may replace or remove it while we look: then the next look shows more.
            with contextlib.suppress(RunError):
                preview = read_arrays(path)
                if preview["index"].size and not any(np.isin(preview["index"], part["index"]).any() for part in parts):
                    parts.append(preview)
        return parts

    @cached_property
    def _arrays(self) -> Arrays:
        if not self._parts:
            return {}
        arrays = concatenate(self._parts)
        order = np.argsort(arrays["index"], kind="stable")
        return {name: array[..., order] for name, array in arrays.items()}

    def array(self, name: str) -> NDArray[Any]:
        """One array of the chunks, in image order, the image axis last.

        Args:
            name: `index`, `label`, `prediction`, `confidence`, `linf`, `l2` or a measure.

        Raises:
            RunError: there are no results yet, or none of that name.
        """
        if not self._arrays:
            raise RunError(f"{self.name}: no results yet; wait for its first chunk, or resume it")
        if name not in self._arrays:
            raise RunError(unknown_name(f"results of {self.name}", name, self._arrays))
        return self._arrays[name]

    @property
    def psi(self) -> NDArray[np.float32]:
        """Population sparseness, float32 (condition, layer, image), 0..1; NaN where the layer is silent."""
        return self.array("psi")

    @property
    def index(self) -> NDArray[np.int64]:
        """Positions of the images in the data set, (image,), ascending."""
        return self.array("index")

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels that the attack and the accuracy refer to, (image,)."""
        return self.array("label")

    @property
    def predictions(self) -> NDArray[np.int64]:
        """The network's choices, (condition, image)."""
        return self.array("prediction")

    def class_sums(self, layer: str) -> ClassSums:
        """Labels (k,), image counts (k,) and summed channel means (condition, k, channel) of one layer, by class."""
        parts = [part for part in self._parts if "class_labels" in part]
        if not parts:
            raise RunError(f"{self.name}: no class sums yet; wait for its first chunk")
        if layer not in self.layers:
            raise RunError(unknown_name("layer", layer, self.layers))
        return add_class_sums(parts, layer)


def load_run(run: PathText, runs_dir: PathText | None = None, *, preview: bool = False) -> Run:
    """A run by path, id, unique name, unique prefix, or `latest`; the first that fits.

    Args:
        run: what to look for.
        runs_dir: the folder of run directories; default $PSI_RUNS_DIR, else the user's data folder.
        preview: whether to merge the open chunks of running workers.

    Raises:
        RunError: nothing fits, or several do.
    """
    return Run(find_run(run, runs_dir), preview=preview)


def list_runs(runs_dir: PathText | None = None, *, examples: bool = True) -> list[Run]:
    """Every readable run, newest first, the shipped examples last."""
    own = sorted(_readable(runs_directory(runs_dir)), key=lambda run: (run._created_at, run.id), reverse=True)
    shipped = sorted(_readable(examples_directory()), key=lambda run: run.name) if examples else []
    return own + shipped


def find_run(run: PathText, runs_dir: PathText | None = None) -> Path:
    """The directory of the run that `load_run` would load."""
    text = os.fspath(run)
    # No path at all: too long a name, a folder that we may not enter, ~ of an unknown user.
    with contextlib.suppress(OSError, RuntimeError):
        path = Path(text).expanduser()
        if text and (path / "config.json").is_file():
            return path.absolute()
    everything = list_runs(runs_dir)
    own = [known for known in everything if not known.is_example]
    identified = [known for known in own if known.id == text]
    named = [known for known in everything if known.name == text]
    prefixed = [known for known in own if known.id.startswith(text) or known.name.startswith(text)]
    for found in (identified, named, prefixed if text not in ("", "latest") else []):
        if len(found) == 1:
            return found[0].directory
        if found:
            listed = ", ".join(known.id for known in found[:5]) + (", ..." if len(found) > 5 else "")
            raise RunError(f"run: {text!r} fits {len(found)} runs ({listed}); write one id, or a path")
    if text == "latest" and own:
        return own[0].directory
    if text == "latest" or not everything:
        raise RunError(f"run: there is none yet in {runs_directory(runs_dir)}; start one with psi-tui run")
    names = [known.name for known in everything] + [known.id for known in own]
    raise RunError(unknown_name("run", text, list(dict.fromkeys([*names, "latest"]))))


def _readable(folder: Path) -> list[Run]:
    """The runs of a folder. Names with a leading dot are runs half made or half deleted."""
    try:
        paths = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"runs-dir: {folder} cannot be read ({error.strerror}); name another with --runs-dir") from None
    runs = []
    for path in paths:
        with contextlib.suppress(RunError):
            runs.append(Run(path))
    return runs


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file; name the run's own directory") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({error}); the run directory is damaged") from None
