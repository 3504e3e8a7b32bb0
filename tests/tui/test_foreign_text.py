"""What comes from a file gives a terminal no orders, hides nothing, and is no formula, markup or line of its own."""

import csv
import io
import json

import pytest

from psi_core import RunConfig
from psi_core.errors import ConfigError, PsiError, RunError, incomplete
from psi_core.files import examples_directory
from psi_core.plain_text import is_plain, plain_line, plain_text
from psi_core.runs.event_log import EventLog, events_path, last_lines, log_path
from psi_core.runs.events import Failed, Started, Warned
from psi_core.runs.finding import load_run
from psi_core.runs.verification import verdict_words, verify
from psi_core.tables.columns import Column
from psi_core.tables.export import csv_text, latex_text, markdown_text
from psi_tui.engine.client import NoAnswerError
from psi_tui.services.deletion import delete_runs
from tests.recorded import record_run
from tests.tui.apps import press, running, settled, text_of

HOSTILE = "\x1b]0;owned\x07\x9b31m\u202egnp.exe\u2066\ud800[red]x[/red]\r"
NAMED = (Column("class_name", "class", "text", "", is_key=True),)


def is_harmless(text):
    return not any(char in text for char in "\x1b\x07\x9b\u202e\u2066\ud800\r") and "[red]" in text


def test_a_text_keeps_its_length_and_loses_its_orders():
    assert len(plain_text(HOSTILE)) == len(HOSTILE)
    assert is_harmless(plain_text(HOSTILE))
    assert plain_text("läuft\n\tü 日本 ψ") == "läuft\n\tü 日本 ψ"
    assert plain_line("a\nb\tc") == "a b c"
    assert is_plain("conv1, ψ") and not is_plain("a\nb") and not is_plain("\u202e")


@pytest.mark.parametrize("command", [["show"], ["show", "--table", "classes"], ["runs"], ["watch"], ["compare"]])
def test_no_command_prints_what_a_terminal_obeys(psi, own_folders, command):
    directory = record_run(own_folders, name="mine", finished=False)
    model = directory / "model.json"
    values = json.loads(model.read_text())
    model.write_text(json.dumps({**values, "class_names": [f"{HOSTILE}{digit}" for digit in range(10)]}))
    log = EventLog(events_path(directory, 0))
    log.write(Warned(f"warned {HOSTILE}"))
    log.write(Failed(f"failed {HOSTILE}", HOSTILE))
    chunk = directory / "chunks" / "00002.npz"
    chunk.rename(chunk.with_suffix(".gone"))
    told = (
        psi(command[0], "mine", *(["example-alexnet"] if command == ["compare"] else []), *command[1:])
        if (command != ["runs"])
        else psi("runs")
    )
    text = told.out + told.err
    assert text
    assert not any(char in text for char in "\x1b\x07\x9b\u202e\u2066\ud800")
    if command == ["watch"] or "classes" in command:
        assert "[red]x" in text


