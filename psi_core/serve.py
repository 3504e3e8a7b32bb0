"""The assistant: a child process that answers questions for the app, one after another, in order.

In: one JSON object a line, {"id": 7, "ask": "rows", ...}, the other keys being what the question needs. Out:
{"id": 7, "answer": ...}, or {"id": 7, "error": sentence, "kind": class}. It ends with its standard input.

    rows     run (path), table, subset="all", bins=20, measure="psi", preview=false   rows of a table
    export   run (path), to, format="csv", measures=[]                 paths of the files written
    models   pattern=""                                                models there are
    layers   model, size, layers, unit, rectify                        layers of a model
    plan     config, runs_dir                                          what a run would cost
    picture  run (path), index, condition, width, height               one image, benign and attacked

The last four are answered by the engine, which is imported when it is first needed.
"""

import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any, TypeAlias

from psi_core.errors import ConfigError, PsiError, unknown_name
from psi_core.files import json_line
from psi_core.pictures import kept_picture
from psi_core.runs.run import Run
from psi_core.statistics.histograms import TABLE_BINS
from psi_core.tables import View, cached_rows
from psi_core.tables.columns import Row
from psi_core.tables.export import export_run

Answer: TypeAlias = Callable[..., Any]
"""Takes a question's keys as arguments and gives what JSON holds."""

ENGINE_QUESTIONS = ("models", "layers", "plan", "picture")

_POLITENESS = 10
"""Added to the niceness: neither the screen nor a worker waits for statistics."""

_LAST_SECONDS = 0.5
"""How long an answer under way may take once nobody asks any more."""


def assist(engine_answers: Callable[[], Mapping[str, Answer]]) -> int:
    """Answers until standard input ends, and gives the exit code.

    Args:
        engine_answers: imports the engine and gives its answers by question; called when first needed.
    """
    os.nice(_POLITENESS)
    questions, answers = _own_streams()
    asked: SimpleQueue[str | None] = SimpleQueue()
    threading.Thread(target=_listen, args=(questions, asked), daemon=True).start()
    assistant = _Assistant(engine_answers)
    while (line := asked.get()) is not None:
        reply = assistant.reply(line)
        try:
            answers.write(f"{reply}\n")
            answers.flush()
        except BrokenPipeError:
            os._exit(0)  # Nobody is left to tell; Python's own ending would try to write the rest again.
    return 0


class _Assistant:
    def __init__(self, engine_answers: Callable[[], Mapping[str, Answer]]) -> None:
        self._import_engine = engine_answers
        self._engine: Mapping[str, Answer] = {}

    def reply(self, line: str) -> str:
        """The reply to one line, whatever that holds."""
        identity = None
        try:
            question = _parsed(line)
            identity = question.pop("id", None)
            answer = self._answer(str(question.pop("ask", "")), question)
            return json_line({"id": identity, "answer": answer})
        except PsiError as error:
            return json_line({"id": identity, "error": str(error), "kind": type(error).__name__})
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the assistant's door: one failure must not end it.
            traceback.print_exc()
            what = " ".join(f"{type(error).__name__}: {error}".split())
            sentence = f"engine: failed ({what}); psi-tui doctor may tell more"
            return json_line({"id": identity, "error": sentence, "kind": "EngineError"})

    def _answer(self, ask: str, fields: dict[str, Any]) -> Any:
        if ask in _LIGHT_ANSWERS:
            return _called(ask, _LIGHT_ANSWERS[ask], fields)
        if ask not in ENGINE_QUESTIONS:
            raise ConfigError(unknown_name("ask", ask, (*_LIGHT_ANSWERS, *ENGINE_QUESTIONS)))
        if ask == "picture" and (kept := _called(ask, kept_picture, fields)) is not None:
            return kept
        if not self._engine:
            self._engine = self._import_engine()
        return _called(ask, self._engine[ask], fields)


def _rows(
    run: str, table: str, subset: str = "all", bins: int = TABLE_BINS, measure: str = "psi", preview: bool = False
) -> list[Row]:
    return cached_rows(Run(Path(run), preview=preview), table, View(subset, bins, measure))


def _export(run: str, to: str, format: str = "csv", measures: Sequence[str] = ()) -> list[Path]:  # noqa: A002
    return export_run(Run(Path(run)), to, format, measures=measures)


_LIGHT_ANSWERS: Mapping[str, Answer] = {"rows": _rows, "export": _export}


def _parsed(line: str) -> dict[str, Any]:
    try:
        question = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"assist: not JSON ({error}); send one object a line") from None
    if not isinstance(question, dict):
        raise ConfigError("assist: not an object; send one JSON object a line")
    return question


def _called(ask: str, answer: Answer, fields: dict[str, Any]) -> Any:
    try:
        inspect.signature(answer).bind(**fields)
    except TypeError as error:
        raise ConfigError(f"{ask}: {error}; see psi_core.serve for what it takes") from None
    return answer(**fields)


def _own_streams() -> tuple[IO[str], IO[str]]:
    """Standard input and output, moved aside: what a user's own model reads or prints must not come between them."""
    questions = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.flush()
    os.dup2(2, 1)
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 - os.devnull is a name, not a Path.
        os.dup2(nothing.fileno(), 0)
    return questions, answers


def _listen(questions: IO[str], asked: "SimpleQueue[str | None]") -> None:
    """Hands on every line; once there are no more, ends the process, in the middle of an answer if need be."""
    for line in questions:
        asked.put(line)
    asked.put(None)
    time.sleep(_LAST_SECONDS)
    os._exit(0)
