"""Many keys in one packet, as a slow line brings them: each acts on what the one before it left; none ends the app."""

import os
import random
import subprocess

import pytest
from textual.events import Key
from textual.keys import _character_to_key
from textual.widgets import Input

from psi_core.runs.finding import list_runs
from psi_tui.app.driver import Parser
from psi_tui.services import services
from tests.engine.processes import wait_until
from tests.recorded import record_run
from tests.tui.apps import answered, running, settled, text_of, until
from tests.tui.terminal import ROOT, Terminal, psi_tui

pytestmark = pytest.mark.usefixtures("warm_engine")


async def burst(pilot, *keys):
    """All keys before any of them is answered; a word stands for its letters where it is no name of a key."""
    app = pilot.app
    for key in keys:
        letter = key if len(key) == 1 else None
        app.post_message(Key(_character_to_key(key) if letter else key, letter))
    await answered(pilot)
    if app.is_running:
        await settled(pilot)


FIELDS = {
    "runs": ((), "/", "#runs-filter"),
    "results": (("enter",), "/", "#layer-filter Input"),
    "explore": (("2",), "/", "#explore-filter Input"),
    "own model": (("2",), "o", "#explore-own Input"),
}


@pytest.mark.parametrize(("way", "key", "field"), FIELDS.values(), ids=FIELDS)
async def test_letters_behind_the_key_of_a_field_are_typed_into_it(own_folders, way, key, field):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await burst(pilot, *way)
        await settled(pilot)
        await burst(pilot, key, *"dy3q", "left", "x")
        assert app.screen.query_one(field, Input).value == "dy3xq"
        assert len(app.screen_stack) == 1
        assert [run.name for run in list_runs(examples=False)] == ["mine"]


async def test_a_field_of_the_form_takes_the_letters_behind_enter(own_folders):
    async with running(own_folders) as (app, pilot):
        await burst(pilot, "3", "G", "enter", *"rqn")
        assert app.current_mode == "new_run"
        assert "rqn" in app.screen.form.typed.values()


