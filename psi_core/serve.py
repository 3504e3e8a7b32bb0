"""One protocol to the engine: a child process is asked on its standard input and replies on its standard output.

In: one JSON object a line, {"id": 7, "do": "rows", ...}, its other keys being what the answer takes. Out: any number of
events, {"id": 7, "event": "fit", ...}, then {"id": 7, "answer": ...} or {"id": 7, "error": sentence, "kind": class}.

ANSWERS lists what can be asked. `serve` replies to many questions, in order; `answer` to one, and its process may then
go on as a worker. What a user's model reads or prints never meets the protocol.
"""

import inspect
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, Literal

from psi_core.errors import ConfigError, PsiError, system_sentence, unknown_name
from psi_core.files import plain
from psi_core.runs.events import Event, TableBegun, Warned, event_line
from psi_core.runs.processes import recorded_config, share_cores
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.tables.columns import Row
from psi_core.tables.export import export_run, left_out_words
from psi_core.tables.liu import liu_request
from psi_core.tables.registry import View, cached_rows


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that can be asked.

    Attributes:
        name: its name in a question's `do`.
        function: `module:function`, imported when first asked for. It takes the question's keys and gives what JSON
            holds. One that reports events, or goes on after its answer, has a parameter `reply` too.
        needs: `files` where it reads runs, `engine` where it imports torch, `process` where it needs torch and a
            process that replies to nothing else.
        before_import: `module:function` of the same keys, called before the engine is imported. Its result, unless
            None, is the answer.
        outlives: whether its process works on when whoever asked is gone.
    """

    name: str
    function: str
    needs: Literal["files", "engine", "process"]
    before_import: str = ""
    outlives: bool = False


ANSWERS = (
    Answer("rows", "psi_core.serve:rows", "files"),
    Answer("export", "psi_core.serve:export", "files"),
    Answer("models", "psi_core.engine.answers:model_rows", "engine"),
    Answer("layers", "psi_core.engine.answers:layer_rows", "engine"),
    Answer("plan", "psi_core.engine.answers:plan", "engine"),
    Answer("picture", "psi_core.engine.answers:picture", "engine", before_import="psi_core.pictures:kept_picture"),
    Answer("doctor", "psi_core.engine.answers:doctor_facts", "engine"),
    Answer("start", "psi_core.engine.commands:start", "process", "psi_core.serve:before_start", outlives=True),
    Answer("queue", "psi_core.engine.commands:queue", "process"),
    Answer("resume", "psi_core.engine.commands:resume", "process", "psi_core.serve:before_resume", outlives=True),
    Answer("fit", "psi_core.engine.commands:fit", "process"),
    Answer("ablate", "psi_core.engine.commands:ablate", "process"),
    Answer("liu", "psi_core.engine.commands:liu", "process", before_import="psi_core.serve:before_liu"),
    Answer("recompute", "psi_core.engine.commands:recompute", "process"),
    Answer("images", "psi_core.engine.commands:images", "process"),
    Answer("selftest", "psi_core.engine.selftest.suite:selftest", "process"),
    Answer("bench", "psi_core.engine.commands:bench", "process"),
)

FAILED, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit codes of a process that replies to one question."""

_POLITENESS = 10
"""Added to the niceness: neither the screen nor a worker waits for statistics."""

_LAST_SECONDS = 0.5
"""Grace for the running answer once standard input is closed."""


class _NobodyReads(SystemExit):
    """Ends the process on its way out of what it does, so that files half written go."""


