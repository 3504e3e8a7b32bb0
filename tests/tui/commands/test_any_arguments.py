"""Any arguments of any command: an answer or one sentence, an exit code that is documented, never a traceback."""

import os
import shutil
import subprocess

import pytest
import rich_click as click
from hypothesis import given, settings
from hypothesis import strategies as st

from psi_tui.cli import _MODULES, commands, main
from psi_tui.engine import client
from tests.recorded import record_run

EXAMPLES = [150, pytest.param(10_000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])]
"""How many command lines are tried."""

CODES = (0, 1, 2, 130)

WORDS = (
    *("mine", "lost", "damaged", "latest", "example-alexnet", "nowhere", ".", "..", "-1", "0", "1", "7", "1e9", "nan"),
    *("layers", "images", "evidence", "study", "csv", "md", "tex", "json", "conv1", "fc1", "psi", "hoyer", "benign"),
    *("fgsm", "0.03", "8/255", "lenet5", "mnist", "cpu", "auto", "none", "out", "out.html", "all", "fooled", "x" * 300),
    *("", " ", "-", "--", "=", "[red]", "\x1b[31m", "größe", "\ud800", "\n", "a\tb", "*", "'", "run", "--help"),
)


def options_of(name):
    """Every option of a command, as it is typed."""
    command = commands.get_command(click.Context(commands), name)
    return sorted({flag for parameter in command.params for flag in parameter.opts if flag.startswith("-")})


OPTIONS = {name: options_of(name) for name in _MODULES}

free = st.text(st.characters(exclude_characters="/~\0", exclude_categories=["Cs"]), max_size=6)
words = st.sampled_from(WORDS) | free


@st.composite
def command_lines(draw):
    """A command, mostly one that there is, with options of its own and words behind them."""
    name = draw(st.sampled_from(sorted(_MODULES)))
    typed = []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.integers(0, 5))
        if kind < 3:
            typed.append(draw(words))
        elif kind < 5:
            typed += [draw(st.sampled_from(OPTIONS[name])), draw(words)]
        else:
            typed.append(f"{draw(st.sampled_from(OPTIONS[name]))}={draw(words)}")
    return [name if draw(st.integers(0, 19)) else draw(words), *typed]


@pytest.mark.parametrize("count", EXAMPLES)
def test_any_command_line_ends_in_an_answer_or_a_sentence(count, own_folders, tmp_path, monkeypatch, capsys):
    """The engine's child ends at once: what a command says of that is its sentence too."""
    kept = tmp_path / "kept"
    record_run(kept, name="mine", images=6, chunk=3)
    record_run(kept, name="lost", images=6, chunk=3, chunks=[0], finished=False)
    (record_run(kept, name="damaged", images=6, chunk=3) / "config.json").write_text("{")
    folder = tmp_path / "a" / "b"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(client, "start_child", ended_child)

    @settings(max_examples=count, derandomize=count < 1000, deadline=None, database=None)
    @given(command_lines())
    def law(arguments):
        for place in (own_folders, tmp_path / "a"):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(kept, own_folders)
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        code = main(arguments)
        told = capsys.readouterr()
        assert code in CODES, arguments
        assert "Traceback" not in told.err, arguments
        if code in (1, 2):
            assert told.err.strip() or told.out.strip(), arguments
        if code == 2:
            assert told.err.splitlines()[-1].startswith("psi-tui: ") or "psi-tui: " in told.err, told.err

    law()
    assert os.getcwd() == str(folder)  # noqa: PTH109 - Nothing moved us.


def ended_child(_arguments, *, environment=None, errors=None):
    """A real child, gone before it could answer."""
    return subprocess.Popen(
        ["true"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **(environment or {})},
    )