async def test_what_was_typed_before_a_question_could_be_read_is_no_answer(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        for keys in ("dy", "dyy", ("d", "tab", "enter"), ("d", "right", "enter", "y")):
            await burst(pilot, *keys)
            assert "Delete mine" in text_of(app)
            await burst(pilot, "escape")
            assert len(app.screen_stack) == 1
        await burst(pilot, "d")
        await burst(pilot, "y")
        await until(pilot, lambda: not list_runs(examples=False), "the deletion")


DEADLY = {
    "copy": ("y", "enter", "enter"),
    "export": ("e", "enter", "enter"),
    "copy of results": ("enter", "y", "enter", "enter", "escape", "escape"),
    "subset": ("enter", "f", *["pagedown"] * 60),
    "images": ("enter", "<", "<", "<", "<", "f", *["pagedown"] * 60),
    "compare": ("space", "down", "space", "down", "c", "up", "f", "c", "m"),
    "palette": ("ctrl+p", "pagedown"),
    "palette twice": ("ctrl+p", "ctrl+p", "down", "enter", ":", "pageup", "escape"),
    "screens": ("3", "r", "2", "o", "escape", "5", "c", "o", "m", "4", "[", "c", "1"),
    "help": ("?", "?", "escape", "escape", "q"),
}


@pytest.mark.parametrize("keys", DEADLY.values(), ids=DEADLY)
async def test_no_burst_ends_the_app(own_folders, keys):
    for name in ("one", "two"):
        record_run(own_folders, name=name)
    async with running(own_folders) as (app, pilot):
        await burst(pilot, *keys)
        assert app._exception is None
        assert app.is_running or "q" in keys


async def test_two_clicks_in_one_moment_leave_a_dialog_once(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await burst(pilot, "y")
        dialog = app.screen
        dialog.dismiss(None)
        dialog.dismiss(None)
        await settled(pilot)
        assert (app.current_mode, len(app.screen_stack)) == ("runs", 1)


def test_in_tmux_a_burst_deletes_no_run(own_folders):
    record_run(own_folders, name="mine")
    socket = ["tmux", "-L", f"psi-burst-{os.getpid()}", "-f", "/dev/null"]
    command = " ".join(psi_tui())
    subprocess.run([*socket, "new-session", "-d", "-x", "140", "-y", "45", "-c", str(ROOT), command], check=True)
    try:

        def shown() -> str:
            return subprocess.run([*socket, "capture-pane", "-p"], capture_output=True, text=True, check=True).stdout

        def typed(*words: str) -> None:
            subprocess.run([*socket, "send-keys", *words], check=True)

        wait_until(lambda: "mine" in shown(), 60)
        typed("-l", "/dy")
        wait_until(lambda: "No run fits the filter" in shown(), 30)
        typed("Escape")
        wait_until(lambda: "mine" in shown(), 30)
        typed("-l", "dy")
        wait_until(lambda: "Delete mine" in shown(), 30)
        typed("-l", "n")
        wait_until(lambda: "Delete mine" not in shown(), 30)
        assert [run.name for run in list_runs(examples=False)] == ["mine"]
    finally:
        subprocess.run([*socket, "kill-server"], check=False)


def heard(*packets):
    """The keys, and the names of what is no key, that the parser makes of packets that come at once."""
    parser = Parser()
    found = [event for packet in packets for event in parser.feed(packet)]
    if parser._timeout_time is not None:
        parser._timeout_time = 0.0  # Nothing more comes.
    return [getattr(event, "key", type(event).__name__) for event in [*found, *parser.tick()]]


TYPED = {
    **{f"\x1b{key}": ["escape", _character_to_key(key)] for key in "2dq/[1=yG]PO"},
    "\x1bG\x1b[A": ["escape", "G", "up"],
    "\x1bjj\x1bkk": ["escape", "j", "j", "escape", "k", "k"],
    "\x1b" + "j" * 40: ["escape", *"j" * 40],
    "\x1b[\x1b[B\x1bO\x1b\x1b[A": ["escape", "left_square_bracket", "down", "escape", "O", "escape", "up"],
    "\x1b\r\x1b[A^": ["escape", "enter", "up", "circumflex_accent"],
}


@pytest.mark.parametrize("typed", TYPED)
def test_escape_and_the_keys_behind_it_in_one_packet_are_all_heard(typed):
    assert heard(typed) == heard(*typed) == TYPED[typed]


SENT = {
    **{"\x1b[A": ["up"], "\x1bOP": ["f1"], "\x1b[15;5~": ["ctrl+f5"], "\x1b[Z": ["shift+tab"], "\x1b[[A": ["f1"]},
    **{"\x1b\t": ["shift+tab"], "\x1bf": ["ctrl+right"], "\x1b\x7f": ["ctrl+w"], "\x1b[97;5u": ["ctrl+a"]},
    **{"\x1b[<0;3;4M": ["MouseDown"], "\x1b[<0;3;4m": ["MouseUp"], "\x1b[I": ["AppFocus"], "\x1b[O": ["AppBlur"]},
    **{"\x1b[200~dy\x1b[201~": ["Paste"], "\x1b[48;24;80;0;0t": ["Resize"], "\x1b[3;4R": ["CursorPosition"]},
}


def test_what_terminals_send_with_an_escape_stays_one_however_it_is_cut():
    whole, told = "".join(SENT), [name for names in SENT.values() for name in names]
    for cut in range(len(whole) + 1):
        assert heard(*filter(None, (whole[:cut], whole[cut:]))) == told, cut


def test_bytes_that_are_no_letters_end_nothing(own_folders):
    record_run(own_folders, name="mine")
    with Terminal(psi_tui()) as terminal:
        terminal.wait_for("mine")
        os.write(terminal.master, b"\xff\xfe\xc3(")
        terminal.wait_for_quiet(0.5)
        os.write(terminal.master, b"/mi")
        terminal.wait_for(lambda text: text.splitlines()[2].strip() == "mi")
        os.write(terminal.master, b"\x1b")
        terminal.wait_for_quiet(0.5)
        os.write(terminal.master, b"q")
        assert terminal.process.wait(10) == 0
        assert "Traceback" not in terminal.text


ALL_KEYS = (
    *("12345", "/:?", "jkhlgG", "[]<>cmbfpvxrndsSyeouta+-"),
    ("enter", "escape", "tab", "up", "down", "left", "pageup", "pagedown", "space", "backspace", "ctrl+p", "ctrl+r"),
)


async def test_random_bursts_end_nothing_and_lose_no_run(own_folders, monkeypatch, tmp_path):
    for name in ("one", "two"):
        record_run(own_folders, name=name, epsilon="0.03,0.1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(services, "start_child", lambda _do, **_fields: own_folders)
    generator = random.Random(2)
    async with running(own_folders) as (app, pilot):
        for _ in range(6):
            await burst(pilot, *generator.choices([key for keys in ALL_KEYS for key in keys], k=20))
            assert app._exception is None
        assert len(list_runs(examples=False)) == 2


async def test_the_open_run_is_deleted_like_any_other(own_folders):
    record_run(own_folders, name="mine")
    async with running(own_folders) as (app, pilot):
        await burst(pilot, "enter")
        await until(pilot, lambda: app.snapshot is not None, "the run")
        await burst(pilot, "1", "d")
        await burst(pilot, "y")
        await until(
            pilot, lambda: app.entries is not None and not any(each.name == "mine" for each in app.entries), "it"
        )
        await settled(pilot)
        assert app.open_directory is None
        assert len(app.screen_stack) == 1, "no error lies over the list"
