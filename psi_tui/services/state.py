"""What the app remembers from one start to the next: one small JSON file in the user's state folder."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from psi_core.files import replacing, state_directory


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file, and its folder where there is none, so that a reader sees all of it or what was there before.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


ScreenName: TypeAlias = Literal["runs", "explore", "new_run", "results", "compare"]


def _openable(path: Path) -> Path:
    """The path, unless the system would refuse its very name: a damaged file must not stop the app later either."""
    if not path.is_absolute() or b"\0" in os.fsencode(path):
        raise ValueError("no path of a run")
    return path


RunPath: TypeAlias = Annotated[Path, AfterValidator(_openable)]


class State(BaseModel):
    """What the app remembers. A field that the file lacks or that is damaged there takes its default.

    Attributes:
        theme: name of a theme; the app may not know it any more.
        screen: the one that was open.
        run: absolute path of the run opened last; it may be gone.
        runs_filter: what was typed after `/` on the home screen.
        explore_model: the model that was open.
        explore_filter: what was typed after `/` in its tree.
        results_tab: name of a tab of the results screen; the first where it has none of that name.
        layer: name of the layer under the cursor; other runs may lack it.
        condition: name of the condition compared with benign; other runs may lack it.
        measure: measure shown in layers, histograms and curves; other runs may lack it.
        bins: number of bins of the histograms on screen.
        peak: the reading of "peak" that the tables show; empty for the first.
        image_filter: words of `image_filter`.
        image_sort: name of a column of the table of images.
        image_descending: whether that column falls.
        compared: absolute paths of the runs compared last.
    """

    model_config = ConfigDict(extra="ignore")

    theme: str = "psi-dark"
    screen: ScreenName = "runs"
    run: RunPath | None = None
    runs_filter: str = ""
    explore_model: str = ""
    explore_filter: str = ""
    results_tab: str = ""
    layer: str = ""
    condition: str = ""
    measure: str = "psi"
    bins: Annotated[int, Field(ge=1, le=1000)] = 40
    peak: str = ""
    image_filter: str = ""
    image_sort: str = "image"
    image_descending: bool = False
    compared: tuple[RunPath, ...] = ()

    @field_validator("*", mode="wrap")
    @classmethod
    def _default_where_damaged(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        try:
            return handler(value)
        except ValidationError:
            return cls.model_fields[str(info.field_name)].get_default()

    def save(self, path: Path | None = None) -> str | None:
        """Writes the file, all of it or none.

        Args:
            path: default `state_path()`.

        Returns:
            None, or one sentence of what went wrong: a home that cannot be written must not stop the app.
        """
        path = path or state_path()
        try:
            write_whole(path, json.dumps(self.model_dump(mode="json"), indent=1).encode())
        except OSError as error:
            reason = error.strerror or str(error)
            return f"{path}: cannot be written ({reason}); screen, theme, filters and sort will not be remembered"
        return None


def state_path() -> Path:
    """Where the app's memory lies."""
    return state_directory() / "app.json"


def load_state(path: Path | None = None) -> State:
    """What was saved at `path` (default `state_path()`); defaults for all that is missing or damaged. Never raises."""
    try:
        values = json.loads((path or state_path()).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):  # ValueError: no JSON, no UTF-8.
        return State()
    return State.model_validate(values) if isinstance(values, dict) else State()
