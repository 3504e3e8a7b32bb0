"""Deleting removes what a run has written, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest

from psi_core import Run
from psi_core.errors import RunError
from psi_core.runs.deletion import delete_run, foreign_files, require_deletable
from psi_core.runs.trash import put_in_trash
from tests.recorded import record_run


@pytest.fixture
def run(tmp_path):
    directory = record_run(tmp_path / "runs", images=20, chunk=10)
    (directory / "stop").touch()
    (directory / "chunks" / "00001.npz.123.tmp").touch()
    return directory


def test_a_run_is_removed_whole(run):
    assert foreign_files(run) == []
    assert delete_run(run) == []
    assert list(run.parent.iterdir()) == []


def test_what_no_run_writes_stays_and_is_named(run):
    (run / "thesis.tex").write_text("years")
    (run / "figures").mkdir()
    (run / "chunks" / "notes.txt").write_text("mine")
    assert delete_run(run) == ["chunks/notes.txt", "figures/", "thesis.tex"]
    left = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
    assert left == ["chunks", "chunks/notes.txt", "figures", "thesis.tex"]


@pytest.mark.parametrize("link", ["chunks", "engine-0.log"])
def test_links_are_unlinked_and_never_followed(run, tmp_path, link):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "00000.npz").write_text("other data")
    shutil.rmtree(run / link, ignore_errors=True)
    (run / link).unlink(missing_ok=True)
    (run / link).symlink_to(precious if link == "chunks" else precious / "00000.npz")
    delete_run(run)
    assert (precious / "00000.npz").read_text() == "other data"


def test_a_directory_of_another_name_is_no_run_directory(run, tmp_path):
    project = tmp_path / "project"
    project.mkdir()
    shutil.copy(run / "config.json", project)
    (project / "main.py").write_text("code")
    for remove in (require_deletable, delete_run, put_in_trash):
        with pytest.raises(RunError, match="not named as its run"):
            remove(project)
    assert (project / "main.py").exists()


def test_of_a_link_to_a_run_the_link_goes(run, tmp_path):
    link = tmp_path / run.name
    link.symlink_to(run)
    assert delete_run(link) == []
    assert not link.is_symlink()
    assert (run / "config.json").exists()


def test_a_delete_that_fails_leaves_the_run_where_it_was(run, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with pytest.raises(RunError, match="Operation not permitted"):
        delete_run(run)
    assert json.loads((run / "config.json").read_text())["id"] == run.name


def test_a_file_that_appears_meanwhile_leaves_a_run_that_can_be_read(run, monkeypatch):
    rmdir = Path.rmdir

    def crowded(path):
        if path.name == f".{run.name}.deleted":
            (path / "appeared").touch()
        rmdir(path)

    monkeypatch.setattr(Path, "rmdir", crowded)
    with pytest.raises(RunError, match="cannot be deleted whole"):
        delete_run(run)
    assert Run(run).id == run.name
    assert (run / "appeared").exists()


def test_the_trash_takes_nothing_that_is_not_a_runs(run):
    (run / "thesis.tex").write_text("years")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        put_in_trash(run)
    assert (run / "thesis.tex").exists()
