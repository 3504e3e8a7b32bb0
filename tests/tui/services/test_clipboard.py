"""Copying: to the terminal, into a real tmux's buffer, and into a file always; the outcome says where."""

import base64
import os
import pty
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from psi_tui.services import clipboard
from psi_tui.services.clipboard import LONGEST_OSC52, copy

TEXT = "layer,psi\nconv1,0.8487 ± 0.0145\n$HOME `x` \\ ;\n"


@pytest.fixture(autouse=True)
def outside_tmux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def tmux(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A tmux server of the test's own with default settings, and this process as if it ran inside."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    folder = tempfile.mkdtemp(prefix="psi-tmux-")  # A socket's path must be short.
    socket = f"{folder}/socket"
    command = ["tmux", "-S", socket, "-f", "/dev/null"]
    subprocess.run([*command, "new-session", "-d", "-s", "psi", "cat"], check=True)
    monkeypatch.setenv("TMUX", f"{socket},1,0")
    yield command
    subprocess.run([*command, "kill-server"], check=False)
    shutil.rmtree(folder)


@pytest.fixture
def terminal(tmux: list[str]) -> Iterator[Callable[..., bytes]]:
    """A terminal outside, attached to tmux: everything written to it, once `until` and one more read have come."""
    main, inside = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    del environment["TMUX"]
    command = [*tmux, "attach"]
    client = subprocess.Popen(command, stdin=inside, stdout=inside, stderr=inside, env=environment)
    os.close(inside)
    seen = bytearray()

    def read(until: bytes) -> bytes:
        deadline = time.monotonic() + 20
        while until not in seen or not seen[seen.index(until) :].count(b"\a"):
            assert select.select([main], [], [], max(0, deadline - time.monotonic()))[0], bytes(seen)
            seen.extend(os.read(main, 65536))
        return bytes(seen)

    while not subprocess.run([*tmux, "list-clients"], capture_output=True, check=True).stdout:
        assert client.poll() is None
    yield read
    client.kill()
    client.wait()
    os.close(main)


def program(folder: Path, script: str) -> None:
    """An executable named tmux."""
    folder.mkdir()
    path = folder / "tmux"
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def test_a_plain_terminal_gets_the_text_and_a_file_holds_it(tmp_path):
    sent: list[str] = []
    outcome = copy(TEXT, sent.append, tmp_path / "state" / "psi-tui")
    assert sent == [TEXT]
    assert outcome.file == tmp_path / "state" / "psi-tui" / "copied.txt"
    assert outcome.file.read_bytes() == TEXT.encode()
    assert (outcome.in_clipboard, outcome.in_tmux) == (True, False)
    assert outcome.sentence == "copied to the clipboard (OSC 52); also in ~/state/psi-tui/copied.txt"


def test_inside_tmux_its_buffer_holds_the_text(tmp_path, tmux):
    sent: list[str] = []
    outcome = copy(TEXT, sent.append, tmp_path)
    shown = subprocess.run([*tmux, "show-buffer"], capture_output=True, check=True)
    assert shown.stdout == TEXT.encode()
    assert sent == [TEXT]
    assert outcome.in_tmux
    assert outcome.sentence == "copied to the clipboard (OSC 52) and tmux's buffer; also in ~/copied.txt"


def test_tmux_with_default_settings_hands_the_text_on_to_the_terminal_outside(tmp_path, tmux, terminal):
    copy(TEXT, lambda text: None, tmp_path)
    assert b"\x1b]52;;" + base64.b64encode(TEXT.encode()) in terminal(until=b"\x1b]52;")


@pytest.mark.parametrize("longer", [0, 1])
def test_what_terminals_would_drop_is_not_sent(tmp_path, tmux, longer):
    sent: list[str] = []
    text = "x" * (LONGEST_OSC52 + longer)
    outcome = copy(text, sent.append, tmp_path)
    assert sent == [text] * (not longer)
    assert outcome.in_clipboard is not bool(longer)
    assert subprocess.run([*tmux, "show-buffer"], capture_output=True, check=True).stdout == text.encode()
    assert outcome.file is not None
    assert outcome.file.read_text(encoding="utf-8") == text
    if longer:
        told = "copied to tmux's buffer; also in ~/copied.txt; 75 kB is too long for a terminal's clipboard"
        assert outcome.sentence == told


def test_the_limit_counts_bytes(tmp_path):
    sent: list[str] = []
    outcome = copy("±" * (LONGEST_OSC52 // 2 + 1), sent.append, tmp_path)
    assert sent == []
    assert outcome.sentence == "copied to ~/copied.txt; 75 kB is too long for a terminal's clipboard"


def test_a_tmux_that_is_gone_falls_through(tmp_path, monkeypatch):
    monkeypatch.setenv("TMUX", f"{tmp_path}/no-such-socket,1,0")
    outcome = copy(TEXT, lambda text: None, tmp_path)
    assert (outcome.in_clipboard, outcome.in_tmux, outcome.file) == (True, False, tmp_path / "copied.txt")


def test_a_machine_without_tmux_falls_through(tmp_path, monkeypatch):
    monkeypatch.setenv("TMUX", "/socket,1,0")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert not copy(TEXT, lambda text: None, tmp_path).in_tmux


def test_a_tmux_that_hangs_is_left_after_two_seconds(tmp_path, monkeypatch):
    monkeypatch.setattr(clipboard, "_TMUX_SECONDS", 0.1)
    monkeypatch.setenv("TMUX", "/socket,1,0")
    program(tmp_path / "bin", "exec sleep 30")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    before = time.monotonic()
    assert not copy(TEXT, lambda text: None, tmp_path).in_tmux
    assert time.monotonic() - before < 5


def test_an_old_tmux_that_knows_no_w_gets_the_text_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("TMUX", "/socket,1,0")
    program(tmp_path / "bin", f'[ "$2" = "-w" ] && exit 1; cat > {tmp_path}/buffer')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert copy(TEXT, lambda text: None, tmp_path).in_tmux
    assert (tmp_path / "buffer").read_bytes() == TEXT.encode()


def test_a_folder_that_cannot_be_written_gives_way_to_a_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "file").touch()
    outcome = copy(TEXT, lambda text: None, tmp_path / "file")
    assert outcome.file is not None
    assert outcome.file.parent == tmp_path
    assert outcome.file.read_bytes() == TEXT.encode()
    assert f"also in ~/{outcome.file.name}" in outcome.sentence


def test_where_no_file_can_be_written_the_sentence_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file"))
    outcome = copy(TEXT, lambda text: None, tmp_path / "file")
    assert outcome.file is None
    assert outcome.sentence == "copied to the clipboard (OSC 52); no file could be written"
    nowhere = copy("x" * (LONGEST_OSC52 + 1), lambda text: None, tmp_path / "file")
    told = "not copied: no file could be written; 75 kB is too long for a terminal's clipboard"
    assert nowhere.sentence == told


def test_text_that_is_no_unicode_is_copied_with_question_marks(tmp_path):
    sent: list[str] = []
    outcome = copy("/runs/\udcff", sent.append, tmp_path)
    assert sent == ["/runs/?"]
    assert outcome.file is not None
    assert outcome.file.read_text(encoding="utf-8") == "/runs/?"
