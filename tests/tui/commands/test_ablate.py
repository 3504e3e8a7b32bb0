"""`psi-tui ablate`: what it asks the engine, what it shows, and one real ablation."""

import csv
import io
import json

import pytest

from psi_core.ablation import AblationConfig
from psi_core.tables.ablation import COLUMNS, AblationResult, MaskedAccuracy, ablation_notes, ablation_rows
from psi_tui.shell.ablation import ablation_curves, ablation_sections
from tests.tui.commands.test_engine_commands import ECHO, interrupt

__all__ = ["interrupt"]

CONFIG = {"layer": "conv2", "keep": "10,50,100", "epsilon": "0.03,0.1"}


def masked(*accuracies, agreement=50.0):
    return MaskedAccuracy(accuracies, (agreement,) * len(accuracies))


INTACT = masked(98.0, 80.0, 40.0, 97.0, 96.0, agreement=100.0)
MASKED = {
    ("response", 1): masked(60.0, 55.0, 30.0, 59.0, 58.0),
    ("response", 4): masked(88.2, 70.0, 35.0, 88.0, 87.0),
    ("response", 8): INTACT,
    ("random", 1): masked(20.0, 19.0, 18.0, 20.0, 20.0),
    ("random", 4): masked(88.1, 60.0, 30.0, 88.0, 87.0),
    ("random", 8): INTACT,
}


def test_help_says_which_images_are_taken(psi):
    words = " ".join(psi("ablate", "--help").out.replace("│", " ").split())
    assert "--images the first N images, of a folder every class in turn (default: all)" in words


def rows_of(config=CONFIG):
    config = AblationConfig(**config)
    masks = {config.mask(by, percent, 8) for by in config.by for percent in config.percentages}
    masked = {mask: MASKED[mask.by, len(mask.places)] for mask in masks}
    return ablation_rows(config, "conv2", 8, 500, INTACT, masked)


def finished(config=CONFIG):
    """The answer of an engine that did this ablation."""
    rows = rows_of(config)
    notes = ablation_notes(AblationConfig(**config), rows, INTACT, 2000)
    return {"rows": rows, "title": "lenet5 on mnist test", "notes": notes}


ENGINE = """
import json, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
say = lambda **line: print(json.dumps({"id": 1, "time": 0, **line}), flush=True)
say(event="phase", phase="fit")
say(event="fit", phase="fit", done=30, total=60, loss=0.5, accuracy=None, images_per_second=100.0, epoch=1)
say(event="warning", text="slow")
say(event="progress", phase="masking", done=10, total=20, images_per_second=5.0)
END
"""


@pytest.fixture
def answered(engine):
    engine(ENGINE.replace("END", f"say(answer=json.loads({json.dumps(finished())!r}))"))


@pytest.fixture
def unstarted(engine, tmp_path):
    """Whether the engine was left alone."""
    engine(f"open({str(tmp_path / 'started')!r}, 'w')")
    return lambda: not (tmp_path / "started").exists()


def test_only_what_was_typed_is_asked(psi, engine, tmp_path):
    engine(ECHO.format(path=str(tmp_path / "question.json")))
    outcome = psi("ablate", "--layer", "conv5", "--model", "alexnet", "--drop", "5,50", "--by", "random", "--shared")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "psi-tui: model: that is all\n")
    question = {"model": "alexnet", "layer": "conv5", "drop": "5,50", "by": "random", "shared": True}
    assert json.loads((tmp_path / "question.json").read_text()) == {"do": "ablate", **question}
    psi("ablate", "--layer", "fc1", "--train-images", "50", "--epsilon", "0.1,0.2", "--images", "9")
    question = {"layer": "fc1", "train_images": "50", "epsilon": "0.1,0.2", "images": "9"}
    assert json.loads((tmp_path / "question.json").read_text()) == {"do": "ablate", **question}


