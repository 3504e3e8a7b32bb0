"""`psi-tui liu`: what it asks the engine, what it shows, and one real process."""

import csv
import io
import json

import pytest

from psi_core import load_run
from psi_core.engine import analyze
from psi_core.tables.liu import liu_request, liu_result
from tests.core.tables.test_liu_table import planted
from tests.engine.processes import small_config
from tests.recorded import record_run
from tests.tui.commands.test_engine_commands import ECHO, interrupt

__all__ = ["interrupt"]

ENGINE = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
say = lambda **line: print(json.dumps({"id": 1, "time": 0, **line}), flush=True)
say(event="progress", phase="run", done=10, total=40, images_per_second=5.0)
END
"""


@pytest.fixture
def run(own_folders):
    record_run(own_folders, model="alexnet", controls="sign-noise,gaussian", name="mine")
    return load_run("mine")


@pytest.fixture
def answered(engine, run, tmp_path):
    result = liu_result(run, liu_request(run, 40), planted(run))
    (tmp_path / "answer.json").write_text(json.dumps(vars_of(result)))
    engine(ENGINE.replace("END", f"say(answer=json.load(open({str(tmp_path / 'answer.json')!r})))"))
    return result


def vars_of(result):
    return {"rows": result.rows, "title": result.title, "notes": result.notes}


def test_what_was_typed_is_asked(psi, engine, run, tmp_path):
    engine(ECHO.format(path=str(tmp_path / "question.json")))
    outcome = psi("liu", "mine", "--images", 9, "--conditions", "fgsm@0.03, gaussian@0.03", "--across", "images")
    assert (outcome.code, outcome.err) == (2, "psi-tui: model: that is all\n")
    assert json.loads((tmp_path / "question.json").read_text()) == {
        "do": "liu",
        "run": str(run.directory),
        "images": 9,
        "conditions": ["fgsm@0.03", "gaussian@0.03"],
        "across": "images",
        "bins": 20,
    }


WRONG = {
    "no such run": (["yours"], "yours"),
    "more images than there are": (["mine", "--images", "61"], "60 finished images"),
    "misspelt condition": (["mine", "--conditions", "fgsm@0.3"], "'fgsm@0.03'"),
    "misspelt yardstick": (["mine", "--across", "class"], "'classes'"),
    "bins": (["mine", "--bins", "0"], "bins: 0"),
    "two formats": (["mine", "--format", "csv", "--json"], "one of them"),
    "file that is a folder": (["mine", "--to", "/"], "it is a folder"),
}


@pytest.mark.parametrize(("arguments", "hint"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_sentence_before_any_work(psi, engine, run, tmp_path, arguments, hint):
    engine(f"open({str(tmp_path / 'started')!r}, 'w')")
    outcome = psi("liu", *arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
    assert hint in outcome.err
    assert not (tmp_path / "started").exists()


def test_the_table_has_both_sides_in_a_line(psi, answered, monkeypatch):
    lines = psi("liu", "mine").out.split("\n")
    assert max(map(len, lines[1:])) <= 80
    at = lines.index("benign → sign-noise@0.03")
    rows = {(row["layer"], row["condition"]): row for row in answered.rows}
    benign, noise = rows["conv1", "benign"], rows["conv1", "sign-noise@0.03"]
    assert lines[at + 1].split()[:4] == ["conv1", f"{benign['psi_liu_mean']:.4f}", "→", f"{noise['psi_liu_mean']:.4f}"]
    assert f"{noise['shift_sd']:+.3f}" in lines[at + 1]
    monkeypatch.setenv("COLUMNS", "220")
    wide = psi("liu", "mine").out
    assert "verdict" in wide
    assert "beyond noise: sparser by" in wide
    assert "39.4 → 68.2" in wide
    assert "39.4 → -" not in wide


def test_other_formats(psi, answered, tmp_path):
    assert json.loads(psi("liu", "mine", "--json").out) == json.loads(json.dumps(answered.rows))
    assert psi("liu", "mine", "--to", tmp_path / "liu.csv").code == 0
    rows = [*csv.DictReader(io.StringIO((tmp_path / "liu.csv").read_text()))]
    assert [float(row["psi_liu_mean"]) for row in rows] == [row["psi_liu_mean"] for row in answered.rows]
    again = psi("liu", "mine", "--to", tmp_path / "liu.csv")
    assert (again.code, "--replace" in again.err) == (2, True)
    assert "computed again: benign PSI within" in psi("liu", "mine", "--format", "md").out


def test_interrupted_it_prints_no_row(psi, engine, run, interrupt):
    engine(ENGINE.replace("END", "time.sleep(60)"))
    interrupt(1)
    outcome = psi("liu", "mine")
    assert (outcome.code, outcome.out) == (130, "")
    assert "all rows are printed or none" in outcome.err


def test_a_real_one_computes_the_runs_own_images_again(psi, own_folders):
    analyze(small_config(images=40, weights="fitted", epsilon=[0.1], name="real"), own_folders)
    outcome = psi("liu", "real", "--images", 30, "--format", "csv")
    assert outcome.code == 0, outcome.err
    rows = [*csv.DictReader(io.StringIO(outcome.out))]
    assert [row["layer"] for row in rows[:4]] == ["conv1", "conv2", "fc1", "fc2"]
    assert {row["images"] for row in rows} == {"30"}
    assert all(0 < float(row["psi_liu_mean"]) < 1 for row in rows)
