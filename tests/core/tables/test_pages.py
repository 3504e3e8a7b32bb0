"""Tables for the page: what Markdown and LaTeX say, that both can be parsed, and what must be told beside them."""

import re
import shutil
import subprocess

import pytest

from psi_core import Run, load_run
from psi_core.tables.columns import Column, readable
from psi_core.tables.export import FORMATS, PAGE_FORMATS, export_run, latex_text, markdown_text, run_line, table_text
from psi_core.tables.registry import TABLE_NAMES, View, table_columns, table_notes, table_rows
from psi_core.tables.table import OWN_LABELS
from tests.recorded import record_run

FOR_PAPERS = ("layers", "conditions", "study")
TEXT = Column("text", "a_b", "text", "A text.")
SHIFT = Column("shift", "d_z %", "shift", "A signed number.")


@pytest.fixture(params=["true", "predicted"])
def run(request, own_folders) -> Run:
    return load_run(record_run(own_folders, model="alexnet", labels=request.param, epsilon="0.01,0.03", silent=3))


def key_columns(run, table):
    rows = table_rows(run, table)
    return rows, [
        column
        for column in table_columns(run, table)
        if column.is_key and any(readable(row[column.name], column.kind) for row in rows)
    ]


def cells_of(line, separator):
    return [cell.strip() for cell in re.split(rf"(?<!\\){re.escape(separator)}", line)]


@pytest.mark.parametrize("table", FOR_PAPERS)
def test_markdown_has_every_row_and_number(run, table):
    rows, columns = key_columns(run, table)
    lines = table_text(run, table, rows, "md").splitlines()
    body = [cells_of(line, "|")[1:-1] for line in lines[: len(rows) + 2]]
    assert body[0] == [column.heading for column in columns]
    assert body[1] == ["---" if column.kind in ("text", "flag") else "---:" for column in columns]
    assert body[2:] == [[readable(row[column.name], column.kind) for column in columns] for row in rows]
    assert lines[len(rows) + 2] == ""


@pytest.mark.parametrize("table", FOR_PAPERS)
def test_latex_has_every_row_and_number(run, table):
    rows, columns = key_columns(run, table)
    text = table_text(run, table, rows, "tex")
    lines = [line for line in text.splitlines() if not line.startswith("%") and line != r"\addlinespace"]
    alignment = "".join("l" if column.kind in ("text", "flag") else "r" for column in columns)
    rules = [lines[0], lines[1], lines[3], *lines[-2:]]
    assert rules == [
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert all(line.endswith(r" \\") for line in (lines[2], *lines[4:-2]))
    cells = [cells_of(line.removesuffix(r" \\"), "&") for line in lines[4:-2]]
    assert [[cell.strip("$") for cell in row] for row in cells] == [
        [readable(row[column.name], column.kind) for column in columns] for row in rows
    ]


@pytest.mark.parametrize("table", TABLE_NAMES)
def test_latex_leaves_nothing_that_tex_would_take_for_its_own(run, table):
    text = table_text(run, table, table_rows(run, table), "tex")
    body = [line for line in text.splitlines() if not line.startswith(("%", r"\begin", r"\end"))]
    for line in body:
        assert line.count("$") % 2 == 0
        outside = re.sub(r"\$[^$]*\$", "", line).replace("-{}-", "")  # Two hyphens that TeX leaves two.
        assert not re.search(r"(?<!\\)[%$#_{}~^<>]", outside)
        assert not re.search(r"\s[+-]\d", outside), "a minus sign in text is a hyphen"
    assert {line.count(" & ") for line in body if line.endswith(r" \\")} == {
        len(re.findall("[lr]|p", re.sub("{[^}]*}", "", _alignment(text)))) - 1
    }


def _alignment(text):
    return re.search(r"\\begin\{tabular\}\{((?:[lr]|p\{[^}]*\})+)\}", text).group(1)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no TeX here")
@pytest.mark.parametrize("table", FOR_PAPERS)
def test_latex_compiles(run, table, tmp_path):
    text = table_text(run, table, table_rows(run, table), "tex")
    head, end = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n", "\\end{document}\n"
    (tmp_path / "page.tex").write_text(head + text + end)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=120).returncode == 0


def test_characters_of_markdown_and_latex_are_escaped():
    row = {"text": r"_a_b* 5 % & {x} ~^#$ \ <i> ± → ∞ Δ | @", "shift": -0.5}
    assert markdown_text([row], [TEXT]).splitlines()[2] == r"| \_a_b\* 5 % & {x} ~^#$ \\ \<i> ± → ∞ Δ \| @ |"
    assert latex_text([row], [TEXT, SHIFT]).splitlines()[2::2] == [
        r"a\_b & $d_z$ \% \\",
        r"\_a\_b* 5 \% \& \{x\} \textasciitilde{}\textasciicircum{}\#\$ \textbackslash{} \textless{}i\textgreater{} "
        r"$\pm$ $\rightarrow$ $\infty$ $\Delta$ | @ & $-0.5000$ \\",
        r"\end{tabular}",
    ]


def test_rows_of_one_layer_stand_together():
    rows = [{"text": name} for name in ("a", "a", "b", "b")]
    lines = latex_text(rows, [TEXT]).splitlines()[4:-2]
    assert lines == [r"a \\", r"a \\", r"\addlinespace", r"b \\", r"b \\"]
    assert r"\addlinespace" not in latex_text(rows[1:3], [TEXT])


def test_a_page_says_which_run_and_what_its_numbers_are_not(run):
    for table in FOR_PAPERS:
        markdown, latex = (table_text(run, table, table_rows(run, table), suffix) for suffix in ("md", "tex"))
        assert f"% {run_line(run)}\n" in latex
        assert latex.count("booktabs") == 1
        assert f"\n{run_line(run)}  \n" in markdown
        for text in (markdown, latex):
            assert ("concentration, not sparseness" in text) == (table != "conditions")
            assert (OWN_LABELS in text) == (run.config.labels == "predicted")
            assert ("accuracy \\%" in text or "accuracy %" in text or "A %" in text or "A \\%" in text) == (
                run.config.labels == "true"
            )
    assert run_line(run) == "alexnet (fitted weights) on mnist test, 28 px, 60 images"


def test_notes_name_bins_and_subset(run):
    rows = table_rows(run, "layers", View(subset="fooled", bins=7))
    text = table_text(run, "layers", rows, "md", View(subset="fooled", bins=7))
    assert "the fullest of 7 bins" in text
    assert "subset fooled: " in text
    assert table_notes(run, "histogram") == table_notes(run, "measures") == []


def test_a_page_of_a_growing_run_says_how_far_it_is(own_folders):
    assert run_line(load_run(record_run(own_folders, chunks=[0]))).endswith("25 of 60 images")


@pytest.mark.parametrize("table", ["layers", "measures"])
@pytest.mark.parametrize("suffix", PAGE_FORMATS)
def test_a_page_has_the_headline_the_shift_beyond_the_control(run, table, suffix):
    text = table_text(run, table, table_rows(run, table), suffix)
    assert "d control" in text
    assert "sign-noise@0.01" in text


def test_export_writes_the_same_text(run, tmp_path):
    for suffix in FORMATS:
        for path in export_run(run, tmp_path, suffix, FOR_PAPERS):
            assert path.read_text() == table_text(run, path.stem, table_rows(run, path.stem), suffix)