WRONG = {
    "no layer": (["--keep", "5"], "--layer"),
    "keep and drop": (["--keep", "5", "--drop", "5"], "write one of them"),
    "more than all": (["--keep", "5,500"], "500 is no percentage"),
    "less than none": (["--drop=-5"], "-5 is no percentage"),
    "no number": (["--keep", "some"], "some is no percentage"),
    "no percentage": (["--keep", "nan"], "nan is no percentage"),
    "nothing": (["--keep", ","], "keep: the list is empty"),
    "misspelt ranking": (["--by", "respons,random"], "'response'"),
    "no ranking": (["--by", ","], "by: the list is empty"),
    "no training images": (["--train-images", "0"], "greater than or equal to 1"),
    "wrong epsilon": (["--epsilon", "8"], "write 8/255"),
    "another attack": (["--attack", "pgd"], "--attack"),
    "unknown model": (["--model", "lenet"], "'lenet5'"),
    "unknown format": (["--format", "cvs"], "'csv'"),
    "two formats": (["--format", "csv", "--json"], "one of them"),
    "curves as csv": (["--format", "csv", "--plot"], "--to"),
    "file in no folder": (["--to", "/dev/null/x.csv"], "to: /dev/null/x.csv cannot be written"),
    "file that is a folder": (["--to", "/"], "it is a folder"),
}


