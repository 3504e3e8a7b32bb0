"""The walls: who may import whom, what a start may load, how long a file may be."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {
    str(path.relative_to(ROOT)): path for package in ("psi_core", "psi_tui") for path in ROOT.glob(f"{package}/**/*.py")
}
ENGINE, CHILDREN = "psi_core/engine/", "psi_core/__main__.py"


def files_outside(*prefixes: str) -> pytest.MarkDecorator:
    """One test for each file of both packages that lies elsewhere."""
    return pytest.mark.parametrize("file", sorted(file for file in FILES if not file.startswith(prefixes)))


def imports(file: str, tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a tree imports: in functions, under TYPE_CHECKING and by `import_module` too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                package = ".".join(Path(file).parent.parts[: len(Path(file).parent.parts) + 1 - level]) if level else ""
                start = ".".join(part for part in (package, module) if part)
                yield from (f"{start}.{name.name}" for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from (part.value for part in node.args[:1] if isinstance(part, ast.Constant))


def imported(file: str, tree: ast.AST, *packages: str) -> list[str]:
    """What a tree imports of `packages`."""
    return [name for name in imports(file, tree) if any(f"{name}.".startswith(f"{package}.") for package in packages)]


def tree_of(file: str) -> ast.Module:
    return ast.parse(FILES[file].read_text(encoding="utf-8"))


@files_outside(ENGINE)
def test_only_the_engine_imports_torch(file):
    assert imported(file, tree_of(file), "torch", "torchvision") == []


@files_outside("psi_tui/")
def test_only_psi_tui_imports_what_draws(file):
    assert imported(file, tree_of(file), "textual", "plotext", "rich_click", "rich", "click") == []


@files_outside("psi_tui/")
def test_psi_core_never_imports_psi_tui(file):
    assert imported(file, tree_of(file), "psi_tui") == []


@files_outside(ENGINE, CHILDREN)
def test_nothing_outside_imports_the_engine(file):
    assert imported(file, tree_of(file), "psi_core.engine") == []


def test_the_door_of_child_processes_imports_the_engine_inside_functions_alone():
    if CHILDREN in FILES:
        body = [node for node in tree_of(CHILDREN).body if not isinstance(node, ast.FunctionDef)]
        assert imported(CHILDREN, ast.Module(body, []), "psi_core.engine") == []


@files_outside()
def test_no_file_is_longer_than_300_lines(file):
    assert len(FILES[file].read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("file", sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/*.py")))
def test_no_test_file_is_longer_than_300_lines(file):
    assert len((ROOT / file).read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "import torch.nn as nn",
        "from torch import nn",
        "def f():\n    from torch.nn import functional",
        "if TYPE_CHECKING:\n    import torch",
        "importlib.import_module('torch')",
        "__import__('torch')",
    ],
)
def test_the_wall_sees_every_way_of_importing(source):
    assert imported("psi_core/x.py", ast.parse(source), "torch")
    assert not imported("psi_core/x.py", ast.parse(source.replace("torch", "torchmetrics")), "torch")


def test_the_wall_sees_relative_imports():
    assert imported("psi_core/x.py", ast.parse("from . import engine"), "psi_core.engine")
    assert imported("psi_core/x.py", ast.parse("from .engine import step"), "psi_core.engine")
    assert imported("psi_tui/screens/x.py", ast.parse("from ..app import App"), "psi_tui.app")


def loaded(code: str, *modules: str) -> list[str]:
    """Which of these modules a new process has loaded once it has run the code."""
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*(name for name in {modules} if name in sys.modules))"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    return told.stdout.split()


@pytest.mark.parametrize("module", ["psi_core", "psi_tui.cli"])
def test_a_start_loads_nothing_heavy(module):
    heavy = ("torch", "torchvision", "scipy.stats", "textual", "plotext", "psi_core.engine")
    assert loaded(f"import {module}", *heavy) == []


def test_a_run_of_lenet_loads_neither_torchvision_nor_the_compiler_of_torch(tmp_path):
    code = f"""
import pathlib, psi_core.config, psi_core.engine.commands
config = psi_core.config.RunConfig(weights="random", device="cpu", images=4)
psi_core.engine.analyze(config, pathlib.Path({str(tmp_path)!r}))
"""
    assert loaded(code, "torchvision", "torch._dynamo", "sympy", "scipy.stats") == []
