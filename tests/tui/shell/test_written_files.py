"""Files that commands write: nothing is replaced without a word, and what is no file stays what it is."""

import os
import stat
import threading

import pytest

from psi_core.errors import ConfigError
from psi_tui.shell.console import write_file


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_file(pipe, b"rows")
    reader.join(10)
    assert read == [b"rows"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_file_is_replaced_on_request_alone(tmp_path):
    path = tmp_path / "rows.csv"
    write_file(path, b"old")
    with pytest.raises(ConfigError, match="is there already"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    write_file(path, b"new", replace=True)
    assert path.read_bytes() == b"new"
