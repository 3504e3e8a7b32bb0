"""What the README shows is what the package takes."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from psi_core import RunConfig
from psi_core.conditions import ATTACKS
from psi_core.engine import analyze
from psi_core.engine.liu import liu_values
from psi_core.evidence import checks_of
from psi_core.presets import STUDY, STUDY_DOI, STUDY_TITLE
from psi_core.runs.finding import load_run
from psi_core.tables.liu import liu_request, liu_result
from psi_core.tables.registry import table_rows
from psi_core.tables.study import claims_note
from psi_tui.cli import _MODULES
from tests.engine.picture_files import digit_folder

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_shown_spec_is_a_run(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "spec.toml").write_text(block)
    config = RunConfig.from_toml(tmp_path / "spec.toml")
    assert (config.model, config.epsilon, config.devices) == ("vgg11", (0.01, 0.03, 0.1), 2)


def test_every_shown_command_exists() -> None:
    shown = set(re.findall(r"(?:`|```sh\n|&& )psi-tui ([a-z]+)", README))
    assert {"run", "fit", "runs", "show", "export", "stop", "models", "bench"} <= shown <= set(_MODULES)


def test_every_attack_and_control_is_listed_as_its_row_describes_it() -> None:
    section = README.partition("## Attacks, controls, evidence\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `([^`:]+)` \| (.*) \|$", section, re.MULTILINE)
    assert listed == [(row.name, row.help) for row in ATTACKS]


def test_the_evidence_shown_has_every_check_that_such_a_run_has(tmp_path: Path) -> None:
    section = README.partition("## Attacks, controls, evidence\n")[2]
    (options,) = re.findall(r"```sh\npsi-tui run --images 2000 --epsilon (\S+) --controls (\S+)\n", section)
    table = section.partition("```\ncheck ")[2].partition("```")[0]
    shown = re.findall(r"^(\S.*?)  +(?:green|amber|red|not checked) ", table, re.MULTILINE)
    epsilon, controls = (tuple(option.split(",")) for option in options)
    run = analyze(RunConfig(images=20, epsilon=tuple(map(float, epsilon)), controls=controls), tmp_path)
    assert shown == [check.name for check in checks_of(run)]


def test_the_examples_of_an_own_model_and_own_images_run(tmp_path: Path, own_folders: Path) -> None:
    section = README.partition("## Your own model and images\n")[2].partition("\n## ")[0]
    (model,), (commands,) = (re.findall(rf"```{kind}\n(.*?)```", section, re.DOTALL) for kind in ("python", "sh"))
    (tmp_path / "mine.py").write_text(model)
    network = runpy.run_path(str(tmp_path / "mine.py"))["small"]()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "small.pt")
    digit_folder(tmp_path / "digits", 80)
    here = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=tmp_path, env=here, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    last = load_run("latest")
    assert (last.config.model, last.images, len(last.layers)) == ("torchvision:resnet18", 20, 17)
    runs = [load_run(str(path)) for path in sorted(own_folders.iterdir())]
    made, given = (run for run in runs if run.config.model != last.config.model)
    assert given.conditions == ["benign", "attacked"]
    assert np.array_equal(given.psi[1], made.psi[1], equal_nan=True)


def test_the_figure_of_the_notebook_shows_the_tables_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "matplotlib" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    assert (tmp_path / "beyond-noise.svg").stat().st_size > 1000
    rows = [row for row in table_rows(load_run("example-vgg11"), "layers") if row["condition"] == "fgsm@0.1"]
    sd = {row["layer"]: row["psi_sd"] for row in table_rows(load_run("example-vgg11"), "layers") if not row["epsilon"]}
    expected = [row["delta_control_mean"] / sd[row["layer"]] for row in rows]
    assert [bar.get_height() for bar in names["bars"]] == pytest.approx(expected, abs=1e-4)


def test_the_studys_tables_stand_beside_what_the_examples_measure() -> None:
    section = README.partition("## What we found\n")[2].partition("\n## ")[0]
    assert all(part in " ".join(section.split()) for part in (STUDY, STUDY_TITLE, STUDY_DOI))
    shown = re.findall(r"^\| (?:AlexNet|VGG11) .* \|$", section, re.MULTILINE)
    assert shown == [line for title, run in EXAMPLES.items() for line in study_lines(title, run)]


@pytest.mark.long
def test_what_lius_preset_finds_in_lenet_is_what_it_finds(tmp_path: Path) -> None:
    """All 10,000 digits through five conditions, twice: about a minute on two cores."""
    section = " ".join(README.partition("## What we found\n")[2].partition("\n## ")[0].split())
    (told,) = re.findall(r"fc2 of the bundled LeNet-5 .*? by (\S+ sd \(\S+\)) and fc1 by (\S+) \((\S+)\)", section)
    run = analyze(RunConfig(epsilon=(0.03, 0.1), controls=("sign-noise", "gaussian")), tmp_path)
    request = liu_request(run, conditions=["fgsm@0.1", "sign-noise@0.1", "gaussian@0.1"])
    rows = liu_result(run, request, liu_values(run, request)).rows
    verdicts = {row["layer"]: str(row["verdict"]) for row in rows if row["condition"] == "fgsm@0.1"}
    assert verdicts["fc2"].replace("95 % CI ", "") == f"beyond noise: denser by {told[0]}, large"
    assert verdicts["fc1"].replace("95 % CI ", "") == f"beyond noise: denser by {told[1]} sd ({told[2]}), medium"


EXAMPLES = {"AlexNet": "example-alexnet", "VGG11": "example-vgg11"}


def study_lines(title: str, run: str) -> list[str]:
    """The study beside a run, a line a layer; bold where a reading moves the published way."""
    rows = table_rows(load_run(run), "study")
    lines = []
    for benign, attacked in zip(rows[::2], rows[1::2], strict=True):

        def cell(name: str, agrees: str = "", pair: tuple[Any, Any] = (benign, attacked)) -> str:
            text = " → ".join(f"{side[name]:.1f}" for side in pair)
            return f"**{text}**" if agrees and pair[1][agrees] else text

        cells = [
            f"{title} {benign['layer']}",
            cell("published"),
            *(cell(name, f"agrees_{name.partition('_')[0]}") for name in ("height_percent", "accuracy_percent")),
            cell("location", "agrees_location"),
            cell("location_right"),
            claims_note([benign, attacked], {True: "holds", False: "does not hold"}).partition(" ")[2],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines
