"""Images as arrays: what the table of images shows is what the run's own tables hold, filtered and sorted."""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from psi_core import load_run
from psi_core.errors import ConfigError, RunError
from psi_core.runs.run import Run
from psi_core.tables.registry import table_rows
from psi_tui.screens.results.images.index import OUTCOMES, QUANTITIES, WORDS, ImageIndex
from tests import recorded
from tests.recorded import record_run

CONDITION = "fgsm@0.03"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """300 images, the first 20 silent in fc1."""
    return Run(record_run(tmp_path_factory.mktemp("runs"), images=300, chunk=100, silent=20))


@pytest.fixture(scope="module")
def index(run: Run) -> ImageIndex:
    return ImageIndex.of(run, CONDITION, "conv1")


def images(index: ImageIndex, text: str) -> list[int]:
    view = index.filtered(text)
    return index.image[view.places].tolist()


def rows_where(run: Run, fits) -> list[int]:
    """Images whose rows of the run's table, benign and attacked, fit."""
    rows = {(row["index"], row["condition"]): row for row in table_rows(run, "images")}
    return [image for image in run.index.tolist() if fits(rows[image, "benign"], rows[image, CONDITION])]


def test_columns_are_those_of_the_table_of_images(run, index):
    rows = table_rows(run, "images")
    for condition, suffix in (("benign", "benign"), (CONDITION, "attacked")):
        own = [row for row in rows if row["condition"] == condition]
        assert index.values(suffix).tolist() == [row["prediction"] for row in own]
        assert index.values(f"confidence_{suffix}").tolist() == [row["confidence"] for row in own]
        assert index.values(f"psi_{suffix}").tolist() == [row["psi_conv1"] for row in own]
    assert index.values("image").tolist() == [row["index"] for row in own]
    assert index.values("label").tolist() == [row["label"] for row in own]
    assert index.values("psi_conv2").tolist() == [row["psi_conv2"] for row in own]


def test_the_shift_is_attacked_less_benign_in_double_precision(index):
    psi = np.random.default_rng(1).uniform(0, 1, index.psi.shape).astype(np.float32)
    planted = replace(index, psi=psi)
    for number, layer in enumerate(index.layers):
        chosen = planted.with_layer(layer).values("shift")
        assert chosen.tolist() == (psi[1, number].astype(np.float64) - psi[0, number].astype(np.float64)).tolist()
        assert planted.values(f"shift_{layer}").tolist() == chosen.tolist()


FITS = {
    "": lambda benign, now: True,
    "flipped": lambda benign, now: benign["correct"] and not now["correct"],
    "fooled": lambda benign, now: benign["correct"] and not now["correct"],
    "resisted": lambda benign, now: benign["correct"] and now["correct"],
    "correct": lambda benign, now: benign["correct"],
    "wrong": lambda benign, now: not benign["correct"] and not now["correct"],
    "righted": lambda benign, now: not benign["correct"] and now["correct"],
    "changed": lambda benign, now: benign["prediction"] != now["prediction"],
    "kept": lambda benign, now: benign["correct"] and now["correct"],
    "class=3": lambda benign, now: now["label"] == 3,
    "class!=3": lambda benign, now: now["label"] != 3,
    "from=3": lambda benign, now: benign["prediction"] == 3,
    "to=5": lambda benign, now: now["prediction"] == 5,
    "psi>0.5": lambda benign, now: now["psi_conv1"] > 0.5,
    "psi <= 0.5": lambda benign, now: now["psi_conv1"] <= 0.5,
    "psi_benign>=0.5": lambda benign, now: benign["psi_conv1"] >= 0.5,
    "psi=0.5": lambda benign, now: round(now["psi_conv1"], 1) == 0.5,
    "psi=5e-1": lambda benign, now: round(now["psi_conv1"], 1) == 0.5,
    "psi!=0.52": lambda benign, now: round(now["psi_conv1"], 2) != 0.52,
    "psi_conv2>0.6": lambda benign, now: now["psi_conv2"] > 0.6,
    "shift>0.05": lambda benign, now: now["psi_conv1"] - benign["psi_conv1"] > 0.05,
    "shift_conv2<-.01": lambda benign, now: now["psi_conv2"] - benign["psi_conv2"] < -0.01,
    "psi_fc1<2": lambda benign, now: now["psi_fc1"] is not None,
    "psi_fc1!=2": lambda benign, now: True,
    "confidence<0.5": lambda benign, now: now["confidence"] < 0.5,
    "confidence_benign>0.5": lambda benign, now: benign["confidence"] > 0.5,
    "image>=290": lambda benign, now: now["index"] >= 290,
    "17": lambda benign, now: now["index"] == 17,
    "FLIPPED Class=3": lambda benign, now: now["label"] == 3 and benign["correct"] and not now["correct"],
    "psi>0.4 psi<0.6 class=3": lambda benign, now: now["label"] == 3 and 0.4 < now["psi_conv1"] < 0.6,
}


@pytest.mark.parametrize("text", FITS)
def test_a_filter_chooses_what_its_words_say(run, index, text):
    assert images(index, text) == rows_where(run, FITS[text])


def test_every_word_and_every_quantity_is_among_the_tested_ones():
    words = " ".join(FITS).lower()
    assert all(word in words for word in [*WORDS, *QUANTITIES])


@pytest.mark.parametrize("text", ["400", "9" * 30, "9" * 300, "class=99", "psi>2", "17 18", "flipped resisted"])
def test_a_filter_may_fit_nothing(index, text):
    assert images(index, text) == []


