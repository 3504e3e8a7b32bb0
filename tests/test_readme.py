"""What the README shows is what the package takes."""

import re
from pathlib import Path

from psi_core import RunConfig
from psi_tui.cli import _MODULES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_shown_spec_is_a_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "spec.toml").write_text(block)
    config = RunConfig.from_toml(tmp_path / "spec.toml")
    assert (config.model, config.epsilon, config.devices) == ("vgg11", (0.01, 0.03, 0.1), 2)


def test_every_shown_command_exists() -> None:
    shown = set(re.findall(r"(?:`|```sh\n|&& )psi-tui ([a-z]+)", README))
    assert {"run", "fit", "runs", "show", "export", "stop", "models", "bench"} <= shown <= set(_MODULES)