def test_a_damaged_directory_is_named_without_its_orders(psi, own_folders):
    directory = own_folders / "\x1b]0;owned\x07"
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{")
    told = psi("runs")
    assert "damaged: " in told.err
    assert "\x1b" not in told.err + told.out


def kinds_of(error):
    return [error, *(each for kind in error.__subclasses__() for each in kinds_of(kind))]


@pytest.mark.parametrize("kind", [each for each in kinds_of(PsiError) if each is not NoAnswerError])
def test_no_error_speaks_in_what_a_terminal_obeys_nor_in_a_line_that_is_not_ours(kind):
    sentence = str(kind(f"file: {HOSTILE}\npsi-tui: all is well"))
    assert is_plain(sentence)
    assert is_harmless(sentence)


def test_of_several_that_refuse_each_has_one_line():
    error = incomplete("are labeled", 1, [f"one: {HOSTILE}\npsi-tui: all is well", "two: no", "three: no"], most=2)
    lines = str(error).split("\n")
    assert [line[:5] for line in lines] == ["1 of ", "  one", "  two", "  and"]
    assert all(map(is_plain, lines))


@pytest.mark.parametrize("value", [f"{HOSTILE}\nx", [HOSTILE], {"a": HOSTILE}])
def test_a_format_that_is_none_is_named_in_one_line(own_folders, value):
    path = record_run(own_folders) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": value}))
    with pytest.raises(RunError, match="which this version reads") as caught:
        load_run(path.parent)
    assert is_plain(str(caught.value))
    assert "\\x1b]0;" in str(caught.value), "it is quoted"


def test_verify_names_a_file_without_its_orders(own_folders):
    directory = record_run(own_folders)
    (directory / "chunks" / "\x1b]0;owned\x07\nchunks: right").touch()
    parts = verify(load_run(directory))
    assert "wrong" in {part.verdict for part in parts}
    assert all(is_plain(part.words) for part in parts)
    assert is_plain(verdict_words(load_run(directory)))


async def test_a_directory_s_name_gives_the_app_no_orders(own_folders):
    directory = record_run(own_folders, images=20, chunk=20)
    hostile = directory.rename(directory.with_name("\x1b]0;owned\x07"))
    async with running(own_folders) as (app, pilot):
        app.screen.table.select_key(str(hostile))
        await press(pilot, "d")
        delete_runs(app, [(examples_directory() / "example-alexnet", "x"), (hostile, "y")])
        await settled(pilot)
        app.show_error(RunError("run: no"), hostile / "engine-0.log")
        await settled(pilot)
        assert "owned" in text_of(app)
        assert "\x1b" not in text_of(app)
        assert not any("\x1b" in each.message for each in app._notifications)
        await press(pilot, "escape")
        app.say(f"exported to {hostile}")
        assert all("\x1b" not in each.message for each in app._notifications)


@pytest.mark.parametrize("key", ["model", "data", "weights", "attacked"])
def test_a_configuration_holds_no_orders(own_folders, key):
    with pytest.raises(ConfigError, match="control characters"):
        RunConfig(**{key: f"npz:/tmp/{HOSTILE}.pt"})
    directory = record_run(own_folders)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: f"npz:/tmp/{HOSTILE}.pt"}))
    with pytest.raises(RunError, match="control characters") as caught:
        load_run(directory)
    assert "\x1b" not in str(caught.value)


def test_a_layer_has_no_such_name(own_folders):
    path = record_run(own_folders) / "layers.json"
    layers = json.loads(path.read_text())
    layers[0]["name"] = HOSTILE
    path.write_text(json.dumps(layers))
    with pytest.raises(RunError, match=r"layers\.json") as caught:
        _ = load_run(path.parent).layers
    assert "\x1b" not in str(caught.value)


def test_the_end_of_a_log_is_short_and_harmless(tmp_path):
    path = log_path(tmp_path, 0)
    path.write_bytes(b"x" * 2_000_000 + b"\n" + f"\x1b[31mred\n{'y' * 9000}\n".encode())
    lines = last_lines(path, 2)
    assert lines[0] == "\ufffd[31mred"
    assert len(lines[1]) < 3000
    assert last_lines(tmp_path, 2) == []


@pytest.mark.parametrize("name", ["=1+1", "+SUM(A1)", "-cmd|' /C calc'!A0", "@x", "\t=1", "\r=1"])
def test_no_text_of_a_csv_is_a_formula(name):
    text = csv_text([{"class_name": name}], NAMED)
    (_, (cell,)) = csv.reader(io.StringIO(text, newline=""))
    assert cell == f"'{name}".replace("\r", "\n")


@pytest.mark.parametrize("name", ["-1", "+5", "0.5", "cat", "a=b", "'x"])
def test_numbers_and_plain_names_stay_as_they_are(name):
    assert csv_text([{"class_name": name}], NAMED) == f"class_name\n{name}\n"


def test_signed_numbers_of_a_csv_are_numbers():
    column = (Column("delta", "delta", "number", ""),)
    assert csv_text([{"delta": -0.25}], column) == "delta\n-0.25\n"


@pytest.mark.parametrize("write", [markdown_text, latex_text])
def test_a_newline_in_a_name_breaks_no_line_of_a_page(write):
    rows = [{"class_name": name} for name in ("a\nb", "c\r\nd", "e\u2028f", "g")]
    plain = [{"class_name": name} for name in ("a b", "c d", "e f", "g")]
    assert len(write(rows, NAMED).splitlines()) == len(write(plain, NAMED).splitlines())


def test_started_events_are_harmless_too(own_folders):
    directory = record_run(own_folders, finished=False)
    EventLog(events_path(directory, 0)).write(Started(host=HOSTILE, device_name=HOSTILE))
    from psi_core.runs.status import StatusReader

    (worker,) = StatusReader(directory).poll()
    assert is_harmless(worker.started.host)
    assert is_harmless(worker.started.device_name)
