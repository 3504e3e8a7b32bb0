"""Odd places: a full disk behind standard output, closed streams, a current folder that is gone, warnings as errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from psi_core.engine.images.folders import load_folder
from psi_core.engine.models.factories import find_factory
from psi_core.errors import DataError, ModelError
from psi_core.runs.event_log import EventLog, events_path
from psi_core.runs.events import Started
from psi_core.runs.run import Run
from psi_core.runs.status import STOP_FILE
from psi_tui.commands.doctor import _folder
from tests.recorded import record_run


def shell(command, **options):
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "psi": f"{sys.executable} -m psi_tui"}
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=here, **options)


@pytest.mark.parametrize("command", ["show mine", "runs --json"])
def test_a_full_disk_behind_standard_output_is_one_sentence(own_folders, command):
    record_run(own_folders, name="mine")
    told = shell(f"$psi {command} > /dev/full")
    assert told.returncode == 1
    assert (
        told.stderr
        == "psi-tui: output: cannot be written (No space left on device); free its disk, or send it elsewhere\n"
    )


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "2>/dev/full", "<&-"])
def test_closed_streams_end_in_no_traceback(own_folders, streams):
    record_run(own_folders, name="mine")
    told = shell(f"$psi runs {streams}")
    assert told.returncode == 0
    assert "Traceback" not in told.stderr + told.stdout


@pytest.mark.parametrize("command", ["show mine", "verify mine", "export mine --to out"])
def test_what_is_written_is_the_same_where_nobody_listens_to_narration(own_folders, tmp_path, command):
    record_run(own_folders, name="mine")
    (tmp_path / "elsewhere").mkdir()
    heard = shell(f"$psi {command}", cwd=tmp_path)
    unheard = shell(f"$psi {command} 2>&- <&-", cwd=tmp_path / "elsewhere")
    assert (unheard.returncode, unheard.stdout) == (heard.returncode, heard.stdout)
    assert heard.stdout
    for path in (tmp_path / "out").glob("*.csv"):
        assert (tmp_path / "elsewhere" / "out" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "command", ["--help > /dev/full", "show --help > /dev/full", "run --slurm", "runs --runs-dir x"]
)
def test_what_the_system_refuses_where_nobody_expects_it_is_one_sentence(own_folders, tmp_path, command):
    (tmp_path / "gone").mkdir()
    told = shell(f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && $psi {command}")
    assert told.returncode == 1
    assert told.stderr.startswith("psi-tui: ")
    assert told.stderr.count("\n") == 1


@pytest.mark.parametrize("columns", ["0", "", "00"])
def test_a_width_of_nothing_is_none(own_folders, columns):
    record_run(own_folders, name="mine")
    assert "mine" in shell(f"COLUMNS={columns} $psi runs").stdout


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("ulimit -v 500000; $psi layers lenet5", "engine: cannot be loaded"),
        ("ulimit -n 8; $psi layers lenet5", "lets no more be open at once"),
    ],
)
def test_a_machine_that_grants_too_little_is_told_in_a_sentence(own_folders, command, sentence):
    told = shell(command)
    assert told.returncode == 1
    assert sentence in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_run_of_the_engine_in_a_folder_that_is_gone(own_folders, tmp_path):
    (tmp_path / "gone").mkdir()
    command = f"cd {tmp_path}/gone && rmdir {tmp_path}/gone && $psi run --images 8 --weights random --quiet"
    told = shell(command.replace("$psi run", f"{sys.executable} -W error -m psi_tui run"))
    assert told.returncode == 0, told.stderr
    assert "Warning" not in told.stderr
    (directory,) = (path for path in own_folders.iterdir() if not path.name.startswith("."))
    assert Run(directory).status == "done"


def test_a_queued_run_can_be_stopped_before_its_engine_has_begun(psi, own_folders):
    directory = record_run(own_folders, name="mine", chunks=[])
    events_path(directory, 0).unlink()
    assert Run(directory).status == "queued"
    assert psi("stop", "mine").code == 0
    assert (directory / STOP_FILE).exists()
    assert Run(directory).status == "stopped"
    EventLog(events_path(directory, 0)).write(Started())


@pytest.mark.parametrize("option", [("--threads", "100000"), ("--size", "100000"), ("--resize", "9999999")])
def test_options_that_no_machine_has_room_for_are_refused_at_once(psi, option):
    told = psi("run", *option, "--plan")
    assert told.code == 2
    assert option[0].removeprefix("--") in told.err


def test_a_folder_in_which_something_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "cats").mkdir()

    def refuse(_path):
        raise PermissionError(13, "Permission denied", "/somebody/else")

    monkeypatch.setattr("psi_core.engine.images.folders.pictures_below", refuse)
    with pytest.raises(DataError, match=r"/somebody/else cannot be read \(Permission denied\)"):
        load_folder("folder:x", tmp_path, "test", None)


def test_one_run_whose_results_nobody_may_see_leaves_the_others_in_the_list(psi, own_folders, monkeypatch):
    record_run(own_folders, name="mine")
    closed = record_run(own_folders, name="closed")
    look = Path.iterdir

    def refuse(path):
        if path == closed / "chunks":
            raise PermissionError(13, "Permission denied")
        return look(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for option in ((), ("--json",)):
        told = psi("runs", *option)
        assert told.code == 0
        assert "mine" in told.out
        assert f"damaged: {closed}/chunks: cannot be read (Permission denied)" in told.err


def test_a_folder_that_no_system_takes_is_told_by_doctor_and_a_model_that_is_no_file_by_its_name(tmp_path):
    assert "cannot be looked into: File name too long" in _folder(tmp_path / ("n" * 300))
    (tmp_path / "model.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("psi_core.engine.models.factories.open_file", _refused)
        with pytest.raises(ModelError, match=r"model.py cannot be read \(Permission denied\); check who owns it"):
            find_factory(f"{tmp_path}/model.py:made")


def _refused(_path):
    raise PermissionError(13, "Permission denied")
