"""Every CSV of one recorded run, as it was before: names and order of columns, order of rows, every cell."""

from itertools import zip_longest
from pathlib import Path

import pytest

from psi_core import load_run
from psi_core.tables.export import export_run
from psi_core.tables.registry import TABLE_NAMES
from tests.recorded import record_run

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    run = load_run(str(record_run(folder / "runs", images=24, chunk=10, silent=2, model="alexnet", name="golden")))
    export_run(run, folder / "csv", measures=["hoyer"])
    return folder / "csv"


def is_same(cell: str | None, golden: str | None) -> bool:
    """Whether two cells are the same, but for the last digits, in which another processor's sums may differ."""
    if cell == golden or cell is None or golden is None:
        return cell == golden
    try:
        return float(cell) == pytest.approx(float(golden), rel=1e-9, abs=1e-12)
    except ValueError:
        return False


def test_every_table_has_its_golden_file(folder: Path) -> None:
    names = {path.stem for path in GOLDEN.iterdir()}
    assert names == {*TABLE_NAMES, "layers-hoyer", "histogram-hoyer", "study-hoyer"}
    assert {path.stem for path in folder.iterdir()} == names


@pytest.mark.parametrize("name", [path.name for path in sorted(GOLDEN.iterdir())])
def test_a_csv_is_as_it_was(name: str, folder: Path) -> None:
    lines, golden = ((place / name).read_bytes().decode().split("\n") for place in (folder, GOLDEN))
    assert lines[0] == golden[0]
    assert len(lines) == len(golden)
    for line, before in zip(lines[1:], golden[1:], strict=True):
        pairs = zip_longest(line.split(","), before.split(","))
        assert all(is_same(cell, old) for cell, old in pairs), f"{line}\nwas\n{before}"
