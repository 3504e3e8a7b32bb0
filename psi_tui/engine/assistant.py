"""The app's assistant: one long-lived child process that is asked many questions, started when first needed."""

import contextlib
import json
import subprocess
import threading
from typing import IO, Any

from psi_core.runs.processes import assistant_environment, start_child
from psi_tui.engine.child import EngineError, anonymous_file, checked, ended_without_answer, read_line


class Assistant:
    """Asks `python -m psi_core assist`; safe to use from several threads, which then wait for each other.

    The child ends with us, however we end: its standard input then ends. One that died is replaced when next needed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._errors: IO[bytes] | None = None
        self._asked = 0
        self._is_closed = False

    def ask(self, kind: str, **fields: Any) -> Any:
        """The answer to one question; waits for it, so never call it on the event loop.

        Args:
            kind: of the question, as `psi_core.serve` lists them.
            fields: what the question needs.

        Raises:
            PsiError: of the kind that the child reports.
            EngineError: the child died over the question, or the assistant is closed.
        """
        with self._lock:
            self._asked += 1
            question = json.dumps({"id": self._asked, "ask": kind, **fields}) + "\n"
            process = self._living_child()
            try:
                self._write(process, question)
            except BrokenPipeError:  # It died since its last answer: the question did not even reach it.
                self._bury()
                process = self._living_child()
                self._write(process, question)
            return self._answer(process)

    def close(self) -> None:
        """Ends the child, in the middle of an answer too: whoever waits for that gets an EngineError."""
        self._is_closed = True
        process = self._process
        if process is not None:
            process.kill()
        with self._lock:
            self._bury()

    def _living_child(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is not None:
            self._bury()
        if self._process is None:
            self._errors = anonymous_file()
            self._process = start_child(["assist"], environment=assistant_environment(), errors=self._errors)
        if self._is_closed:  # Asked after the child is there, so that `close` sees the child or we see `close`.
            self._bury()
            raise EngineError("engine: the app is closing; ask again when it is open")
        return self._process

    @staticmethod
    def _write(process: subprocess.Popen[str], question: str) -> None:
        assert process.stdin is not None, "start_child pipes standard input"
        process.stdin.write(question)
        process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> Any:
        assert process.stdout is not None, "start_child pipes standard output"
        for line in process.stdout:
            reply = read_line(line)
            if reply["id"] == self._asked:  # Another is the answer to a question that was given up.
                return checked(reply)["answer"]
        error = ended_without_answer(process.wait(), self._errors)
        self._bury()
        raise error

    def _bury(self) -> None:
        process, self._process = self._process, None
        errors, self._errors = self._errors, None
        if process is not None:
            process.kill()
            for stream in (process.stdin, process.stdout):
                assert stream is not None, "start_child pipes both"
                with contextlib.suppress(OSError):  # What it can no longer be told is still in the buffer.
                    stream.close()
            process.wait()
        if errors is not None:
            errors.close()
