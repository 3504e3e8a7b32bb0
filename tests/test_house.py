"""The house: which wing may import which, how large rooms and pages are, and what a start may load."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("psi_core.plain_text",),
    ("psi_core.errors",),
    (
        "psi_core.files",
        "psi_core.npy",
        "psi_core.measures",
        "psi_core.conditions",
        "psi_core.devices",
        "psi_core.options",
    ),
    ("psi_core.option_values", "psi_core.typed_names"),
    ("psi_core.config", "psi_core.decoder"),
    ("psi_core.presets", "psi_core.ablation", "psi_core.runs"),
    ("psi_core.statistics", "psi_core.pictures"),
    ("psi_core.evidence",),
    ("psi_core.tables", "psi_core"),
    ("psi_core.serve",),
    ("psi_core.engine.memory", "psi_core.engine.precision"),
    (
        "psi_core.engine.devices",
        "psi_core.engine.sums",
        "psi_core.engine.bf16_weights",
        "psi_core.engine.python_values",
    ),
    ("psi_core.engine.kernels",),
    ("psi_core.engine.stand_ins",),
    ("psi_core.engine.images",),
    ("psi_core.engine.models",),
    ("psi_core.engine.attacks",),
    ("psi_core.engine.measure", "psi_core.engine.sampling"),
    ("psi_core.engine.network_check",),
    ("psi_core.engine.preparation", "psi_core.engine.gradient_check"),
    ("psi_core.engine.work", "psi_core.engine.again", "psi_core.engine.ablation"),
    ("psi_core.engine.analysis", "psi_core.engine.recompute"),
    ("psi_core.engine", "psi_core.engine.bench", "psi_core.engine.answers", "psi_core.engine.liu"),
    ("psi_core.engine.selftest",),
    ("psi_core.engine.commands",),
    ("psi_core.__main__",),
    ("psi_tui.text", "psi_tui.engine"),
    ("psi_tui.runs", "psi_tui.graphics"),
    ("psi_tui.plots",),
    ("psi_tui.widgets", "psi_tui.shell"),
    ("psi_tui.services",),
    ("psi_tui.screens",),
    ("psi_tui.app",),
    ("psi_tui.commands",),
    ("psi_tui.cli", "psi_tui"),
    ("psi_tui.__main__",),
)
"""Wings from the ground up: folders, and pages that lie in no folder of their own. Imports go down, never sideways."""

DOORS = ("psi_tui.commands.", "psi_core.engine.analysis")
"""Pages that are asked for by name: a command, `analyze`. They may be as short as they are."""

LONGEST_FILE, SHORTEST_PAGE, MOST_PAGES = 450, 60, 17
HEAVY = {
    "psi_core": ("psi_tui", "textual", "plotext", "rich_click", "rich", "click"),
    "psi_tui": ("psi_core.engine",),
}
"""What no file of a package may import; torch and torchvision are for psi_core.engine alone."""


def sources(root: Path = ROOT) -> dict[str, ast.Module]:
    """Every module of both packages by its dotted name."""
    files = [path for package in ("psi_core", "psi_tui") for path in (root / package).rglob("*.py")]
    return {dotted(path.relative_to(root)): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def dotted(path: Path) -> str:
    return ".".join(part for part in path.with_suffix("").parts if part != "__init__")


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Every dotted name that a tree imports: in functions, under TYPE_CHECKING and by `import_module` too."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=start, names=names, level=level):
                package = ".".join(module.split(".")[:-level]) if level else ""
                whole = ".".join(part for part in (package, start) if part)
                yield from (f"{whole}.{name.name}" for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                yield from (part.value for part in node.args[:1] if isinstance(part, ast.Constant))


def is_of(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def wing_of(module: str) -> str:
    """The longest name of a wing that a module is, or lies in."""
    return max((wing for floor in FLOORS for wing in floor if is_of(module, wing)), key=len, default="")


def arrows(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Which of the modules each imports."""
    found: dict[str, set[str]] = {}
    for module, tree in modules.items():
        names = [name if name in modules else name.rpartition(".")[0] for name in imports(module, tree)]
        found[module] = {name for name in names if name in modules and name != module}
    return found


def upward(found: dict[str, set[str]]) -> list[str]:
    """Imports that go up, or sideways between wings of one floor."""
    floor_of = {wing: height for height, floor in enumerate(FLOORS) for wing in floor}
    return [
        f"{module} -> {other}"
        for module, others in sorted(found.items())
        for other in sorted(others)
        if wing_of(module) != wing_of(other) and floor_of[wing_of(module)] <= floor_of[wing_of(other)]
    ]


