"""Every kind of wrong use: exit code 2, one sentence on standard error, nothing on standard output."""

import pytest

from tests.recorded import record_run

WRONG = {
    "unknown command": (["rnus"], "'runs'"),
    "unknown option": (["show", "mine", "--tabel", "x"], "'--table'"),
    "unknown run option": (["run", "--epsilo", "0.1"], "'--epsilon'"),
    "missing run": (["show"], "RUN"),
    "too much": (["show", "mine", "mine"], "show --help"),
    "unknown run": (["show", "mnie"], "'mine'"),
    "ambiguous run": (["show", "2"], "write one id"),
    "unknown table": (["show", "mine", "--table", "layer"], "'layers'"),
    "unknown layer": (["show", "mine", "--plot", "conv9"], "conv"),
    "unknown condition": (["show", "mine", "--plot", "conv1", "--condition", "fgsm"], "fgsm@0.03"),
    "unknown subset": (["show", "mine", "--subset", "fooledd"], "'fooled'"),
    "subset elsewhere": (["show", "mine", "--table", "classes", "--subset", "fooled"], "--subset"),
    "unknown measure": (["show", "mine", "--measure", "hoier"], "'hoyer'"),
    "measure not taken": (["show", "mine", "--plot", "conv1", "--measure", "kurtosis"], "hoyer, no kurtosis"),
    "measure elsewhere": (["show", "mine", "--table", "classes", "--measure", "hoyer"], "layers or histogram"),
    "export of a measure not taken": (["export", "mine", "--to", "x", "--measure", "n_eff,gini"], "no gini"),
    "no number": (["show", "mine", "--bins", "many"], "--bins"),
    "too few bins": (["show", "mine", "--bins", "0"], "1 to 1000"),
    "plot and table": (["show", "mine", "--plot", "conv1", "--table", "classes"], "one of them"),
    "no results": (["show", "empty"], "no results yet"),
    "no results to plot": (["show", "empty", "--plot", "conv1"], "no results yet"),
    "unknown format to show": (["show", "mine", "--format", "markdwn"], "write one of csv, json, md, tex"),
    "two formats": (["show", "mine", "--json", "--format", "md"], "one of them"),
    "unknown format": (["export", "mine", "--to", "x", "--format", "cvs"], "'csv'"),
    "unknown table to export": (["export", "mine", "--to", "x", "--tables", "layer"], "'layers'"),
    "export to nowhere": (["export", "mine", "--to", "/dev/null/x"], "--to"),
    "no spec": (["run", "no.toml"], "no.toml"),
    "unknown preset": (["run", "--preset", "study-imagnet"], "'study-imagenet'"),
    "negative epsilon": (["run", "--epsilon", "-0.1,0.03"], "-0.1 lies outside 0 to 1"),
    "epsilon in levels": (["run", "--epsilon", "8"], "8/255"),
    "unknown model": (["run", "--model", "alexnt"], "'alexnet'"),
    "no images": (["run", "--images", "0"], "images"),
    "unknown split": (["run", "--split", "tests"], "'test'"),
    "stop of a finished run": (["stop", "mine"], "done, not running"),
    "stop of a stranger": (["stop", "mnie"], "'mine'"),
    "delete unasked": (["delete", "mine"], "--yes"),
    "resume of a stranger": (["resume", "mnie"], "'mine'"),
    "fit of nothing": (["fit"], "--model"),
    "no run": (["show"], "RUN is missing (a name, an id, a folder, or latest; psi-tui runs lists them)"),
    "nowhere": (["export", "mine"], "--to is missing: folder to write into"),
    "help": (["help"], "write psi-tui --help"),
    "option before the command": (["--runs-dir", "x", "runs"], "write psi-tui runs --runs-dir ...\n"),
    "half an option": (["run", "--eps", "0.1"], "did you mean '--epsilon'?"),
}


@pytest.mark.parametrize(("arguments", "hint"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_sentence_and_exit_code_2(psi, own_folders, arguments, hint):
    record_run(own_folders, name="mine")
    record_run(own_folders, name="empty", chunks=[])
    outcome = psi(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("psi-tui: ")
    assert outcome.err.count("\n") == 1
    assert hint in outcome.err


def test_a_wrong_spec_names_the_key(psi, tmp_path):
    (tmp_path / "spec.toml").write_text("epsilonn = 0.1\n")
    outcome = psi("run", tmp_path / "spec.toml")
    assert outcome.code == 2
    assert "'epsilon'" in outcome.err


def test_nothing_was_deleted_or_made(psi, own_folders):
    record_run(own_folders, name="mine")
    before = sorted(own_folders.iterdir())
    psi("delete", "mine")
    psi("run", "--epsilon", "-1")
    assert sorted(own_folders.iterdir()) == before


COMMANDS = {
    "show": ["show", "PATH"],
    "spec": ["run", "PATH.toml"],
    "plan": ["run", "--plan", "--runs-dir", "PATH", "--model", "PATH.py"],
    "report": ["report", "mine", "--to", "PATH.html"],
    "plot": ["show", "mine", "--plot", "conv1", "--to", "PATH.svg"],
    "export": ["export", "mine", "--to", "PATH"],
    "ablate": ["ablate", "--layer", "conv2", "--to", "PATH.csv"],
}


@pytest.mark.parametrize("path", ["n" * 300, "no/" * 2000 + "n", "~nobody-of-that-name/n", "/dev/null/n"])
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_path_that_no_system_takes_is_wrong_use(psi, own_folders, monkeypatch, tmp_path, arguments, path):
    monkeypatch.chdir(tmp_path)
    record_run(own_folders, name="mine")
    (tmp_path / "~nobody-of-that-name").touch()
    outcome = psi(*(word.replace("PATH", path) for word in arguments))
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("psi-tui: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("text", ["seed = " + "9" * 5000, "seed = " + "[" * 100_000, "\xff", "#" * 1_100_000])
def test_a_spec_that_is_no_toml_is_wrong_use(psi, tmp_path, text):
    (tmp_path / "spec.toml").write_bytes(text.encode("latin-1"))
    outcome = psi("run", tmp_path / "spec.toml")
    assert outcome.code == 2
    assert "not a TOML file" in outcome.err
