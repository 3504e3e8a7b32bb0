"""The command as a real process, and real runs of LeNet-5 through the real engine."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from psi_core.runs.finding import load_run
from tests.recorded import record_run

COMMAND = Path(sys.executable).with_name("psi-tui")
SMALL = ("--weights", "random", "--device", "cpu", "--images", "200", "--chunk", "100", "--threads", "1")
SLOW = ("--attack", "pgd", "--steps", "40")  # Minutes of work, so that a busy machine does not miss it.


def psi_tui(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # Files, not pipes: a detached run outlives the command, and nothing that it holds open may keep us waiting.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        done = subprocess.run(
            [COMMAND, *arguments], stdout=out, stderr=err, env={**os.environ, **environment}, check=False, timeout=200
        )
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, out.read(), err.read())


@pytest.mark.parametrize("arguments", [["runs"], ["show", "mine"], ["export", "mine", "--to", "out"], ["--help"]])
def test_readers_load_neither_torch_nor_the_app(own_folders, tmp_path, arguments):
    record_run(own_folders, name="mine")
    code = (
        "import sys; from psi_tui.cli import main; code = main(sys.argv[1:]);"
        "print([name for name in ('torch', 'textual', 'plotext', 'psi_core.engine') if name in sys.modules],"
        "file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=tmp_path, check=True, timeout=60
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_listing_runs_does_not_load_scipy(own_folders):
    record_run(own_folders)
    code = "import sys; from psi_tui.cli import main; main(['runs']); sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(("arguments", "instead"), [([], "psi-tui runs"), (["open", "mine"], "psi-tui show ")])
@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
def test_without_a_terminal_the_app_names_the_plain_command(own_folders, arguments, instead, term):
    record_run(own_folders, name="mine")
    done = psi_tui(*arguments, TERM=term)
    assert (done.returncode, done.stdout) == (2, "")
    assert instead in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"PYTHONIOENCODING": "ascii"}])
def test_poor_terminals_are_served(own_folders, environment):
    record_run(own_folders)
    for arguments in (["show", "latest"], ["show", "latest", "--plot", "conv1"]):
        done = psi_tui(*arguments, **environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout


def test_a_stream_that_lacks_our_signs_gets_what_is_alike(own_folders):
    for name in ("one", "two"):
        record_run(own_folders, name=name)
    arguments = ("compare", "one", "two")
    signs, alike = (psi_tui(*arguments, PYTHONIOENCODING=encoding).stdout for encoding in ("utf-8", "ascii"))
    assert alike == signs.translate(str.maketrans("→▲▼±·", ">^v~."))
    assert "▲" in signs


def test_a_reader_that_has_seen_enough_is_no_error(own_folders):
    record_run(own_folders, images=400, chunk=200)
    for json_option in ([], ["--json"]):
        command = [COMMAND, "show", "latest", "--table", "images", *json_option]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as shown:
            shown.stdout.close()
            assert shown.stderr.read() == b""
        assert shown.returncode == 0


def test_completion_offers_commands():
    done = psi_tui(_PSI_TUI_COMPLETE="bash_complete", COMP_WORDS="psi-tui ru", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,run", "plain,runs"]


def test_a_real_run_from_start_to_export(psi, tmp_path):
    done = psi_tui("run", *SMALL, "--name", "real")
    assert done.returncode == 0, done.stderr
    run = load_run("real")
    assert run.status == "done"
    assert done.stdout == psi_tui("show", "real").stdout
    assert all(layer in done.stdout for layer in ("conv1", "conv2", "fc1", "fc2"))
    assert psi("export", "real", "--to", tmp_path / "out").code == 0
    assert "done: 200 images" in done.stderr


def test_a_detached_run_can_be_stopped_and_resumed(psi):
    done = psi_tui("run", *SMALL, "--images", "6000", "--chunk", "50", *SLOW, "--detach")
    directory = Path(done.stdout.strip())
    assert directory.is_dir(), done.stderr
    deadline = time.monotonic() + 60
    while not list((directory / "chunks").glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert psi("resume", directory.name).code == 2
    assert psi("delete", directory.name, "--yes").code == 2
    assert psi("stop", directory.name).code == 0
    assert psi_tui("watch", directory.name).returncode == 130
    assert load_run(directory).status == "stopped"
    assert psi("delete", directory.name, "--yes").code == 0
    assert not directory.exists()


def test_a_run_outside_the_runs_directory_is_deleted_by_force_alone(psi, own_folders, tmp_path):
    directory = record_run(tmp_path / "elsewhere")
    refused = psi("delete", directory, "--yes")
    assert refused.code == 2
    assert "add --force" in refused.err
    assert directory.is_dir()
    assert psi("delete", directory, "--yes", "--force").code == 0
    assert not directory.exists()


def test_a_detached_run_lets_go_of_every_pipe():
    command = [COMMAND, "run", *SMALL, "--images", "9000", "--chunk", "50", *SLOW, "--detach"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as started:
        path, _ = started.communicate(timeout=100)  # Comes back only when nobody holds the pipes any more.
    assert load_run(path.strip()).status == "running"
    assert psi_tui("stop", path.strip()).returncode == 0
    assert psi_tui("watch", path.strip()).returncode == 130


def test_the_real_engine_answers(own_folders):
    layers = json.loads(psi_tui("layers", "lenet5", "--json").stdout)
    assert [layer["name"] for layer in layers if layer["default"]] == ["conv1", "conv2", "fc1", "fc2"]
    plan = psi_tui("run", "--plan", *SMALL)
    assert "conv1, conv2, fc1, fc2" in plan.stdout
    refused = psi_tui("run", "--layers", "conv9", *SMALL)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("psi-tui: ")
    assert not own_folders.exists() or not list(own_folders.iterdir())


def test_it_is_a_module_too():
    done = subprocess.run([sys.executable, "-m", "psi_tui", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("psi-tui ")