def circles(found: dict[str, set[str]]) -> list[str]:
    """Modules that reach themselves."""
    return sorted(module for module in found if module in reached(module, found))


def reached(start: str, found: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [*found[start]]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += found[module]
    return seen


def test_imports_go_down_from_wing_to_wing():
    assert upward(arrows(sources())) == []


def test_no_module_reaches_itself():
    assert circles(arrows(sources())) == []


def test_every_module_lies_in_a_wing_and_every_wing_is_there():
    modules = sources()
    assert [module for module in modules if not wing_of(module)] == []
    assert [wing for floor in FLOORS for wing in floor if wing not in modules] == []


def test_only_the_engine_imports_torch():
    assert [
        f"{module} imports {name}"
        for module, tree in sources().items()
        if not is_of(module, "psi_core.engine")
        for name in imports(module, tree)
        if is_of(name, "torch") or is_of(name, "torchvision")
    ] == []


def test_neither_package_imports_what_the_other_alone_may():
    assert [
        f"{module} imports {name}"
        for module, tree in sources().items()
        for heavy in HEAVY[module.partition(".")[0]]
        for name in imports(module, tree)
        if is_of(name, heavy)
    ] == []


def test_the_light_half_reaches_the_engine_from_inside_functions_of_the_door_of_children_alone():
    found = []
    for module, tree in sources().items():
        if is_of(module, "psi_core") and not is_of(module, "psi_core.engine"):
            nodes = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
            body = ast.Module(nodes, []) if module == "psi_core.__main__" else tree
            found += [f"{module} imports {name}" for name in imports(module, body) if is_of(name, "psi_core.engine")]
    assert found == []


def test_no_file_is_longer_than_two_ideas_would_be():
    files = [path for top in ("psi_core", "psi_tui", "tests") for path in (ROOT / top).rglob("*.py")]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_no_room_holds_more_than_seventeen_pages():
    pages: dict[str, int] = defaultdict(int)
    for top in ("psi_core", "psi_tui"):
        for path in (ROOT / top).rglob("*.py"):
            pages[str(path.parent.relative_to(ROOT))] += path.name != "__init__.py"
    assert {folder: count for folder, count in pages.items() if count > MOST_PAGES} == {}


def test_no_page_is_a_corridor():
    """Shorter than a page, and with one reader alone, it is part of that reader."""
    modules = sources()
    readers: dict[str, set[str]] = defaultdict(set)
    for module, others in arrows(modules).items():
        for other in others:
            readers[other].add(module)
    short = []
    for module in modules:
        path = ROOT / f"{module.replace('.', '/')}.py"
        is_page = path.exists() and not module.endswith("__main__") and not module.startswith(DOORS)
        if is_page and len(readers[module]) < 2 and len(path.read_text(encoding="utf-8").splitlines()) < SHORTEST_PAGE:
            short.append(f"{module} <- {', '.join(readers[module])}")
    assert short == []


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
def test_the_fences_see_every_way_of_importing(source):
    assert any(is_of(name, "torch") for name in imports("psi_core.x", ast.parse(source)))
    harmless = source.replace("torch", "torchmetrics")
    assert not any(is_of(name, "torch") for name in imports("psi_core.x", ast.parse(harmless)))


def test_the_fences_see_relative_imports_arrows_up_and_circles():
    assert [*imports("psi_core.x", ast.parse("from .engine import step"))] == ["psi_core.engine.step"]
    assert [*imports("psi_tui.screens.x", ast.parse("from ..app import App"))] == ["psi_tui.app.App"]
    planted = {
        "psi_core.runs.run": ast.parse("from psi_core.tables.layers import layer_rows"),
        "psi_core.tables.layers": ast.parse("from psi_core.runs import run"),
        "psi_core.engine.again.export": ast.parse("from psi_core.engine.work import worker"),
        "psi_core.engine.work.worker": ast.parse("from psi_core.runs.run import Run"),
    }
    assert upward(arrows(planted)) == [
        "psi_core.engine.again.export -> psi_core.engine.work.worker",
        "psi_core.runs.run -> psi_core.tables.layers",
    ]
    assert circles(arrows(planted)) == ["psi_core.runs.run", "psi_core.tables.layers"]


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


def test_a_run_of_lenet_loads_neither_torchvision_nor_the_compiler_of_torch_nor_the_bench(tmp_path):
    code = f"""
import pathlib, psi_core.config, psi_core.engine.commands
config = psi_core.config.RunConfig(weights="random", device="cpu", images=4)
psi_core.engine.analyze(config, pathlib.Path({str(tmp_path)!r}))
"""
    assert loaded(code, "torchvision", "torch._dynamo", "sympy", "scipy.stats", "psi_core.engine.bench") == []
