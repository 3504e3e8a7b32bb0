"""How a run is found: path, id, unique name, unique prefix, end of an id, `latest`; shipped examples by name alone."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from psi_core.errors import PsiError, RunError
from psi_core.runs.finding import find_run, list_runs, load_run
from psi_core.runs.run import Run
from tests.recorded import record_run


@pytest.fixture
def runs(own_folders):
    return own_folders


@pytest.fixture
def examples(tmp_path, monkeypatch):
    monkeypatch.setattr("psi_core.files.PACKAGE_DATA", tmp_path / "package")
    return tmp_path / "package" / "examples"


def backdate(directory, created):
    path = directory / "config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**values, "created": created}), encoding="utf-8")


def test_a_run_is_found_by_the_first_that_fits(runs, tmp_path, monkeypatch):
    older, newer = record_run(runs, name="older"), record_run(runs, name="newer")
    backdate(older, "2025-01-01T12:00:00+00:00")
    assert (
        find_run(older) == find_run(str(older)) == find_run(older.name) == find_run("older") == find_run("ol") == older
    )
    assert find_run("latest") == newer
    assert find_run(newer.name, runs_dir=str(runs)) == newer
    # An id beats a name, a name beats a prefix, a path beats them all.
    named_so = record_run(runs, name=older.name)
    assert find_run(older.name) == older
    assert find_run(named_so) == named_so
    record_run(runs, name="older still")
    assert find_run("older") == older
    monkeypatch.chdir(tmp_path)
    shutil.copytree(newer, tmp_path / "older")
    assert find_run("older") == tmp_path / "older"


def test_the_end_of_an_id_that_a_narrow_list_shows_finds_its_run(runs):
    first, second = record_run(runs), record_run(runs)
    assert find_run(first.name[-6:]) == first
    assert find_run(second.name[-13:]) == second
    with pytest.raises(RunError, match="run: "):
        find_run(first.name[-5:])


def test_ambiguous_names_and_prefixes_are_refused_with_the_ids(runs):
    twins = [record_run(runs, name="twin") for _ in range(2)]
    for text in ("twin", "tw"):
        with pytest.raises(RunError, match=r"fits 2 runs .*; write one id") as caught:
            find_run(text)
        assert all(twin.name in str(caught.value) for twin in twins)


def test_a_copy_beside_the_original_is_ambiguous_by_id_and_found_by_path(runs):
    original = record_run(runs)
    copy = shutil.copytree(original, runs / "copy")
    with pytest.raises(RunError, match="or a path"):
        find_run(original.name)
    assert find_run(copy) == copy


def test_latest_is_by_creation_across_time_zones(runs):
    first, second = record_run(runs), record_run(runs)
    backdate(first, "2025-10-26T02:30:00+02:00")
    backdate(second, "2025-10-26T02:10:00+01:00")
    assert find_run("latest") == second
    assert [run.directory for run in list_runs(examples=False)] == [second, first]


def test_no_name_hides_the_latest(runs):
    hiding = record_run(runs, name="latest-try")
    backdate(hiding, "2025-01-01T12:00:00+00:00")
    newest = record_run(runs)
    assert find_run("latest") == newest


@pytest.mark.parametrize("text", ["latest", "anything", ""])
def test_without_runs_the_way_out_is_to_start_one(text, runs, examples):
    with pytest.raises(RunError, match="start one with psi-tui run"):
        find_run(text)


@pytest.mark.parametrize("text", ["", "x" * 5000, "~nobody-of-this-name", "a\0b", "/proc/1/fd", "no/such/path"])
def test_what_is_no_run_is_refused_in_one_sentence(text, runs):
    record_run(runs, name="only")
    with pytest.raises(RunError, match=r"run: (there is no|/proc/1/fd is a folder)"):
        find_run(text)


def test_a_path_that_is_no_run_s_is_told_what_it_is(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = record_run(runs, name="only")
    (tmp_path / "file.txt").touch()
    (tmp_path / "empty").mkdir()
    wrong = {
        "file.txt": "run: file.txt is a file; write a run's folder, id or name; psi-tui runs lists them",
        "empty": "run: empty is a folder without a run in it; write a run's folder",
        str(runs): f"run: {runs} is a folder of runs; write one of them, such as {directory}; psi-tui runs --runs-dir",
        f"./{runs.name}/{directory.name}x": f"did you mean {runs.name}/{directory.name}?",
        "nowhere/else": "run: there is no folder nowhere/else; write a run's folder, id or name",
    }
    for text, words in wrong.items():
        with pytest.raises(RunError) as refused:
            find_run(text, runs)
        assert words in str(refused.value)


def test_a_folder_that_lets_nobody_in_is_told(runs, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    record_run(runs, name="only")
    (tmp_path / "locked").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_dir", refuse)
        with pytest.raises(RunError, match=r"locked cannot be looked into \(Permission denied\); check who owns it"):
            find_run(tmp_path / "locked", runs)


def test_a_damaged_run_is_found_by_its_id_and_says_what_is_wrong(runs):
    directory = record_run(runs, name="mine")
    (directory / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"config\.json: cannot be read"):
        load_run(directory.name, runs)


def test_a_misspelt_name_is_answered_with_the_nearest(runs):
    record_run(runs, name="alexnet-full")
    with pytest.raises(RunError, match="did you mean 'alexnet-full'"):
        find_run("alexnt-full")


def test_examples_are_found_by_name_only(runs, examples):
    example = record_run(examples, name="digits")
    assert find_run("digits") == example
    assert load_run("digits").is_example
    assert load_run(examples / ".." / "examples" / example.name).is_example
    for text in ("latest", "dig", example.name):
        with pytest.raises(RunError):
            find_run(text)
    own = record_run(runs)
    backdate(own, "2001-01-01T12:00:00+00:00")
    assert find_run("latest") == own
    assert [run.directory for run in list_runs()] == [own, example]
    assert [run.directory for run in list_runs(examples=False)] == [own]
    assert not load_run(own).is_example


def test_a_runs_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"runs-dir: .* cannot be read"):
        list_runs(tmp_path / "file")
    assert list_runs(tmp_path / "missing", examples=False) == []


def test_runs_lie_where_they_were_told_to(tmp_path, runs, monkeypatch):
    there = record_run(tmp_path / "elsewhere")
    here = record_run(runs)
    assert find_run("latest") == here
    assert find_run("latest", tmp_path / "elsewhere") == there
    monkeypatch.setenv("PSI_RUNS_DIR", os.fspath(tmp_path / "elsewhere"))
    assert find_run("latest") == there
    monkeypatch.setenv("PSI_RUNS_DIR", "")
    users = record_run(tmp_path / "data" / "psi-tui" / "runs")
    assert find_run("latest") == users
    assert datetime.fromisoformat(load_run(users).created).tzinfo is not None


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [((None,), "run: None is no text"), ((b"latest",), "run: b'latest' is no text"), ((7,), "run: 7 is no text")]
    + [(("latest", folder), "runs-dir: .* is no path") for folder in (7, "a\0")],
)
def test_what_is_neither_text_nor_path_is_refused(runs, wrong, sentence):
    with pytest.raises(PsiError, match=sentence):
        load_run(*wrong)


def test_a_run_is_read_by_its_path_as_text_too(runs):
    directory = record_run(runs)
    assert Run(str(directory)).layers == Run(directory).layers
