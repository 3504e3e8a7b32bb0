"""Exports: golden files byte for byte, full precision, all or nothing, sentences instead of tracebacks."""

import csv
import json
from pathlib import Path

import pytest

from psi_core import ConfigError, Run, RunError, load_run
from psi_core.tables.columns import Column
from psi_core.tables.export import FORMATS, export_run, left_out_words, write_table
from psi_core.tables.registry import TABLE_NAMES, table_rows
from tests.recorded import record_run

COLUMNS = (Column("name", "n_1", "text", "A name."), Column("value", "value %", "percent", "A value."))
ROWS = [
    {"name": "a|b & c", "value": 1 / 3},
    {"name": 'say "x", y', "value": None},
    {"name": "nan", "value": float("nan")},
]

GOLDEN_IMAGES = """\
index,label,condition,prediction,correct,confidence,linf,l2,psi_conv1,psi_conv2,psi_fc1
0,9,benign,9,true,0.20060671865940094,0.0,0.0,0.6138431429862976,0.6491288542747498,
0,9,fgsm@0.03,9,true,0.8300477266311646,0.029999999329447746,0.6000000238418579,0.6418569087982178,0.6521340012550354,
1,6,benign,6,true,0.36953631043434143,0.0,0.0,0.3911370038986206,0.30905914306640625,0.46816176176071167
1,6,fgsm@0.03,6,true,0.1544610857963562,0.029999999329447746,0.6000000238418579,0.43773195147514343,0.3036736249923706,0.4817870557308197
2,6,benign,6,true,0.0037342419382184744,0.0,0.0,0.41076183319091797,0.6150492429733276,0.40831759572029114
2,6,fgsm@0.03,6,true,0.26759931445121765,0.029999999329447746,0.6000000238418579,0.45739203691482544,0.6266220808029175,0.4207279682159424
"""

GOLDEN_CONDITIONS = """\
condition,attack,epsilon,images,accuracy_percent,success_percent,linf_mean,linf_max,l2_mean,zero_gradient_percent,\
target,target_percent
benign,benign,0.0,3,100.0,,0.0,0.0,0.0,,,
fgsm@0.03,fgsm,0.03,3,100.0,0.0,0.029999999329447746,0.029999999329447746,0.6000000238418579,0.0,,
"""


@pytest.fixture
def run(own_folders: Path) -> Run:
    return load_run(record_run(own_folders, images=3, silent=1, controls="none"))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("csv", 'name,value\na|b & c,0.3333333333333333\n"say ""x"", y",\nnan,\n'),
        (
            "json",
            '[\n{"name": "a|b & c", "value": 0.3333333333333333},\n{"name": "say \\"x\\", y", "value": null},\n'
            '{"name": "nan", "value": null}\n]\n',
        ),
        (
            "md",
            '| n_1 | value % |\n| --- | ---: |\n| a\\|b & c | 0.3 |\n| say "x", y |  |\n| nan |  |\n',
        ),
        (
            "tex",
            "\\begin{tabular}{lr}\n\\toprule\nn\\_1 & value \\% \\\\\n\\midrule\na|b \\& c & 0.3 \\\\\n"
            'say "x", y &  \\\\\nnan &  \\\\\n\\bottomrule\n\\end{tabular}\n',
        ),
    ],
)
def test_formats_byte_for_byte(suffix: str, text: str, tmp_path: Path) -> None:
    write_table(ROWS, COLUMNS, tmp_path / "t", suffix)
    assert (tmp_path / "t").read_bytes() == text.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_golden_tables(run: Run, tmp_path: Path) -> None:
    images, conditions = export_run(run, tmp_path / "out", "csv", ["images", "conditions"])
    assert images.read_bytes() == GOLDEN_IMAGES.encode()
    assert conditions.read_bytes() == GOLDEN_CONDITIONS.encode()


def test_csv_reads_back_as_the_very_numbers(run: Run, tmp_path: Path) -> None:
    (path,) = export_run(run, tmp_path / "out", "csv", ["layers"])
    with path.open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    for row, cells in zip(table_rows(run, "layers"), read, strict=True):
        for name, cell in row.items():
            assert cells[name] == "" if cell is None else type(cell)(cells[name]) == cell


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_table_is_written_in_every_format(suffix: str, run: Run, tmp_path: Path) -> None:
    paths = export_run(run, tmp_path / "deep" / "out", suffix)
    assert [path.name for path in paths] == [f"{table}.{suffix}" for table in TABLE_NAMES]
    assert all(path.stat().st_size for path in paths)
    assert len(list(paths[0].parent.iterdir())) == len(paths)


def test_json_holds_the_rows(run: Run, tmp_path: Path) -> None:
    (path,) = export_run(run, tmp_path, "json", ["images"])
    assert json.loads(path.read_text()) == table_rows(run, "images")


def test_json_has_no_infinity(tmp_path: Path) -> None:
    write_table([{"name": "x", "value": float("inf")}], COLUMNS, tmp_path / "t.json", "json")
    assert json.loads((tmp_path / "t.json").read_text()) == [{"name": "x", "value": None}]


def test_page_formats_show_key_columns_only(run: Run, tmp_path: Path) -> None:
    (path,) = export_run(run, tmp_path, "md", ["layers"])
    assert "KS" not in path.read_text()
    assert "AUROC" in path.read_text()


def test_wrong_words_are_answered_before_anything_is_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'csv'"):
        export_run(run, tmp_path / "out", "cvs")
    with pytest.raises(ConfigError, match="did you mean 'layers'"):
        export_run(run, tmp_path / "out", "csv", ["layer"])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be made"):
        export_run(run, tmp_path / "file" / "out")
    (tmp_path / "out" / "layers.csv").mkdir(parents=True)
    with pytest.raises(ConfigError, match="cannot be written"):
        export_run(run, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["layers.csv"]


def test_a_run_without_results_leaves_no_folder(own_folders: Path, tmp_path: Path) -> None:
    empty = load_run(record_run(own_folders, chunks=[], finished=False))
    with pytest.raises(RunError, match="no results yet"):
        export_run(empty, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_tables_of_many_rows_fill_no_page(own_folders: Path, tmp_path: Path) -> None:
    long = load_run(record_run(own_folders, images=300, chunk=300))
    told: list[tuple[str, int, int]] = []
    paths = export_run(long, tmp_path / "md", "md", tell=lambda *table: told.append(table))
    assert {path.stem for path in paths} == set(TABLE_NAMES) - {"images"}
    assert [name for name, *_ in told] == [path.stem for path in paths]
    assert [done for _, done, _ in told] == list(range(len(paths)))
    assert {total for *_, total in told} == {len(paths)}
    assert left_out_words(long, "md").startswith("images: more than 1,000 rows")
    assert left_out_words(long, "csv") == ""
    assert [path.name for path in export_run(long, tmp_path / "asked", "tex", ["images"])] == ["images.tex"]
    assert len(export_run(long, tmp_path / "csv")) == len(TABLE_NAMES)