@pytest.mark.parametrize(("arguments", "hint"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_sentence_before_any_work(psi, unstarted, arguments, hint):
    layer = [] if hint == "--layer" else ["--layer", "conv2"]
    outcome = psi("ablate", *layer, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("psi-tui: ")
    assert outcome.err.count("\n") == 1
    assert hint in outcome.err
    assert unstarted()


def test_values_of_other_kinds_are_refused():
    for values, said in (
        ({"layers": "conv2"}, "'layer'"),
        ({"layer": "conv2", "labels": "predicted"}, "'labels'"),
        ({"layer": ""}, "none is named"),
        ({"layer": "conv2", "keep": [True]}, "true and false do not fit"),
        ({"layer": "conv2", "keep": [None]}, "no percentage"),
        ({"layer": "conv2", "shared": "yes"}, "true or false"),
        ({"layer": "conv2", "train_images": True}, "true and false do not fit"),
        ({"layer": "conv2", "train_images": 2.5}, "whole number"),
    ):
        with pytest.raises(ValueError, match=said):
            AblationConfig(**values)


def test_the_table_sets_benign_attacked_and_noise_side_by_side(psi, answered):
    outcome = psi("ablate", "--layer", "conv2")
    assert outcome.code == 0
    assert "warning: slow" in outcome.err
    assert "fitted first" in outcome.err
    lines = outcome.out.split("\n")
    assert max(map(len, lines)) <= 80
    assert lines[1].split("  ")[0] == "keep %"
    at = lines.index("by response  attacked: FGSM, epsilon 0.1 (25.5/255)")
    assert lines[at + 2].split() == ["50", "4/8", "88.2", "90.0", "50.0", "35.0", "87.0", "-52.0"]
    assert "response: 90 % of the intact benign accuracy from 4 of 8 channels (50 %) on" in outcome.out
    assert "random: 90 % of the intact benign accuracy from 8 of 8 channels (100 %) on" in outcome.out
    assert "tells the network something" in " ".join(lines)


def test_curves_are_drawn_below_the_table(psi, answered):
    plain, outcome = psi("ablate", "--layer", "conv2"), psi("ablate", "--layer", "conv2", "--plot")
    assert outcome.code == 0
    assert outcome.out.startswith(plain.out.partition("\nintact network")[0])
    for part in ("o response benign", "x response fgsm@0.03", "accuracy, %", "channels of conv2 kept, %"):
        assert part in outcome.out
    assert max(map(len, outcome.out.split("\n"))) <= 80


def test_curves_go_over_the_channels_that_are_really_left():
    figure = ablation_curves(rows_of())
    names = [f"{by} {condition}" for by in ("response", "random") for condition in ("benign", "fgsm@0.03", "fgsm@0.1")]
    assert [series.name for series in figure.series] == names
    assert figure.series[0].x == (12.5, 50, 100)
    assert figure.series[2].y == (30, 35, 40)
    assert [series.role for series in figure.series[:2]] == ["benign", "attacked"]
    dropped = ablation_curves(rows_of({"layer": "conv2", "drop": "0,50,80", "epsilon": "0.03,0.1"}))
    assert dropped.series[0].x == (12.5, 50, 100)


def test_noise_is_missing_where_there_is_none():
    config = AblationConfig(layer="conv2", keep=100, by="random", epsilon=0)
    rows = ablation_rows(config, "conv2", 8, 5, masked(0.0, 0.0), {config.mask("random", 100, 8): masked(0.0, 0.0)})
    (section,) = ablation_sections(rows)
    assert section.rows[0]["noise"] == {}
    assert rows[0]["relative_percent"] is None, "nothing is a share of 0"


@pytest.mark.parametrize("how", [["--format", "csv"], ["--to", "FILE.csv"], ["--to", "FILE.txt", "--plot"]])
def test_csv_holds_every_row_in_full(psi, answered, tmp_path, how):
    path = tmp_path / how[1].lower()
    outcome = psi("ablate", "--layer", "conv2", *(str(path) if "FILE" in part else part for part in how))
    assert outcome.code == 0
    text = path.read_text() if path.exists() else outcome.out
    read = [*csv.DictReader(io.StringIO(text))]
    event = finished()
    assert text == AblationResult(event["rows"], event["title"], event["notes"]).text("csv")
    assert list(read[0]) == [column.name for column in COLUMNS]
    assert len(read) == 2 * 3 * 5
    assert [float(row["relative_percent"]) for row in read[:2]] == [100 * 60 / 98, 100 * 55 / 98]
    assert ("written: " in outcome.err) == path.exists() == ("keep %" in outcome.out)


def test_a_file_that_is_there_is_replaced_by_a_word_alone_and_no_link_is_written_through(psi, answered, tmp_path):
    mine, link = tmp_path / "mine.csv", tmp_path / "link.csv"
    mine.write_text("mine")
    link.symlink_to(mine)
    for place in (mine, link):
        refused = psi("ablate", "--layer", "conv2", "--to", place)
        assert refused.code == 2
        assert "is there already" in refused.err
    psi("ablate", "--layer", "conv2", "--to", link, "--replace")
    assert mine.read_text() == "mine"
    assert "keep" in link.read_text()


def test_other_formats(psi, answered, tmp_path):
    rows = json.loads(psi("ablate", "--layer", "conv2", "--json").out)
    assert rows == rows_of()
    psi("ablate", "--layer", "conv2", "--to", tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert "| response | keep | 50.0 | 4 | fgsm@0.1 | 35.0 | 35.7 | 50.0 |" in text
    assert "tells the network something" in text
    tex = psi("ablate", "--layer", "conv2", "--format", "tex").out
    assert tex.startswith("% lenet5 on mnist test\n% intact network: benign 98.0 %")
    assert r"\end{tabular}" in tex


def test_notes_say_what_a_mask_tells_and_what_was_shown():
    def notes(**values):
        config = AblationConfig(**CONFIG | values)
        return " / ".join(ablation_notes(config, rows_of(CONFIG | values), INTACT, 2000))

    assert "tells the network nothing" in notes(shared=True)
    assert "first 2,000 training images" in notes()
    assert "shown are training images" in notes(split="train")
    assert "with up to 4 of 8 channels (50 %) dropped" in notes(keep=None, drop="0,50,87.5")
    assert "nowhere 90 %" in notes(keep="10", by="random")


def test_interrupted_it_prints_no_row(psi, engine, interrupt):
    engine(ENGINE.replace("END", "time.sleep(60)"))
    interrupt(1)
    outcome = psi("ablate", "--layer", "conv2")
    assert (outcome.code, outcome.out) == (130, "")
    assert "all of its rows or none" in outcome.err


def test_an_engine_that_fails_is_a_failure(psi, engine):
    engine(ENGINE.replace("END", "sys.exit(3)"))
    outcome = psi("ablate", "--layer", "conv2")
    assert (outcome.code, outcome.out) == (1, "")
    assert "ended with status 3" in outcome.err
    engine(ENGINE.replace("END", "say(error='memory: too little; write less', kind='AblationFailedError')"))
    outcome = psi("ablate", "--layer", "conv2")
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.endswith("psi-tui: memory: too little; write less\n")


def test_a_real_one_recognizes_more_the_more_is_kept(psi):
    outcome = psi("ablate", "--layer", "conv2", "--images", "150", "--keep", "0,10,50,100", "--format", "csv")
    assert outcome.code == 0, outcome.err
    rows = [*csv.DictReader(io.StringIO(outcome.out))]
    for by in ("response", "random"):
        for condition in ("benign", "fgsm@0.03", "sign-noise@0.03"):
            found = [float(row["accuracy_percent"]) for row in rows if (row["by"], row["condition"]) == (by, condition)]
            assert found == sorted(found)
            assert len({*found}) == 4
    assert {row["prediction_agreement_percent"] for row in rows if row["percent"] == "100.0"} == {"100.0"}
