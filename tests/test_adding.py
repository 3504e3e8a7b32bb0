"""What is added by one row is there everywhere: the README's examples, as they stand there."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from psi_core.evidence import CHECKS
from psi_core.runs.run import Run
from psi_tui.app.help import HelpScreen
from psi_tui.screens.results import screen
from psi_tui.screens.results.tab import Tab
from tests.recorded import record_run
from tests.tui.apps import press, running, text_of, until
from tests.tui.warm_engine import warm_client, warm_engine

__all__ = ["warm_client", "warm_engine"]

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_with(words: str) -> str:
    """The README's example that holds these words."""
    section = README.partition("## Adding to it\n")[2].partition("\n## ")[0]
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if words in block]
    return str(code)


def example(word: str) -> dict[str, Any]:
    """What the README's example that holds a word defines."""
    code = code_with(word)
    namespace: dict[str, Any] = {"__name__": "example"}
    exec(code, namespace)
    return namespace


@pytest.mark.usefixtures("warm_engine")
async def test_a_tab_is_a_class_and_a_row(own_folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = record_run(own_folders, epsilon="0.03,0.1")
    before = screen.TABS
    with monkeypatch.context() as added:
        added.setattr(screen, "TABS", (*before, Tab("fooled", "Fooled", example("FooledTab")["FooledTab"])))
        async with running(own_folders, (140, 40), open_directory=directory) as (app, pilot):
            tabs = app.screen.query_one("#tabs")
            await press(pilot, "less_than_sign")
            assert tabs.active == "fooled"
            await until(pilot, lambda: "% fooled" in text_of(app), "its words")
            words = text_of(app)
            await press(pilot, "c")
            await until(pilot, lambda: text_of(app) != words, "the next condition's words")
            await press(pilot, "b")
            assert "shown in" in app.heard[-1]
            assert "Fooled" not in app.heard[-1]
            await press(pilot, "greater_than_sign")
            assert tabs.active == before[0].name
            await press(pilot, "less_than_sign")
        async with running(own_folders, (140, 40)) as (app, pilot):
            await until(pilot, lambda: "% fooled" in text_of(app), "the tab that was open")
    async with running(own_folders, (140, 40)) as (app, pilot):
        await until(pilot, lambda: "AUROC" in text_of(app), "the first tab in the place of one that is gone")


@pytest.mark.usefixtures("warm_engine")
async def test_a_tabs_own_keys_stand_in_the_help_and_go_before_the_screens(own_folders: Path) -> None:
    async with running(own_folders, (140, 60), open_directory=record_run(own_folders)) as (app, pilot):
        subset = "which images count: all, correct, fooled, kept"
        for name, own, other in (("images", "quick filter", subset), ("layers", subset, "quick filter")):
            app.screen.query_one("#tabs").active = name
            await press(pilot, "question_mark")
            assert isinstance(app.screen, HelpScreen)
            words = [words for _, keys in app.screen.keys for _, words in keys]
            assert own in words
            assert other not in words
            await press(pilot, "escape")


def copy_packages(folder: Path) -> None:
    """A copy of both packages that a test may add to."""
    for package in ("psi_core", "psi_tui"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("data", "__pycache__"))
    (folder / "psi_core" / "data").symlink_to(ROOT / "psi_core" / "data")


BRIGHTEN = '''
def brighten(batch: Batch, epsilon: float) -> Tensor:
    """Every pixel brighter by epsilon."""
    return (batch.images + epsilon).clamp(0, 1)
'''

COMMANDS = """
import sys
from psi_tui.cli import main
for command in sys.argv[1:]:
    print("$", command)
    assert main(command.split()) in (None, 0), command
"""


def test_an_attack_a_control_a_measure_and_a_check_are_a_function_and_a_row(tmp_path: Path) -> None:
    copy_packages(tmp_path)

    def extend(page: str, function: str = "", rows: tuple[str, ...] = (), behind: str = "") -> None:
        path = tmp_path / "psi_core" / page
        text = path.read_text(encoding="utf-8")
        assert behind in text
        path.write_text(
            text.replace(behind, behind + "".join(f"{row},\n" for row in rows), 1) + "\n\n" + function, encoding="utf-8"
        )

    extend("engine/attacks/attacks.py", code_with("def darken"))
    extend("engine/attacks/controls.py", BRIGHTEN)
    extend("engine/measure/sparseness.py", code_with("def contrast"))
    control = 'Attack("brighten", "every pixel brighter by epsilon", "noise", needs_network=False)'
    extend("conditions.py", rows=(code_with('Attack("darken"'), control), behind="ATTACKS: tuple[Attack, ...] = (\n")
    extend("measures.py", rows=(code_with('Measure("contrast"'),), behind="_ROWS = (\n")
    extend("evidence/comparison.py", code_with("def silent_layers"))
    extend("evidence/__init__.py", rows=("    silent_layers",), behind="    duplicates,\n    gradient_signs,\n")
    door = tmp_path / "psi_core" / "evidence" / "__init__.py"
    imported = "from psi_core.evidence.comparison import silent_layers\n"
    text = door.read_text(encoding="utf-8").replace(
        "from psi_core.evidence.strength", f"{imported}from psi_core.evidence.strength"
    )
    door.write_text(text, encoding="utf-8")

    runs, out = f"--runs-dir {tmp_path / 'runs'}", tmp_path / "out"
    asked = "--images 20 --attack fgsm,darken --epsilon 0,0.1 --controls brighten,sign-noise --measures psi,contrast"
    commands = [
        "run --help",
        f"run {runs} --name added --device cpu --threads 1 {asked}",
        f"show added {runs} --measure contrast",
        f"show added {runs} --table evidence",
        f"export added {runs} --to {out} --measure contrast",
        f"show added {runs}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *commands],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [text.partition("\n")[2] for text in done.stdout.split("$ ")[1:]]
    assert all(name in said[0] for name in ("darken, fgsm", "brighten", "contrast"))
    assert all(name in said[2] for name in ("darken@0.1", "brighten@0.1", "contrast"))
    assert "the benign ones bit for bit under fgsm@0 and darken@0" in said[3]
    assert "brighten and sign-noise at every epsilon, to subtract from the attack" in said[3]
    assert "0 layers are silent for some benign image" in said[3]
    assert "silent layers" in (out / "evidence.csv").read_text(encoding="utf-8")
    counts = [
        int(count) for count in re.findall(r"(\d+) (?:green|amber|red|not checked)", said[5].partition("evidence: ")[2])
    ]
    assert sum(counts) == len(CHECKS) - 3 + 1, "three of them are of other runs alone, and one is new"
    with (out / "layers-contrast.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["condition"] for row in rows} >= {"darken@0.1", "brighten@0.1"}
    assert {row["control"] for row in rows if row["condition"] == "darken@0.1"} == {"brighten@0.1"}
    assert all(float(row["contrast_mean"]) > 1 for row in rows if row["condition"] == "benign")


def test_a_table_is_a_function_and_a_row(tmp_path: Path, own_folders: Path) -> None:
    copy_packages(tmp_path)
    page, registry = (tmp_path / "psi_core" / "tables" / name for name in ("images.py", "registry.py"))
    code, row = code_with("def confidence_rows"), code_with('Table("confidence"')
    page.write_text(f"{page.read_text(encoding='utf-8')}\n\n{code}", encoding="utf-8")
    before, first, after = registry.read_text(encoding="utf-8").partition("TABLES: tuple[Table, ...] = (\n")
    imported = "from psi_core.tables.images import CONFIDENCE_COLUMNS, confidence_rows\n\n"
    kept, last, behind = after.partition("\n)\n")
    registry.write_text(f"{before}{imported}{first}{kept}\n{row.rstrip()},{last}{behind}", encoding="utf-8")

    run, out = record_run(own_folders), tmp_path / "out"
    commands = [
        "show --help",
        "export --help",
        f"show {run} --table confidence",
        f"show {run} --table confidence --json",
        f"show {run} --table confidence --format md",
        f"export {run} --to {out}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, *commands],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = [text.partition("\n")[2] for text in done.stdout.split("$ ")[1:]]
    assert all("lifetime, evidence, confidence (default" in " ".join(text.split()) for text in said[:2])
    assert said[2].splitlines()[1].split() == ["condition", "confidence"]
    rows = json.loads(said[3])
    assert [row["condition"] for row in rows] == Run(run).conditions
    assert rows[1]["confidence_mean"] == float(Run(run).array("confidence")[1].mean())
    assert said[4].startswith("| condition | confidence |\n| --- | ---: |\n| benign | 0.")
    with (out / "confidence.csv").open(encoding="utf-8", newline="") as file:
        assert [{**row, "confidence_mean": float(row["confidence_mean"])} for row in csv.DictReader(file)] == rows
    asked = "import json, sys, psi_core, psi_core.tables.registry as tables; "
    asked += "print(json.dumps(tables.cached_rows(psi_core.load_run(sys.argv[1]), 'confidence')))"
    answer = subprocess.run(
        [sys.executable, "-c", asked, run],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(answer.stdout) == rows


WITH_AN_OPTION = """
import asyncio, sys
from pathlib import Path
from textual.app import App
from psi_core.config import ResolvedConfig, RunConfig
from psi_core.runs.creation import create_run
from psi_core.runs.run import Run
from psi_tui.cli import main
from psi_tui.screens.new_run.form import ConfigForm
from psi_tui.screens.new_run.screen import run_command

here, older = map(Path, sys.argv[1:])
(here / "spec.toml").write_text("border = 3")
config = RunConfig.from_toml(here / "spec.toml")
resolved = ResolvedConfig(**config.model_dump(exclude_unset=True), **dict.fromkeys(
    ("images", "size", "batch", "chunk", "threads"), 28), device="cpu")
print(create_run(here, resolved, ()) / "config.json")
print(Run(older).config.border, resolved.asked().border)
try:
    RunConfig(border="wide")
except ValueError as error:
    print(error)

class Shown(App):
    def compose(self):
        yield ConfigForm()

async def fill():
    app = Shown()
    async with app.run_test(size=(80, 60)) as pilot:
        await pilot.pause()
        form = app.query_one(ConfigForm)
        drawn = lambda: form.canvas.render_line(form.canvas.place_of("border").start).text
        print(drawn())
        form.fill({"border": "4"})
        print(drawn())
        print(run_command(form.typed, here))

asyncio.run(fill())
sys.exit(main(["run", "--help"]))
"""


def test_a_run_option_is_one_field(tmp_path: Path, own_folders: Path) -> None:
    copy_packages(tmp_path)
    config = tmp_path / "psi_core" / "config.py"
    before, first, after = config.read_text(encoding="utf-8").partition("    normalize: ")
    config.write_text(before + code_with("border") + first + after, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WITH_AN_OPTION, tmp_path, record_run(own_folders)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    path, values, refused, empty, filled, command, *help_lines = done.stdout.splitlines()
    keys = list(json.loads(Path(path).read_text(encoding="utf-8")))
    assert json.loads(Path(path).read_text(encoding="utf-8"))["border"] == 3
    assert keys[keys.index("border") + 1] == "normalize"
    assert values == "None 3", "a run of an older version has the default"
    assert refused == "border: 'wide' does not fit; write a whole number"
    assert empty.split()[:3] == ["border", "none", "pixels"]
    assert filled.split()[:3] == ["•border", "4", "pixels"]
    assert command.split()[:4] == ["psi-tui", "run", "--border", "4"]
    group = "\n".join(help_lines).partition("What is measured")[2].partition("Layers")[0]
    assert re.search(r"--border +pixels cut off all around", group)
