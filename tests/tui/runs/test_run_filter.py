"""Words that choose runs: fields, comparisons, numbers as they are written, and plain words."""

import pytest

from psi_core.errors import ConfigError
from psi_core.runs.finding import list_runs
from psi_core.runs.labels import Label, write_label
from psi_core.tables.summary import run_summary
from psi_tui.runs.run_filter import run_filter
from psi_tui.runs.run_list import RunList
from tests.recorded import record_run

WORDS = {
    "": "one two three",
    "two": "two",
    "lenet": "one three",
    "model=lenet5": "one three",
    "model:net": "one two three",
    "model!=lenet5": "two",
    "MODEL = LeNet5": "one three",
    "attack=pgd": "three",
    "attack:gd": "three",
    "attack:gsm": "one two",
    "eps>0.03": "two three",
    "epsilon >= 0.1": "two",
    "eps=8/255": "three",
    "eps!=0.03": "three",
    "eps=0": "",
    "eps=0.031": "",
    "eps!=0.1": "one three",
    "accuracy!=150": "one two three",
    "images=60": "one three",
    "tag:pap": "one two",
    "tags=paper": "one two",
    "tag=pap": "",
    "tag!=draft": "one three",
    "TAG=Draft tag:paper": "two",
    "note:noise": "one",
    "depends": "one",
    "eps<0.0314": "one two three",
    "status:done": "one three",
    "status=done": "one three",
    "status:sto": "",
    "images>50": "one three",
    "done<30": "two",
    "accuracy>=0": "one two",
    "accuracy>0 accuracy<100": "one two",
    "beyond>0.2": "one",
    "shift>0.04": "one",
    "status:done eps>0.03": "three",
    "seven:of=nine": "",
    "status:": "one two three",
}


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    record_run(folder, name="one")
    record_run(folder, name="two", model="alexnet", epsilon="0.03,0.1", images=25, finished=False, shift=0.0)
    record_run(folder, name="three", attack="pgd", epsilon="8/255", labels="predicted", shift=0.0)
    for run in list_runs(folder, examples=False):
        if run.name != "three":
            tags = ("paper", "Draft") if run.name == "two" else ("Paper",)
            write_label(run.directory, Label(tags=tags, note="conv1 depends on the noise" if run.name == "one" else ""))
    runs = RunList(folder)
    deadline = 100
    found = runs.poll()
    while deadline and not all(entry.summary for entry in found if not entry.is_example):
        found, deadline = runs.poll(), deadline - 1
    return [entry for entry in found if not entry.is_example]


@pytest.mark.parametrize(("text", "names"), WORDS.items())
def test_words_choose_runs(entries, text, names):
    fits = run_filter(text)
    assert {entry.name for entry in entries if fits(entry)} == set(names.split())


def test_numbers_are_those_of_the_list(entries):
    for entry in entries:
        assert run_filter("beyond>-9")(entry) == (entry.summary.delta_sd is not None)
        assert entry.summary.delta_sd == run_summary_of(entry).delta_sd


@pytest.mark.parametrize(
    "text", ["eps{}0.03", "attack{}fgsm", "images{}60", "tag{}paper", "accuracy{}80", "beyond{}1", "shift{}0.05"]
)
def test_all_others_are_not_equal(entries, text):
    equal, others = run_filter(text.format("=")), run_filter(text.format("!="))
    assert all(equal(entry) != others(entry) for entry in entries)


def test_what_was_measured_equals_as_far_as_it_is_written(entries):
    entry = next(entry for entry in entries if entry.name == "one")
    accuracy = entry.summary.accuracy_percent
    assert accuracy != round(accuracy)
    for text, is_equal in ((f"{accuracy:.0f}", True), (f"{accuracy:.1f}%", True), (f"{accuracy + 1:.0f}", False)):
        assert run_filter(f"accuracy={text}")(entry) == is_equal


def run_summary_of(entry):
    from psi_core.runs.run import Run

    return run_summary(Run(entry.directory))


@pytest.mark.parametrize(
    ("text", "sentence"),
    {
        "modl=lenet5": "did you mean 'model'",
        "epsi>0.1": "filter",
        "eps>much": "'much'",
        "model<3": "is a word",
        "accuracy>x": "no number",
    }.items(),
)
def test_words_that_mean_nothing_are_refused(text, sentence):
    with pytest.raises(ConfigError, match=sentence):
        run_filter(text)