def test_outcomes_are_the_words_that_choose_them(index):
    for number, outcome in enumerate(OUTCOMES):
        assert images(index, outcome) == index.image[index.values("outcome") == number].tolist()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kep", "filter: there is no 'kep'; did you mean 'kept'?"),
        ("foold", "filter: there is no 'foold'; did you mean 'fooled'?"),
        ("shfit>0.1", "filter: there is no 'shfit'; did you mean 'shift'?"),
        ("psi_conv9>0.1", "filter: there is no 'psi_conv9'; did you mean 'psi_conv2'?"),
        ("class", "filter: class is compared with something; write class=3"),
        ("shift", "filter: shift is compared with something; write shift>0.01"),
        ("psi>", "filter: '' after psi is no number; write psi>0.9"),
        ("psi>high", "filter: 'high' after psi is no number; write psi>0.9"),
        ("psi>nan", "filter: 'nan' after psi is no number; write psi>0.9"),
        ("class=seven", "filter: 'seven' after class is no number; write class=3"),
        ("psi>0.1>0.2", "filter: '0.1>0.2' after psi is no number; write psi>0.9"),
        ("???", "filter: there is no '???'; write fooled, class=3, psi>0.93, to=5"),
        (">0.5", "filter: there is no ''; write one of class, from, to, psi, shift"),
        ("outcome=1", "filter: there is no 'outcome'; write one of"),
    ],
)
def test_a_wrong_word_is_answered_with_what_to_write(index, text, told):
    with pytest.raises(ConfigError) as error:
        index.filtered(text)
    assert str(error.value).startswith(told)


@given(st.text() | st.lists(st.sampled_from([*FITS, ">", "=", "<=", "psi", "nan", "1e400", "-", "."])).map(" ".join))
def test_whatever_is_typed_is_a_filter_or_one_sentence(index, text):
    try:
        assert len(index.filtered(text)) <= len(index.image)
    except ConfigError as error:
        assert str(error).startswith("filter: ")


def test_classes_may_be_named(tmp_path, monkeypatch):
    real = recorded.record_model
    monkeypatch.setattr(
        recorded, "record_model", lambda path, card: real(path, {**card, "class_names": ["cat", "Dog", "1"]})
    )
    index = ImageIndex.of(Run(record_run(tmp_path)), CONDITION)
    assert images(index, "class=dog") == images(index, "class=1") != []
    assert images(index, "to=CAT") == images(index, "to=0") != []
    assert images(index, "class=1") == index.image[index.label == 1].tolist()  # As the table shows it.


def test_labels_that_are_predictions_are_changed_or_kept(tmp_path):
    directory = record_run(tmp_path, images=80, labels="predicted", model="torchvision:alexnet", weights="imagenet")
    run = load_run(directory)
    index = ImageIndex.of(run, CONDITION)
    row = next(row for row in table_rows(run, "conditions") if row["condition"] == CONDITION)
    before = len(index.filtered("psi<2").places[index.prediction[0] == index.label])
    assert len(index.filtered("flipped")) == round(row["success_percent"] / 100 * before)
    assert not index.has_true_labels
    for word in ("correct", "wrong", "righted"):
        with pytest.raises(ConfigError, match=f"no true labels, so no image is {word}; write fooled or kept"):
            index.filtered(word)
    assert len(index.filtered("changed")) + len(index.filtered("kept")) == 80


@pytest.mark.parametrize("descending", [False, True])
def test_sorting_is_stable_and_puts_silent_images_last(index, descending):
    for column in index.columns:
        for text in ("", "class!=3 psi>0.4"):
            view = index.filtered(text)
            values = index.values(column).tolist()

            def key(place, values=values):
                value = values[place]
                return (True, 0) if math.isnan(value) else (False, -value if descending else value)

            expected = sorted(view.places.tolist(), key=key)
            assert view.sorted_by(column, descending).places.tolist() == expected


def test_sorting_twice_keeps_the_first_order_among_equals(index):
    view = index.filtered("").sorted_by("shift").sorted_by("label")
    rows = [(int(index.label[place]), float(index.values("shift")[place])) for place in view.places]
    assert rows == sorted(rows)


def test_a_view_knows_where_an_image_is(index):
    view = index.filtered("flipped").sorted_by("shift", descending=True)
    for row, place in enumerate(view.places.tolist()):
        assert view.row_of(int(index.image[place])) == row
    assert view.row_of(images(index, "resisted")[0]) is None
    assert (len(view), view.total) == (len(images(index, "flipped")), 300)


def test_unknown_names_are_refused(run, index):
    with pytest.raises(RunError, match=r"did you mean 'fgsm@0\.03'"):
        ImageIndex.of(run, "fgms@0.03")
    with pytest.raises(RunError, match="did you mean 'conv2'"):
        index.with_layer("conv8")
    with pytest.raises(ConfigError, match="did you mean 'shift'"):
        index.values("shfit")
    for column in ("psi", "shift_conv9", "psi_", ""):
        with pytest.raises(ConfigError):
            index.values(column)


def test_a_run_without_results_says_so(tmp_path):
    with pytest.raises(RunError, match="no results yet"):
        ImageIndex.of(Run(record_run(tmp_path, chunks=())), CONDITION)


def test_a_growing_run_shows_what_is_there(tmp_path):
    index = ImageIndex.of(Run(record_run(tmp_path, images=60, chunk=20, chunks=(0, 2))), CONDITION)
    assert index.image.tolist() == [*range(20), *range(40, 60)]
    assert images(index, "40") == [40]
    assert index.filtered("").row_of(40) == 20


def test_ten_thousand_images_filter_and_sort_in_milliseconds(tmp_path: Path):
    index = ImageIndex.of(Run(record_run(tmp_path, images=10_000, chunk=500)), CONDITION)
    before = time.process_time()
    assert 0 < len(index.filtered("flipped psi>0.4 shift>0 class!=3").sorted_by("shift", descending=True)) < 10_000
    assert time.process_time() - before < 0.1
