"""Copying over an SSH line: to the terminal's clipboard, to tmux's buffer when inside tmux, and to a file always."""

import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psi_tui.services.state import write_whole
from psi_tui.text.formatting import format_bytes

LONGEST_OSC52 = 74_994
"""Bytes of text: with more, the escape sequence passes 100,000 bytes, which some terminals drop without a word."""

_TMUX_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """Where a copied text went.

    Attributes:
        sentence: for the screen. No terminal says whether it took the text, so this one says only that it was sent.
        in_clipboard: whether it was sent to the terminal (OSC 52).
        in_tmux: whether tmux has it in its buffer, which it also hands on to the terminal's clipboard.
        file: where it lies, or None where no file could be written.
    """

    sentence: str
    in_clipboard: bool
    in_tmux: bool
    file: Path | None


def copy(text: str, write_osc52: Callable[[str], None], folder: Path) -> CopyOutcome:
    """Copies a text to wherever it can. Never raises; may wait two seconds for tmux: call it in a thread.

    Args:
        text: what to copy. What is no Unicode in it, such as half of a file name, is copied as `?`.
        write_osc52: sends a text to the terminal, wrapped as OSC 52: the app's `copy_to_clipboard`.
        folder: where `copied.txt` is written; a temporary file takes its place where that fails.
    """
    data = text.encode(errors="replace")
    file = _write_file(folder / "copied.txt", data)
    in_clipboard = len(data) <= LONGEST_OSC52
    if in_clipboard:
        write_osc52(data.decode())
    in_tmux = _load_tmux_buffer(data)
    return CopyOutcome(_sentence(len(data), in_clipboard, in_tmux, file), in_clipboard, in_tmux, file)


def _write_file(path: Path, data: bytes) -> Path | None:
    try:
        write_whole(path, data)
    except OSError:
        try:
            with tempfile.NamedTemporaryFile(prefix="psi-tui-copied-", suffix=".txt", delete=False) as file:
                file.write(data)
        except OSError:
            return None
        return Path(file.name)
    return path


def _load_tmux_buffer(data: bytes) -> bool:
    """Whether tmux took the text into its buffer.

    By its default settings tmux drops what a program inside sends as OSC 52, but sends on what is loaded with -w.
    """
    if not os.environ.get("TMUX"):
        return False
    try:
        return any(
            subprocess.run(
                ["tmux", "load-buffer", *option, "-"],
                input=data,
                capture_output=True,
                timeout=_TMUX_SECONDS,
                check=False,
            ).returncode
            == 0
            for option in (["-w"], [])  # tmux before 3.2 does not know -w.
        )
    except (OSError, subprocess.SubprocessError):
        return False


def _sentence(size: int, in_clipboard: bool, in_tmux: bool, file: Path | None) -> str:
    went = ["the clipboard (OSC 52)"] * in_clipboard + ["tmux's buffer"] * in_tmux
    parts = [f"copied to {' and '.join(went)}"] if went else []
    if file is None:
        parts.append("no file could be written" if went else "not copied: no file could be written")
    else:
        parts.append(f"also in {_from_home(file)}" if went else f"copied to {_from_home(file)}")
    if not in_clipboard:
        parts.append(f"{format_bytes(size)} is too long for a terminal's clipboard")
    return "; ".join(parts)


def _from_home(path: Path) -> str:
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):  # Elsewhere; or the user has no home.
        return str(path)