class Reply:
    """The lines that go back to whoever asked a question.

    Attributes:
        identity: the question's `id`; None until it is known.
        is_complete: whether the last line, an answer or an error, is written.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.identity: object = None
        self.is_complete = False
        self._stream = stream

    def report(self, event: Event) -> None:
        """Reports progress, or a warning."""
        self._write(event_line(event))

    def answer(self, value: Any) -> None:
        """Gives the answer; NaN and infinity in it become null."""
        self.is_complete = True
        self._write({"answer": plain(value)})

    def refuse(self, sentence: str, kind: str) -> None:
        """Gives an error in the place of the answer."""
        self.is_complete = True
        self._write({"error": sentence, "kind": kind})

    def leave_with_reader(self) -> None:
        """Asks the process to end once nobody reads its reply any more, as where whoever asked was killed.

        One that computes for minutes and reports nothing meanwhile would not notice.
        """

        def watch() -> None:
            poll = select.poll()
            poll.register(self._stream.fileno(), 0)  # Tells of the reader's end alone.
            poll.poll()
            if not self.is_complete:
                os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()

    def hang_up(self) -> None:
        """Closes the stream, so that a reader who waits for its end goes on."""
        self._stream.close()

    def _write(self, line: dict[str, Any]) -> None:
        try:
            self._stream.write(f"{json.dumps({'id': self.identity, **line})}\n")
            self._stream.flush()
        except BrokenPipeError:
            with Path(os.devnull).open("wb") as nothing:  # Python's own ending would try to write the rest again.
                os.dup2(nothing.fileno(), self._stream.fileno())
            raise _NobodyReads(0) from None


def serve() -> int:
    """Replies to one question after another until standard input ends, and gives the exit code."""
    os.nice(_POLITENESS)
    questions, replies = _own_streams()
    asked: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(questions, asked), daemon=True).start()
    while (line := asked.get()) is not None:
        reply = Reply(replies)
        try:
            _reply_to(line, reply, has_process=False)
        except PsiError as error:
            reply.refuse(str(error), type(error).__name__)
        except _NobodyReads:
            os._exit(0)  # The thread that listens would keep Python from ending.
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the server's door: one failure must not end it.
            traceback.print_exc()
            what = " ".join(f"{type(error).__name__}: {error}".split())
            reply.refuse(f"engine: failed ({what}); psi-tui doctor may tell more", "EngineError")
    return 0


def answer() -> int:
    """Replies to the question on standard input, and gives the exit code.

    An unforeseen error ends the process: standard error then shows it in full.
    """
    questions, replies = _own_streams()
    # Closed at the end: a model's file may have made errors of all warnings, also of those about open streams.
    with questions, replies:
        reply = Reply(replies)

        def leave(number: int, _frame: object) -> None:
            """Ends the process as the signal would, but files half written go first; workers and fits have better."""
            if reply.is_complete:
                os._exit(128 + number)
            raise SystemExit(128 + number)

        signal.signal(signal.SIGTERM, leave)
        try:
            _reply_to(questions.readline(), reply, has_process=True)
        except PsiError as error:
            reply.refuse(str(error), type(error).__name__)
            return REFUSED
        except OSError as error:
            if reply.is_complete:
                raise  # The run that it works on has a log.
            reply.refuse(system_sentence(error), "EngineError")
            return FAILED
        except ImportError as error:
            if reply.is_complete:
                raise
            way_out = "look at the memory that it may take (ulimit -v), or install psi-tui again"
            reply.refuse(f"engine: cannot be loaded ({error}); {way_out}", "EngineError")
            return FAILED
        except KeyboardInterrupt:
            return INTERRUPTED
        return 0


def _reply_to(line: str, reply: Reply, *, has_process: bool) -> None:
    """Replies to one line; raises what its answer raises."""
    fields = _parsed(line)
    reply.identity = fields.pop("id", None)
    name = str(fields.pop("do", ""))
    row = next((row for row in ANSWERS if row.name == name), None)
    if row is None:
        raise ConfigError(unknown_name("do", name, [row.name for row in ANSWERS]))
    if row.needs == "process" and not has_process:
        raise ConfigError(f"{name}: takes a process of its own; ask one by python -m psi_core answer")
    if has_process and not row.outlives:
        reply.leave_with_reader()
    value = _call(name, row.before_import, fields, reply) if row.before_import else None
    if value is None:
        value = _call(name, row.function, fields, reply)
    if not reply.is_complete:
        reply.answer(value)


def _parsed(line: str) -> dict[str, Any]:
    try:
        question = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"question: not JSON ({error}); send one object a line") from None
    if not isinstance(question, dict):
        raise ConfigError("question: not an object; send one JSON object a line")
    return question


def _call(name: str, place: str, fields: dict[str, Any], reply: Reply) -> Any:
    module, _, attribute = place.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), attribute)
    signature = inspect.signature(function)
    own = {"reply": reply} if "reply" in signature.parameters else {}
    try:
        signature.bind(**own, **fields)
    except TypeError as error:
        raise ConfigError(f"{name}: {error}; see psi_core.serve for what it takes") from None
    return function(**own, **fields)


def _own_streams() -> tuple[IO[str], IO[str]]:
    """Standard input and output under other descriptors, which children do not inherit.

    Descriptors 0 and 1 then point to /dev/null and standard error, so that a model that reads or prints cannot disturb
    the protocol.
    """
    questions = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    return questions, replies


def _listen(questions: IO[str], asked: "SimpleQueue[str | None]") -> None:
    """Hands on every line; once there are no more, ends the process, in the middle of an answer if need be."""
    for line in questions:
        asked.put(line)
    asked.put(None)
    time.sleep(_LAST_SECONDS)
    os._exit(0)


def rows(
    run: str, table: str, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi", preview: bool = False
) -> list[Row]:
    """Rows of a table of the run in a directory; `preview` counts open chunks too."""
    return cached_rows(Run(Path(run), preview=preview), table, View(subset, bins, measure))


def export(
    run: str,
    to: str,
    reply: Reply,
    format: str = "csv",  # noqa: A002
    measures: Sequence[str] = (),
    with_progress: bool = False,
) -> list[Path]:
    """Writes the tables of the run in a directory, and gives the paths of the files.

    With progress, events say before each table how far it is, and at the end which tables are left out.
    """

    def report(table: str, done: int, total: int) -> None:
        if with_progress:
            reply.report(TableBegun(table=table, done=done, total=total))

    found = Run(Path(run))
    paths = export_run(found, to, format, measures=measures, tell=report)
    words = left_out_words(found, format) if with_progress else ""
    if words:
        reply.report(Warned(text=words))
    return paths


def before_start(config: dict[str, Any], runs_dir: str | None = None) -> None:
    """Sets how the threads of a new run wait for each other, which must precede importing torch."""
    share_cores(config.get("devices"), config)


def before_resume(run: str) -> None:
    """Sets how the threads of a resumed run wait for each other, which must precede importing torch."""
    config = recorded_config(Path(run))
    share_cores(config.get("devices"), config)


def before_liu(
    run: str,
    images: int | None = None,
    conditions: Sequence[str] = (),
    across: str = "classes",
    bins: int = TABLE_BINS,
) -> None:
    """Refuses what cannot be asked of a run: to know it takes no torch."""
    liu_request(Run(Path(run)), images, conditions, across, bins)
